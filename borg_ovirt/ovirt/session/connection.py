"""The SDK's connection, as a session uses it: one token and one proxy for all, nothing sent twice unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from borg_ovirt.ovirt.session.proxy import Proxy
from borg_ovirt.ovirt.session.sense import Bounded, check_kind, check_xml
from borg_ovirt.ovirt.session.web import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from borg_ovirt.ovirt.session.engine import Engine


class _Handles:
    """libcurl's set of requests, in which every request goes the engine's way and none waits long to connect.

    Without it libcurl would read the proxies of the environment by rules of its own. And it would repeat a
    request, a POST too, when a connection that was used before is closed without a byte of an answer: it
    takes that for one that had died in between. So what changes something goes out on a fresh connection.
    """

    def __init__(self, multi: Any, proxy: Proxy | None) -> None:
        self.fresh = False
        self._multi = multi
        self._proxy = proxy.url if proxy else ""

    def add_handle(self, handle: Any) -> None:
        handle.setopt(handle.FRESH_CONNECT, int(self.fresh))
        handle.setopt(handle.PROXY, self._proxy)
        handle.setopt(handle.NOPROXY, "")
        handle.setopt(handle.CONNECTTIMEOUT, int(CONNECT_TIMEOUT))
        self._multi.add_handle(handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._multi, name)


_made: list[Any] = []


def connection_class() -> Any:
    """The SDK's connection that tells the status of its last answer and shares the engine's token."""
    if _made:
        return _made[0]
    import ovirtsdk4

    class Connection(ovirtsdk4.Connection):  # type: ignore[misc]
        last_status = 0
        last_page = b""
        """The body of the last answer, if it refused the session."""
        asked = ("", "")
        """Method and path of the last request."""
        endless = False
        """The last answer was broken off for its length."""

        def __init__(self, engine: Engine) -> None:
            super().__init__(**engine.connection_settings())
            self._engine = engine
            self._multi: Any = _Handles(self._multi, engine.proxy)
            self._bounds: list[Bounded] = []

        def send(self, request: Any) -> Any:
            self.asked = (request.method, request.path)
            self._multi.fresh = request.method not in ("GET", "HEAD", "OPTIONS")
            context = super().send(request)
            curl, body, headers, _ = context
            self._bounds = [Bounded(body.write), Bounded(headers.write)]
            curl.setopt(curl.WRITEFUNCTION, self._bounds[0])
            curl.setopt(curl.HEADERFUNCTION, self._bounds[1])
            return context

        def wait(self, context: Any, failed_auth: bool = False) -> Any:
            try:
                return super().wait(context, failed_auth)
            finally:
                self.endless = any(bound.full for bound in self._bounds)

        def check_xml_content_type(self, response: Any) -> None:
            super().check_xml_content_type(response)
            root = check_xml(response.body)
            if response.code < 300:
                check_kind(root, *self.asked)

        def _read_reponse(self, context: Any) -> Any:
            response = super()._read_reponse(context)
            self.last_status = response.code
            self.last_page = response.body if response.code == 401 else b""
            return response

        def _get_access_token(self) -> str:
            return self._engine.renew_token(self._sso_token)

    _made.append(Connection)
    return Connection
