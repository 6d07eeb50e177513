"""A door in front of a daemon's port that can be made to slam: it cuts a connection after N bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

Connect = Callable[[], socket.socket]


class Forwarder:
    """Copies bytes both ways; while `cuts` are left, a connection ends after `after` bytes to the client."""

    def __init__(self, listener: socket.socket, connect: Connect) -> None:
        self._listener = listener
        self._connect = connect
        self._lock = threading.Lock()
        self._after = 0
        self._cuts = 0
        self.hits = 0
        threading.Thread(target=self._accept, name="ovirtbox-forward", daemon=True).start()

    def arm(self, after: int, times: int) -> None:
        """`after` counts both directions together, so that uploads are cut too."""
        with self._lock:
            self._after, self._cuts = after, times

    @property
    def armed(self) -> bool:
        return self._cuts > 0

    def close(self) -> None:
        # Shutting down wakes the thread that waits in accept; closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            meter = _Meter(self, client, server)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=meter.copy, args=(source, target), daemon=True).start()

    def _take_cut(self, moved: int) -> bool:
        with self._lock:
            if self._cuts and moved >= self._after:
                self._cuts -= 1
                self.hits += 1
                return True
            return False


class _Meter:
    def __init__(self, forwarder: Forwarder, client: socket.socket, server: socket.socket) -> None:
        self._forwarder, self._both = forwarder, (client, server)
        self._lock = threading.Lock()
        self._moved = 0

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        buffer = bytearray(1 << 18)
        view = memoryview(buffer)
        try:
            while got := source.recv_into(buffer):
                target.sendall(view[:got])
                with self._lock:
                    self._moved += got
                    if self._forwarder._take_cut(self._moved):
                        break
            else:
                target.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        for end in self._both:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
