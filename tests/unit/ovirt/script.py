"""An engine (or a daemon) that answers as a test tells it: a real HTTP server, and nothing behind it.

The client is the product's own with the real SDK below it. What the box decides by rules, a test decides here
request by request: the answers that a living engine gives once in a year can be given at once.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from ovirtbox.pki import Pki

from borg_ovirt.ovirt.session.waiting import Patience

API = "/ovirt-engine/api"
HASTY = Patience(
    engine=0.5,
    lock=0.5,
    ovf=0.3,
    start=1,
    end=1,
    snapshot=1,
    merge=1,
    machine=1,
    unclear=0.2,
    most=0.02,
    unwind=0.5,
)
"""Waits as little as a script needs."""


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    """Without the API's own; the daemon's as it is."""
    query: dict[str, str]
    body: bytes
    headers: dict[str, str]


@dataclass
class Answer:
    """What is said: XML unless told otherwise. `length` other than the body's cuts the body short."""

    status: int = 200
    body: str | bytes = b""
    type: str = "application/xml"
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None

    @property
    def data(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else self.body


HANG_UP = Answer(status=0)
"""No answer at all: the connection ends."""

Reply = Answer | str | Callable[[Request], "Answer | str"]


def fault(detail: str, status: int = 409, reason: str = "Operation Failed") -> Answer:
    """A refusal as the engine words it."""
    return Answer(status, f"<fault><detail>[{detail}]</detail><reason>{reason}</reason></fault>")


class Script:
    """The server. Each request must have been foreseen; the last answer to it is given again and again."""

    def __init__(self, pki: Pki | None = None, host: str = "127.0.0.1") -> None:
        """With `pki` over TLS."""
        self.requests: list[Request] = []
        self.unforeseen: list[str] = []
        self._replies: dict[tuple[str, str], list[Reply]] = defaultdict(list)
        self._lock = threading.Lock()
        self._server = _Server((host, 0), _handler(self))
        self._scheme = "http"
        if pki is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pki.cert_file, pki.key_file)
            # A client that turns away must not hold up who comes after it.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        token = Answer(body='{"access_token": "token-of-the-script"}', type="application/json")
        self.on("POST", "/ovirt-engine/sso/oauth/token", token)
        self.on("POST", "/ovirt-engine/services/sso-logout", Answer(body="{}", type="application/json"))
        self.on("GET", "", version(4, 5))
        self.on("GET", "/ovirt-engine/services/health", Answer(body="DB Up!Welcome to Health Status!"))
        self.on("GET", "/tags", "<tags/>")
        self.on("GET", "/events", "<events/>")
        # Asked of an id that is none it tells whether the user may end transfers: 200 to any.
        self.on("POST", "/imagetransfers/*/finalize", "<action><status>complete</status></action>")

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self._server.server_address[0]!s}:{self.port}"

    def on(self, method: str, path: str, *replies: Reply) -> None:
        """Answer so, one after the other; instead of what was said of this request before.

        A `*` in the path stands for any id that nothing else was said of.
        """
        with self._lock:
            self._replies[method, path] = list(replies)

    def asked(self, method: str, path: str | None = None) -> list[Request]:
        """The requests of that method (to that path), in order."""
        return [r for r in self.requests if r.method == method and path in (None, r.path)]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            replies = self._replies.get((request.method, request.path), []) or self._of_any(request)
            if not replies:
                self.unforeseen.append(f"{request.method} {request.path}")
                return fault("the script has no answer", 500)
            reply = replies.pop(0) if len(replies) > 1 else replies[0]
        said = reply(request) if callable(reply) else reply
        return Answer(body=said) if isinstance(said, str) else said

    def _of_any(self, request: Request) -> list[Reply]:
        for (method, path), replies in self._replies.items():
            if "*" in path and method == request.method and fnmatchcase(request.path, path):
                return replies
        return []

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that turned away is what some tests are about."""


def version(major: int, minor: int) -> str:
    """The API's own page."""
    return (
        "<api><product_info><name>oVirt Engine</name><instance_id>engine-1</instance_id>"
        f"<version><major>{major}</major><minor>{minor}</minor><build>0</build><revision>0</revision>"
        f"<full_version>{major}.{minor}.0</full_version></version></product_info>"
        "<time>2026-03-01T12:00:00.000+01:00</time></api>"
    )


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            answer = script.answer(
                Request(
                    self.command,
                    parts.path.removeprefix(API) if parts.path.startswith(API) else parts.path,
                    {name: values[-1] for name, values in parse_qs(parts.query, True).items()},
                    self.rfile.read(length),
                    dict(self.headers.items()),
                )
            )
            if answer is HANG_UP:
                self.close_connection = True
                return
            data = answer.data
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", answer.type)
            self.send_header("Content-Length", str(len(data) if answer.length is None else answer.length))
            self.end_headers()
            self.wfile.write(data)
            if answer.length is not None and answer.length != len(data):
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Silence."""

    return Handler


def as_json(value: object, status: int = 200) -> Answer:
    """An answer of the daemon's."""
    return Answer(status, json.dumps(value), "application/json")
