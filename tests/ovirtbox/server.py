"""The web server in front of the app: TLS, one thread for each connection, keep-alive."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from typing import Any

from flask import Flask
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from ovirtbox.pki import Pki

log = logging.getLogger("ovirtbox.server")


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

    def log(self, type: str, message: str, *args: Any) -> None:
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
