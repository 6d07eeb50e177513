"""What nbdkit runs in its own Python: an NBD export whose bytes come from our process over a socket.

It uses the standard library alone, since nbdkit's Python may be another one than ours, and older. The words
on the socket are those of `serve_blocks.py`.
"""

import socket
import struct
import threading
from typing import Any, Dict, List, Tuple  # noqa: UP035 for old Pythons

import nbdkit

API_VERSION = 2
_REQUEST = struct.Struct(">BQQ")
_SIZE = struct.Struct(">Q")
_EXTENT = struct.Struct(">QQB")
_SETTINGS: Dict[str, str] = {}  # noqa: UP006


def thread_model() -> Any:
    return nbdkit.THREAD_MODEL_PARALLEL


def config(key: str, value: str) -> None:
    _SETTINGS[key] = value


class _Handle:
    """One client of ours, with as many connections as requests are under way.

    They are lent, and not kept by thread: to Python each call of nbdkit's comes from a new thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: List[socket.socket] = []  # noqa: UP006
        self.size = int(_SIZE.unpack(self.ask(0, 0, 0))[0])

    def ask(self, operation: int, offset: int, length: int, view: Any = None) -> bytes:
        """Ask, and put the answer into the view; without one it is a number, and so many extents."""
        with self._lock:
            connection = self._free.pop() if self._free else None
        if connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(_SETTINGS["blocks"])
            connection.sendall(_SETTINGS["item"].encode().ljust(512, b"\0"))
        try:
            connection.sendall(_REQUEST.pack(operation, offset, length))
            status = connection.recv(1)
            if status == b"\0":
                answer = _answer(connection, operation, view)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            self._free.append(connection)
        if status != b"\0":
            raise OSError("the archive could not be read there")
        return answer

    def close(self) -> None:
        for connection in self._free:
            connection.close()


def _answer(connection: socket.socket, operation: int, view: Any) -> bytes:
    if view is not None:
        _fill(connection, view)
        return b""
    number = bytearray(_SIZE.size)
    _fill(connection, memoryview(number))
    if operation == 0:
        return bytes(number)
    found = bytearray(_SIZE.unpack(number)[0] * _EXTENT.size)
    _fill(connection, memoryview(found))
    return bytes(found)


def _fill(connection: socket.socket, view: memoryview) -> None:
    while len(view):
        count = connection.recv_into(view)
        if not count:
            raise OSError("borg-ovirt is gone")
        view = view[count:]


def open(readonly: bool) -> _Handle:  # noqa: A001
    return _Handle()


def close(handle: _Handle) -> None:
    handle.close()


def get_size(handle: _Handle) -> int:
    return handle.size


def can_multi_conn(handle: _Handle) -> bool:
    return True


def can_extents(handle: _Handle) -> bool:
    return True


def block_size(handle: _Handle) -> Tuple[int, int, int]:  # noqa: UP006
    return (1, 64 * 1024, 32 * 1024 * 1024)


def pread(handle: _Handle, buffer: Any, offset: int, flags: int) -> None:
    handle.ask(1, offset, len(buffer), memoryview(buffer))


def extents(handle: _Handle, count: int, offset: int, flags: int) -> List[Tuple[int, int, int]]:  # noqa: UP006
    hole = nbdkit.EXTENT_HOLE | nbdkit.EXTENT_ZERO
    found = _EXTENT.iter_unpack(handle.ask(2, offset, count))
    return [(start, length, hole if zero else 0) for start, length, zero in found]
