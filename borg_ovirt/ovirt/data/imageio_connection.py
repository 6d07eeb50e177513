"""One HTTP connection to the imageio daemon, for one ticket.

`http.client` and no library above it: a request costs a fifth of the CPU, bytes go straight into the caller's
buffers, a refusal sent while a body is still going up can be read, no proxy of the environment interferes.

The path of a URL holds the ticket, which is the only secret there is: it appears in no message of ours.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from borg_ovirt.errors import TransferFailed
from borg_ovirt.ovirt.data import answers
from borg_ovirt.ovirt.session.address import split

CONNECT_TIMEOUT = 15.0
DATA_TIMEOUT = 180.0
"""No byte for this long means that the connection is dead, in seconds."""
SLOW_TIMEOUT = 3600.0
"""For answers that take their time: extents of a fragmented disk, zeroing, flushing, checksums."""


_LEAST = 256 << 10
"""Bytes that have to come while one timeout is spent in waiting for them: less is no connection."""


class _Steady(io.RawIOBase):
    """What comes over a socket, as long as it comes: drops that each come in time would go on for ever."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._sock = sock
        self._waited = 0.0
        self._came = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        got: int | None = self._raw.readinto(buffer)
        self._waited += time.monotonic() - began
        self._came += got or 0
        if self._came >= _LEAST:
            self._waited, self._came = 0.0, 0
        elif got and self._waited > (self._sock.gettimeout() or DATA_TIMEOUT):
            raise TimeoutError(errno.ETIMEDOUT, f"{self._came} bytes in {self._waited:.0f} s")
        return got

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_Steady(self.fp.detach(), sock))


@dataclass(frozen=True)
class Address:
    """Where a ticket can be used."""

    kind: str
    """`unix`, `direct` or `proxy`."""
    host: str
    port: int
    tls: bool
    path: str = field(repr=False)
    socket: str | None = None

    @classmethod
    def of_url(cls, kind: str, url: str) -> Address:
        """Raises `TransferFailed` for what is no address; the URL itself is a secret."""
        try:
            parts = split(url)
        except ValueError as error:
            raise TransferFailed(
                f"The engine gave an address for a transfer that is none: {error}."
            ) from None
        tls = parts.scheme != "http"
        port = parts.port or (443 if tls else 80)
        return cls(kind, parts.hostname or "", port, tls, parts.path)

    def over_socket(self, path: str) -> Address:
        """The same ticket over a unix socket of this host."""
        return Address("unix", "localhost", 0, False, self.path, path)

    def __str__(self) -> str:
        return f"unix socket {self.socket}" if self.socket else f"{self.host}:{self.port}"


class Broken(Exception):
    """The connection broke or the daemon stumbled: worth another try, on a new connection."""


class TicketGone(Exception):
    """403: the daemon does not know the ticket, or it expired or was cancelled."""


class Refused(Exception):
    """The daemon will not do what was asked, however often it is asked."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}".strip())
        self.status = status


class Untrusted(Exception):
    """The daemon's certificate was not signed by the CA given."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; a leading NUL or @ names an abstract one."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        name = self._path
        if name.startswith("@"):
            name = "\0" + name[1:]
        self.sock.connect(name)


class ImageioConnection:
    """A connection and its one request at a time. Not shared between threads, but any thread may `abort`."""

    def __init__(self, address: Address, tls: ssl.SSLContext) -> None:
        self.address = address
        self.used = False
        """A request has been answered on it: the daemon may have hung up since."""
        self._connection = self._make(address, tls)
        self._connection.response_class = _Response
        self._connection.auto_open = 0  # a lost connection is for the caller to see, not to be papered over
        try:
            self._connection.connect()
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Untrusted(f"{address}: {error.verify_message}") from None
        except (OSError, ValueError) as error:  # a NUL in the name of a socket is a ValueError
            self.close()
            raise Broken(f"no connection to {address}: {getattr(error, 'strerror', None) or error}") from None

    @staticmethod
    def _make(address: Address, tls: ssl.SSLContext) -> http.client.HTTPConnection:
        if address.socket is not None:
            return _UnixConnection(address.socket, CONNECT_TIMEOUT)
        if address.tls:
            return http.client.HTTPSConnection(
                address.host, address.port, context=tls, timeout=CONNECT_TIMEOUT
            )
        return http.client.HTTPConnection(address.host, address.port, timeout=CONNECT_TIMEOUT)

    def close(self) -> None:
        self._connection.close()

    def abort(self) -> None:
        """Cut the line under a thread that waits for bytes; that thread closes."""
        sock = self._connection.sock
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def send(
        self,
        method: str,
        resource: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        body: Sequence[memoryview] = (),
        timeout: float = DATA_TIMEOUT,
        expect: int = 200,
    ) -> http.client.HTTPResponse:
        """Send a request; the answer's body is for the caller to read. Any status but `expect` is raised."""
        connection = self._connection
        try:
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.putrequest(method, self.address.path + resource, skip_accept_encoding=True)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body or method in ("PUT", "PATCH"):
                connection.putheader("Content-Length", str(sum(view.nbytes for view in body)))
            connection.endheaders()
            self._send_body(body)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Broken(f"connection to {self.address} lost ({_name(error)})") from None
        if response.status != expect:
            self._raise(response)
        self.used = True
        return response

    def _send_body(self, body: Sequence[memoryview]) -> None:
        try:
            for view in body:
                self._connection.send(view)
        except OSError:
            # The daemon refused half-way and hung up; its answer may still lie in the socket and tells why.
            return

    def _raise(self, response: http.client.HTTPResponse) -> None:
        status = response.status
        try:
            text = response.read(400).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException):
            text = ""
        self.close()
        ticket = self.address.path.rsplit("/", 1)[-1]
        text = text.replace(ticket, "(ticket)") if ticket else text
        if status == 403:
            raise TicketGone(f"{self.address} does not accept the ticket: {text}")
        if status >= 500 or status == 408:
            raise Broken(f"{self.address} answers {status}; its reason is in the host's imageio daemon.log")
        raise Refused(status, text)

    def hurry(self) -> None:
        """From now on bytes come without further thought."""
        if self._connection.sock is not None:
            self._connection.sock.settimeout(DATA_TIMEOUT)

    def answer(self, response: http.client.HTTPResponse) -> Any:
        """The JSON of an answer; None if it is empty. The connection can be used again."""
        try:
            return answers.parse(self.drain(response))
        except ValueError:
            self.close()
            raise Broken(f"{self.address} sent no JSON") from None

    def drain(self, response: http.client.HTTPResponse) -> bytes:
        """The whole body of a short answer."""
        try:
            data = response.read(answers.LARGEST + 1)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Broken(f"connection to {self.address} lost ({_name(error)})") from None
        if len(data) > answers.LARGEST:
            self.close()
            raise Broken(f"{self.address} sent an answer without an end")
        return data


def _name(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
