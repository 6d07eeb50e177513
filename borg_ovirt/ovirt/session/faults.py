"""Every shape in which the SDK reports trouble, turned into one of our errors and a verdict."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from borg_ovirt.errors import BorgOvirtError, EngineRefused, EngineUnreachable, LoginFailed, NotAuthorized
from borg_ovirt.ovirt.session.rights import QUERY_FORBIDDEN, QUERY_HINT, hint_for
from borg_ovirt.ovirt.session.sso import untrusted


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
_LOCKED = re.compile(
    r"locked|being transferred|in progress|try again|is being|already in use"
    r"|performing an operation|during a backup",
    re.IGNORECASE,
)


def is_lock(error: BaseException) -> bool:
    """Whether the engine refused because somebody else is at work on the object just now."""
    return isinstance(error, EngineRefused) and error.status == 409 and bool(_LOCKED.search(error.detail))


def classify(error: BaseException, what: str, status: int, host: str) -> Verdict | None:
    """The verdict on an error of the SDK; None if it is no trouble of the engine's but a bug of ours.

    `status` is the HTTP status last seen on the connection, 0 if no answer came: the SDK hides it when the
    body is HTML.
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
        refused = LoginFailed(f"Cannot {what}: the engine at {host} does not accept the session any more.")
        return Verdict(refused, True, False)
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
    return _lost(error, what, status, host)


def _lost(error: BaseException, what: str, status: int, host: str) -> Verdict:
    """No usable answer at all: the connection could not be made or broke."""
    found = _CURL_CODE.search(str(error))
    code = int(found.group(1)) if found else -1
    if code in _CERTIFICATE:
        return Verdict(untrusted(host), False, False)
    reason = {28: "no answer in time", 6: "its name does not resolve", 7: "connection refused"}.get(code)
    if status and not reason:
        reason = f"its answer ({status}) is not the API's"
    away = EngineUnreachable(
        f"Cannot {what}: no connection to the engine at {host} ({reason or 'connection lost'}).",
        "Check the URL, the network and whether the engine is up.",
    )
    return Verdict(away, True, code not in _NOT_REACHED)


def _refusal(what: str, fault: Any, status: int) -> EngineRefused:
    detail = _detail(fault)
    told = detail or f"{getattr(fault, 'reason', None) or 'operation failed'} (HTTP {status}, no detail)"
    return EngineRefused(f"Cannot {what}: {told}", status=status, detail=detail)


def _detail(fault: Any) -> str:
    """The fault's detail without the list brackets that the engine puts around it."""
    text = (getattr(fault, "detail", None) or "").strip()
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    return text


def _code(error: BaseException) -> int | None:
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None
