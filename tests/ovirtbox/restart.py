"""An engine that is being restarted: what it says while it stops, is away, and comes back.

Seen on engine 4.5.8 (facts of 2026-11, section 18): 2-3 s of stopping, healthy again after 14-26 s; then the
states of its storage domains are unknown for some nine seconds.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from flask import Request, Response

from ovirtbox.faults import Fault
from ovirtbox.model import StorageDomain
from ovirtbox.xml import API, fault_reply

_UNAVAILABLE = (
    "<!DOCTYPE HTML><html><head><title>{status} {name}</title></head><body><h1>{name}</h1>"
    "<p>The server is temporarily unable to service your request.</p></body></html>"
)
_NAMES = {
    401: "Unauthorized",
    404: "Not Found",
    500: "Internal Server Error",
    502: "Proxy Error",
    503: "Service Unavailable",
}
HEALTH = "/ovirt-engine/services/health"
_HEALTHY = "DB Up!Welcome to Health Status!"
_JAVA = (
    "org.springframework.jdbc.CannotGetJdbcConnectionException: Failed to obtain JDBC Connection;"
    " nested exception is java.sql.SQLException: WFLYJCA0041: Failed getting connection",
    "WFLYEJB0421: Invocation cannot proceed as component is shutting down",
    "org.springframework.dao.DataAccessResourceFailureException: CallableStatementCallback; SQL [{call"
    " getvdcoptions()}]; This connection has been closed.",
)


@dataclass
class Restart:
    """One restart; made without times it is none."""

    at: float = 0.0
    stopping: float = 0.0
    away: float = 0.0
    database: bool = False
    """PostgreSQL alone is away: the engine answers all the time, and is unhealthy."""
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    def answer(self, request: Request) -> Response | None:
        """What a request gets instead of being served; None when the engine is well."""
        since = time.monotonic() - self.at
        ill = since < self.stopping + self.away
        if request.path == HEALTH:
            if ill:
                return html_page(500 if self.database else 503)
            return Response(_HEALTHY, 200, content_type="text/html;charset=ISO-8859-1")
        if not ill:
            return None
        if since < self.stopping or self.database:
            return self._stopping(request)
        return html_page(503)

    def _stopping(self, request: Request) -> Response:
        """Each in its turn; all of them were seen."""
        turn = next(self._turn)
        if not request.path.startswith(API):
            return html_page(503 if turn % 2 else 404)
        if self.database or turn % 3 == 1:
            return fault_reply(Fault(400, _JAVA[turn // 3 % len(_JAVA)]))
        if turn % 3 == 2:
            return html_page(503)
        return html_page(404) if turn % 2 else Response(b"", 404)

    def settle(self, domains: Iterable[StorageDomain], seconds: float) -> None:
        """The domains are unknown until then."""
        known = list(domains)
        for domain in known:
            domain.status = "unknown"

        def find_out() -> None:
            for domain in known:
                domain.status = "active"

        timer = threading.Timer(self.stopping + self.away + seconds, find_out)
        timer.daemon = True
        timer.start()


def html_page(status: int) -> Response:
    """What a web server in front of the engine, or in it, says by itself."""
    name = _NAMES.get(status, "Error")
    answer = Response(
        _UNAVAILABLE.format(status=status, name=name), status, content_type="text/html;charset=iso-8859-1"
    )
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Basic realm="RESTAPI"'
    return answer
