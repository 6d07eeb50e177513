"""Every shape in which the SDK reports trouble, turned into one of our errors and a verdict."""

from __future__ import annotations

import html
import re
from traceback import walk_tb
from typing import Any, NamedTuple

from borg_ovirt.errors import BorgOvirtError, EngineRefused, EngineUnreachable, LoginFailed, NotAuthorized
from borg_ovirt.ovirt.session.certificate import certificate_error
from borg_ovirt.ovirt.session.proxy import Proxy
from borg_ovirt.ovirt.session.rights import QUERY_FORBIDDEN, QUERY_HINT, hint_for


class NotFound(EngineRefused):
    """The engine knows nothing by that id."""


class Unclear(EngineUnreachable):
    """The connection broke in a request that must not be repeated blindly: it may have been done."""


class Verdict(NamedTuple):
    """What became of a request that failed."""

    error: BorgOvirtError
    passing: bool
    """Worth asking again: the engine was away, not unwilling."""
    reached: bool
    """The engine may have carried the request out."""


_CURL_CODE = re.compile(r"\((?:<[^>]*>, ?)?(\d{1,3}),")
_NOT_REACHED = {5, 6, 7}  # could not resolve, could not connect
_CERTIFICATE = {51, 58, 60, 77, 83, 90}
_SENTENCE = re.compile(rb"<body[^>]*>([^<]*)</body>", re.IGNORECASE)
"""The reason on the page of a 401, as seen on an engine 4.5.8."""
_UNKNOWN_TOKEN = re.compile(r"Unauthorized|invalid_grant", re.IGNORECASE)
_LOCKED = re.compile(
    r"locked|being transferred|in progress|try again|is being|already in use"
    r"|performing an operation|during a backup",
    re.IGNORECASE,
)


def is_lock(error: BaseException) -> bool:
    """Whether the engine refused because somebody else is at work on the object just now."""
    return isinstance(error, EngineRefused) and error.status == 409 and bool(_LOCKED.search(error.detail))


def classify(
    error: BaseException, what: str, status: int, host: str, *, proxy: Proxy | None = None, page: bytes = b""
) -> Verdict | None:
    """The verdict on an error of the SDK; None if it is no trouble of the engine's but a bug of ours.

    `status` is the HTTP status last seen on the connection, 0 if no answer came, and `page` its body: the SDK
    hides both when the body is HTML. `proxy` is what stands between.
    """
    import ovirtsdk4

    fault = getattr(error, "fault", None)
    if isinstance(error, TypeError) and status < 400:
        return None
    if isinstance(error, ovirtsdk4.NotFoundError) or (status == 404 and _code(error) in (None, 404)):
        return Verdict(NotFound(f"Cannot {what}: {_detail(fault) or 'not found'}.", status=404), False, False)
    if status == 403:
        detail = _detail(fault) or "the user has no permission"
        return Verdict(NotAuthorized(f"Cannot {what}: {detail}", hint_for(what)), False, False)
    if status == 401:
        return _no_session(what, host, page)
    if fault is not None and QUERY_FORBIDDEN in _detail(fault):
        return Verdict(NotAuthorized(f"Cannot {what}: {_detail(fault)}", QUERY_HINT), False, False)
    if fault is not None and status:
        return Verdict(_refusal(what, fault, status), False, False)
    if status >= 500 or status in (408, 429):
        away = EngineUnreachable(
            f"Cannot {what}: the engine at {host} answers {status}; it may be restarting."
        )
        return Verdict(away, True, status != 503)
    if status >= 400 or (200 <= status < 400 and _code(error) is not None):
        return Verdict(
            EngineRefused(f"Cannot {what}: the engine answers {status} without a reason.", status=status),
            False,
            False,
        )
    return _lost(error, what, status, host, proxy)


def _no_session(what: str, host: str, page: bytes) -> Verdict:
    """A 401. The SDK has logged in again and repeated the request before it tells, so the login is fresh.

    A token that is not known (the engine restarted in between) is worth another login. Any other reason is
    the user's, as too many sessions: each further login would make one more.
    """
    found = _SENTENCE.search(page)
    sentence = html.unescape(found.group(1).decode("utf-8", "replace")).strip() if found else ""
    if not sentence or _UNKNOWN_TOKEN.match(sentence):
        refused = LoginFailed(f"Cannot {what}: the engine at {host} does not accept the session any more.")
        return Verdict(refused, True, False)
    return Verdict(
        LoginFailed(
            f"Cannot {what}: the engine at {host} logged the user in and refuses the session: {sentence}",
            "End other sessions of the user (in the web interface: Administration, Active User Sessions), or "
            "raise the engine's limit."
            if "sessions" in sentence
            else None,
        ),
        False,
        False,
    )


def raised_in_reader(error: BaseException) -> bool:
    """Whether the SDK raised it over what it read: a date that is none, a number that is a word."""
    modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]
    return bool(modules) and modules[-1] in ("ovirtsdk4.reader", "ovirtsdk4.readers")


def nonsense(why: str, what: str, host: str) -> Verdict:
    """The verdict on an answer that is none of the API's. The request may have been done all the same."""
    told = EngineUnreachable(
        f"Cannot {what}: the answer of {host} is not what an oVirt engine says ({why}).",
        "Is something between here and the engine that changes or cuts its answers?",
    )
    return Verdict(told, True, True)


def _lost(error: BaseException, what: str, status: int, host: str, proxy: Proxy | None) -> Verdict:
    """No usable answer at all: the connection could not be made or broke."""
    found = _CURL_CODE.search(str(error))
    code = int(found.group(1)) if found else -1
    if code in _CERTIFICATE:
        return Verdict(certificate_error(host, str(error)), False, False)
    reason = {28: "no answer in time", 6: "its name does not resolve", 7: "connection refused"}.get(code)
    if status and not reason:
        reason = f"its answer ({status}) is not the API's"
    away = EngineUnreachable(
        f"Cannot {what}: no connection to the engine at {host}{f' through {proxy}' if proxy else ''} "
        f"({reason or 'connection lost'}).",
        proxy.hint if proxy else "Check the URL, the network and whether the engine is up.",
    )
    return Verdict(away, True, code not in _NOT_REACHED)


def _refusal(what: str, fault: Any, status: int) -> EngineRefused:
    detail = _detail(fault)
    text = detail or f"{getattr(fault, 'reason', None) or 'operation failed'} (HTTP {status}, no detail)"
    return EngineRefused(f"Cannot {what}: {text}", status=status, detail=detail)


def _detail(fault: Any) -> str:
    """The fault's detail without the list brackets that the engine puts around it."""
    text = (getattr(fault, "detail", None) or "").strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    return text


def _code(error: BaseException) -> int | None:
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None
