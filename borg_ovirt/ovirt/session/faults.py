"""Every shape in which the SDK reports trouble, turned into one of our errors and a verdict."""

from __future__ import annotations

import html
import re
from enum import Enum
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


class DuplicateTransfers(EngineRefused):
    """Two unfinished transfers of one disk: the engine cannot show the snapshots of its VM to anybody."""


class Ill(Enum):
    """What kept the engine from an answer, and so how long it is asked again."""

    AWAY = "away"
    """It is being restarted, or the network is cut: until it is back."""
    HICCUP = "hiccup"
    """It fails at this one request."""
    SETTLING = "settling"
    """It was restarted a moment ago and does not know its storage domains yet; nothing was done."""
    NO = "no"
    """Nothing: it has refused."""


class Verdict(NamedTuple):
    """What became of a request that failed."""

    error: BorgOvirtError
    ill: Ill
    reached: bool
    """The engine may have carried the request out."""

    @property
    def passing(self) -> bool:
        """Worth asking again: the engine was away, not unwilling."""
        return self.ill is not Ill.NO


_CURL_CODE = re.compile(r"\((?:<[^>]*>, ?)?(\d{1,3}),")
_NOT_REACHED = {5, 6, 7}  # could not resolve, could not connect
_CERTIFICATE = {51, 58, 60, 77, 83, 90}
_SENTENCE = re.compile(rb"<body[^>]*>([^<]*)</body>", re.IGNORECASE)
"""The reason on the page of a 401, as seen on an engine 4.5.8."""
_UNKNOWN_TOKEN = re.compile(r"Unauthorized|invalid_grant", re.IGNORECASE)
_LOCKED = re.compile(
    r"\b(is|are|currently|image) locked\b|\bbeing (?!used)[a-z]+|\bin progress\b"
    r"|try again (later|in )|\bwait\b.* try again|performing an operation|saving/restoring"
    r"|during a (backup|checkpoint removal)",
    re.IGNORECASE | re.DOTALL,
)
"""What passes by itself, in the words of `AppErrors.properties` (4.5) and of 4.4. Others end with "try again"
as well, and mean: not before you mend this (a name in use, an illegal disk, a stateless VM)."""
_STOPPING = re.compile(
    r"CannotGetJdbcConnection|CannotCreateTransaction|DataAccessResourceFailure|RecoverableDataAccess"
    r"|Failed to obtain JDBC|component is shutting down|WFLYEJB0421|WFLYJCA\d|HibernateException"
    r"|connection has been closed|terminating connection due to",
    re.IGNORECASE,
)
"""Faults of an engine that is stopping, or that has lost its database. [seen]"""
_SETTLING = re.compile(r"relevant Storage Domain's status is Unknown", re.IGNORECASE)
_DUPLICATE = re.compile(r"duplicate key .*attempted merging", re.IGNORECASE | re.DOTALL)


def is_lock(error: BaseException) -> bool:
    """Whether the engine refused because somebody else is at work on the object just now."""
    return isinstance(error, EngineRefused) and error.status == 409 and bool(_LOCKED.search(error.detail))


def classify(
    error: BaseException,
    what: str,
    status: int,
    host: str,
    *,
    proxy: Proxy | None = None,
    page: bytes = b"",
    reads: bool = False,
) -> Verdict | None:
    """The verdict on an error of the SDK; None if it is no trouble of the engine's but a bug of ours.

    `status` is the HTTP status last seen on the connection, 0 if no answer came, and `page` its body: the SDK
    hides both when the body is HTML. `proxy` is what stands between. `reads`: the request changes nothing.
    """
    import ovirtsdk4

    fault = getattr(error, "fault", None)
    if isinstance(error, TypeError) and status < 400:
        return None
    if isinstance(error, ovirtsdk4.NotFoundError) or (status == 404 and _code(error) in (None, 404)):
        detail = _detail(fault)
        missing = NotFound(f"Cannot {what}: {detail or 'not found'}.", status=404, detail=detail)
        return Verdict(missing, Ill.NO, False)
    if status == 403:
        detail = _detail(fault) or "the user has no permission"
        return Verdict(NotAuthorized(f"Cannot {what}: {detail}", hint_for(what)), Ill.NO, False)
    if status == 401:
        return _no_session(what, host, page)
    if fault is not None and QUERY_FORBIDDEN in _detail(fault):
        return Verdict(NotAuthorized(f"Cannot {what}: {_detail(fault)}", QUERY_HINT), Ill.NO, False)
    if fault is not None and status:
        return _judge_fault(what, fault, status, host, reads)
    if status >= 500 or status in (408, 429):
        away = EngineUnreachable(
            f"Cannot {what}: the engine at {host} answers {status}; it may be restarting."
        )
        return Verdict(away, Ill.HICCUP if status == 500 else Ill.AWAY, status != 503)
    if status >= 400 or (200 <= status < 400 and _code(error) is not None):
        return Verdict(
            EngineRefused(f"Cannot {what}: the engine answers {status} without a reason.", status=status),
            Ill.NO,
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
        return Verdict(refused, Ill.HICCUP, False)
    return Verdict(
        LoginFailed(
            f"Cannot {what}: the engine at {host} logged the user in and refuses the session: {sentence}",
            "End other sessions of the user (in the web interface: Administration, Active User Sessions), or "
            "raise the engine's limit."
            if "sessions" in sentence
            else None,
        ),
        Ill.NO,
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
    return Verdict(told, Ill.HICCUP, True)


def _lost(error: BaseException, what: str, status: int, host: str, proxy: Proxy | None) -> Verdict:
    """No usable answer at all: the connection could not be made or broke."""
    found = _CURL_CODE.search(str(error))
    code = int(found.group(1)) if found else -1
    if code in _CERTIFICATE:
        return Verdict(certificate_error(host, str(error)), Ill.NO, False)
    reason = {28: "no answer in time", 6: "its name does not resolve", 7: "connection refused"}.get(code)
    if status and not reason:
        reason = f"its answer ({status}) is not the API's"
    away = EngineUnreachable(
        f"Cannot {what}: no connection to the engine at {host}{f' through {proxy}' if proxy else ''} "
        f"({reason or 'connection lost'}).",
        proxy.hint if proxy else "Check the URL, the network and whether the engine is up.",
    )
    return Verdict(away, Ill.AWAY, code not in _NOT_REACHED)


def _judge_fault(what: str, fault: Any, status: int, host: str, reads: bool) -> Verdict:
    """A fault is a refusal, unless its words are those of an engine that is stopping or has just begun."""
    detail = _detail(fault)
    if _STOPPING.search(detail):
        away = EngineUnreachable(f"Cannot {what}: the engine at {host} is stopping or has no database.")
        return Verdict(away, Ill.AWAY, True)
    if _DUPLICATE.search(detail):
        double = DuplicateTransfers(
            f"Cannot {what}: the engine cannot show the snapshots of a VM while two transfers of one of its "
            "disks are unfinished.",
            "See them in the portal under Storage > Disks; end one, or wait until one has ended.",
            status=status,
            detail=detail,
        )
        return Verdict(double, Ill.NO, False)
    refusal = _refusal(what, detail, fault, status)
    if _SETTLING.search(detail):
        return Verdict(refusal, Ill.SETTLING, False)
    return Verdict(refusal, Ill.HICCUP if reads and status >= 500 else Ill.NO, False)


def _refusal(what: str, detail: str, fault: Any, status: int) -> EngineRefused:
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
