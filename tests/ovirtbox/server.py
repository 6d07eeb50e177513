"""The web server in front of the app: TLS, one thread for each connection, keep-alive."""

from __future__ import annotations

import io
import logging
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from flask import Flask
from werkzeug import Response
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from ovirtbox.inject import WIRE, Wire
from ovirtbox.pki import Pki
from ovirtbox.restart import html_page

log = logging.getLogger("ovirtbox.server")


class _Answer(Response):
    """What the application answers; no content type where it gave none."""

    default_mimetype = None


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120
    """A connection that is silent for so long is closed."""
    disable_nagle_algorithm = True

    def setup(self) -> None:
        # The handshake is made here, on the connection's own thread: a client that stalls in it
        # must not keep others waiting.
        self.request.settimeout(self.timeout)
        self.request = self.server.ssl_context.wrap_socket(  # type: ignore[union-attr]
            self.request, server_side=True
        )
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()

    def run_wsgi(self) -> None:
        """One request; the connection stays open for the next one (the stock handler closes it)."""
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(self._body(environ))
        environ["CONTENT_LENGTH"] = str(len(environ["wsgi.input"].getvalue()))
        environ["wsgi.input_terminated"] = True
        environ[WIRE] = wire = Wire(cut=self._cut)
        answer = _Answer.from_app(self.server.app, environ, buffered=True)
        if wire.lost:
            self.close_connection = True
            return
        if wire.instead:
            answer = html_page(wire.instead)
        body = b"" if self.command == "HEAD" else answer.get_data()
        self.send_response(answer.status_code)
        for name, value in answer.headers:
            if name.lower() not in ("content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.get_data())))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _cut(self) -> None:
        """For the client the connection is closed; whatever is sent to it from now on is lost."""
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)

    def _body(self, environ: dict[str, Any]) -> bytes:
        if environ.get("wsgi.input_terminated"):
            chunked: bytes = environ["wsgi.input"].read()
            return chunked
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length) if length else b""

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 (the name is inherited)
        log.debug(message, *args)


class _Server(ThreadedWSGIServer):
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("A connection from %s ended badly", client_address, exc_info=True)


class Server:
    """Serves the app on a free port (or the one given) of 127.0.0.1, reached as localhost."""

    def __init__(self, app: Flask, pki: Pki, port: int = 0) -> None:
        self._server = _Server("127.0.0.1", port, app, handler=_Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.cert_file, pki.key_file)
        # Told to the server after it was made, so that it answers as https without wrapping the
        # listening socket.
        self._server.ssl_context = context
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._serve, name="ovirtbox-rest", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
