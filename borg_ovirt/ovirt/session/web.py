"""HTTP to the engine beside its API: login, logout, its CA, its certificate. By `requests`.

The API itself goes through the SDK, disk data through a reader of its own (`ovirt.data`), which fills given
buffers. No redirect is followed and no `~/.netrc` is read: a form may hold a secret.
"""

from __future__ import annotations

import ssl
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from borg_ovirt.errors import BorgOvirtError, EngineUnreachable
from borg_ovirt.ovirt.session.certificate import certificate_error
from borg_ovirt.ovirt.session.proxy import Proxy, proxy_of

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT = 15.0
"""For a connection to the engine or to a proxy, in seconds."""
_LARGEST_REPLY = 1 << 20


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes
    certificate: Mapping[str, object]
    """The server's certificate as `ssl` tells it; empty where nobody checked it."""


def ask(
    url: str,
    *,
    ca_file: str | None,
    timeout: float,
    form: Mapping[str, str] | None = None,
    unproven: bool = False,
) -> Reply:
    """GET, or POST of a form. `timeout` (in seconds) is for the whole of it, once there is a connection.

    Raises `EngineUnreachable` where no answer came, `CertificateError` where the server's certificate is not
    one to trust; `unproven` trusts any.
    """
    told: Future[Reply] = Future()

    def work() -> None:
        try:
            told.set_result(_ask(url, ca_file=ca_file, timeout=timeout, form=form, unproven=unproven))
        except BaseException as error:
            told.set_exception(error)

    # `requests` limits each wait for a byte, and an answer in drops has no end.
    threading.Thread(target=work, daemon=True).start()
    try:
        return told.result(CONNECT_TIMEOUT + timeout)
    except FutureTimeout:
        if told.done():
            raise
        host = urlsplit(url).hostname or url
        raise EngineUnreachable(f"No answer in time from the engine at {host}: it comes in drops.") from None


def _ask(
    url: str, *, ca_file: str | None, timeout: float, form: Mapping[str, str] | None, unproven: bool
) -> Reply:
    import requests
    from urllib3.exceptions import HTTPError

    proxy = proxy_of(url)
    with requests.Session() as session, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an unproven server is unproven
        session.trust_env = False
        try:
            with session.request(
                "GET" if form is None else "POST",
                url,
                data=form,
                headers={"Accept": "application/json"} if form is not None else None,
                proxies={"http": proxy.url, "https": proxy.url} if proxy else None,
                verify=False if unproven else ca_file or _system_store(),
                timeout=(min(CONNECT_TIMEOUT, timeout), timeout),
                allow_redirects=False,
                stream=True,
            ) as reply:
                certificate = {} if unproven else _certificate(reply)
                body = reply.raw.read(_LARGEST_REPLY, decode_content=True)
                return Reply(reply.status_code, body, certificate)
        except (OSError, HTTPError) as error:
            raise _translated(error, url, proxy) from None


def _system_store() -> str | bool:
    """The CAs of the system, not those that `requests` brings along."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or True


def _certificate(reply: requests.Response) -> Mapping[str, object]:
    connection = reply.raw.connection  # until the body is read
    sock = getattr(connection, "sock", None)
    return (sock.getpeercert() or {}) if isinstance(sock, ssl.SSLSocket) else {}


def _translated(error: Exception, url: str, proxy: Proxy | None) -> BorgOvirtError:
    import requests

    host = urlsplit(url).hostname or url
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return certificate_error(host, cause.verify_message)
    through = f" through {proxy}" if proxy else ""
    words = next((text for cause in causes if (text := _words(cause))), None)
    if words is None:
        words = "no answer in time" if isinstance(error, requests.Timeout) else "connection lost"
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return EngineUnreachable(f"No TLS connection to the engine at {host}{through}: {words}.")
    return EngineUnreachable(
        f"No connection to the engine at {host}{through}: {words}.",
        proxy.hint
        if proxy
        else "Check the URL, name resolution, port 443, the network and whether the engine is up.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what lies below it, the deepest first. `requests` and urllib3 wrap in several ways."""
    below: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or one in below:
            continue
        below.append(one)
        todo += [one.__context__, one.__cause__, getattr(one, "reason", None), *one.args]
    return reversed(below)


def _words(cause: BaseException) -> str | None:
    """What the system said; the libraries' own words may hold the URL of a proxy with its password."""
    import requests

    if isinstance(cause, requests.RequestException) or not isinstance(cause, OSError):
        return None
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    return cause.strerror or (str(cause) if "unnel" in str(cause) else None)
