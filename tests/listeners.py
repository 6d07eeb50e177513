"""Real servers on this machine that keep what they are sent: a web hook, and a mail server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any


@dataclass
class Hook:
    """A web hook: Apprise's `json://` posts to it."""

    port: int = 0
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"json://someone:hush-hush-secret@127.0.0.1:{self.port}/token-of-the-hook"


@contextmanager
def web_hook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            hook.got.append(json.loads(body))
            self.send_response(hook.status)
            self.end_headers()
            self.wfile.write(b"no: token-of-the-hook" if hook.status >= 400 else b"ok")

        def log_message(self, *unused: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hook
        server.shutdown()


@dataclass
class Mailbox:
    port: int = 0
    got: list[EmailMessage] = field(default_factory=list)


@contextmanager
def mail_server() -> Iterator[Mailbox]:
    """As much of RFC 5321 as a client needs to leave a message."""
    box = Mailbox()

    class Handler(StreamRequestHandler):
        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self) -> None:
            self.say("220 here")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"QUIT":
                    self.say("221 bye")
                    return
                if word == b"DATA":
                    self.say("354 go on")
                    text = b""
                    while (row := self.rfile.readline()) not in (b".\r\n", b""):
                        text += row.removeprefix(b".")
                    message = message_from_bytes(text, policy=policy.default)
                    assert isinstance(message, EmailMessage)
                    box.got.append(message)
                self.say("250 ok")

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        box.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield box
        server.shutdown()
