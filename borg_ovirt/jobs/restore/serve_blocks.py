"""Hands bytes of archived disks to nbdkit over a unix socket: a thread for each connection.

A connection begins with 512 bytes, the path of an item. Each request is an operation (0 size, 1 read, 2
extents), an offset and a length; each answer a status byte (0: here it is, 1: it cannot be read), and what it
is about.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from borg_ovirt.pipe.random_access import RandomAccess

_REQUEST = struct.Struct(">BQQ")
_SIZE = struct.Struct(">Q")
_EXTENT = struct.Struct(">QQB")
_NAME = 512


class BlockService:
    """Listens while it is entered. Whoever may enter the directory of the socket may read the disks."""

    def __init__(self, path: Path, disks: Mapping[str, RandomAccess], warn: Callable[[str], None]) -> None:
        self._disks = disks
        self._warn = warn
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> BlockService:
        threading.Thread(target=self._accept, name="blocks", daemon=True).start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._closed = True
        self._listener.close()
        with self._lock:
            for connection in self._connections:
                connection.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                name = _exactly(connection, _NAME).rstrip(b"\0").decode()
                disk = self._disks[name]
                while True:
                    operation, offset, length = _REQUEST.unpack(_exactly(connection, _REQUEST.size))
                    self._answer(connection, disk, name, (operation, offset, length))
        except (OSError, EOFError, KeyError, RuntimeError):
            pass  # the client left, or we close
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _answer(
        self, connection: socket.socket, disk: RandomAccess, name: str, request: tuple[int, int, int]
    ) -> None:
        operation, offset, length = request
        if operation == 0:
            connection.sendall(b"\0" + _SIZE.pack(disk.size))
        elif operation == 2:
            found = disk.extents(offset, length)
            connection.sendall(
                b"\0" + _SIZE.pack(len(found)) + b"".join(_EXTENT.pack(*extent) for extent in found)
            )
        else:
            try:
                # Everything is at hand before the first word: a status cannot be taken back.
                views = list(disk.read(offset, length))
            except Exception as error:
                self._warn(f"{name}, byte {offset}: {error}")
                connection.sendall(b"\1")
                return
            connection.sendall(b"\0")
            for view in views:
                connection.sendall(view)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
