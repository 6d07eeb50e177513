"""Just enough of an NBD client to be a guest: read, write, discard and zero an export."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from pathlib import Path

_OPTIONS_MAGIC = 0x49484156454F5054
_OPT_EXPORT_NAME = 1
_REQUEST = 0x25609513
_REPLY = 0x67446698
_READ, _WRITE, _DISC, _FLUSH, _TRIM, _ZEROES = 0, 1, 2, 3, 4, 6
MAX_REQUEST = 8 << 20
"""QEMU takes 32 MiB at most; smaller pieces keep buffers small."""
MAX_ZERO = 1 << 30


class NbdError(OSError):
    """The server answered with an error number."""


class NbdClient:
    """One connection to one export over a unix socket; safe for threads, one request at a time."""

    def __init__(self, path: Path, export: str) -> None:
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        try:
            self._socket.connect(str(path))
            self.size = self._handshake(export)
        except BaseException:
            self._socket.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray()
        while length:
            step = min(length, MAX_REQUEST)
            data += self._request(_READ, offset, step, reply=step)
            offset, length = offset + step, length - step
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._request(_WRITE, offset, len(view[:MAX_REQUEST]), payload=view[:MAX_REQUEST])
            offset, view = offset + len(view[:MAX_REQUEST]), view[MAX_REQUEST:]

    def discard(self, offset: int, length: int) -> None:
        self._in_steps(_TRIM, offset, length)

    def zero(self, offset: int, length: int) -> None:
        self._in_steps(_ZEROES, offset, length)

    def flush(self) -> None:
        self._request(_FLUSH, 0, 0)

    def close(self) -> None:
        with self._lock:
            with contextlib.suppress(OSError):  # the server may have gone first
                self._socket.sendall(struct.pack(">IHHQQI", _REQUEST, 0, _DISC, 0, 0, 0))
            self._socket.close()

    def _in_steps(self, command: int, offset: int, length: int) -> None:
        while length:
            step = min(length, MAX_ZERO)
            self._request(command, offset, step)
            offset, length = offset + step, length - step

    def _handshake(self, export: str) -> int:
        magic, options, _ = struct.unpack(">QQH", self._receive(18))
        if magic != 0x4E42444D41474943 or options != _OPTIONS_MAGIC:
            raise NbdError("not an NBD server")
        name = export.encode()
        # Fixed newstyle, no padding of zeroes; the plain old option is enough for a guest.
        self._socket.sendall(
            struct.pack(">I", 3) + struct.pack(">QII", _OPTIONS_MAGIC, _OPT_EXPORT_NAME, len(name)) + name
        )
        size, _ = struct.unpack(">QH", self._receive(10))
        return int(size)

    def _request(
        self, command: int, offset: int, length: int, *, payload: memoryview | None = None, reply: int = 0
    ) -> bytes:
        with self._lock:
            self._socket.sendall(struct.pack(">IHHQQI", _REQUEST, 0, command, 0, offset, length))
            if payload is not None:
                self._socket.sendall(payload)
            magic, error, _ = struct.unpack(">IIQ", self._receive(16))
            if magic != _REPLY:
                raise NbdError("unexpected answer of the NBD server")
            if error:
                raise NbdError(error, f"NBD request {command} at {offset} failed")
            return self._receive(reply) if reply else b""

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            got = self._socket.recv_into(view)
            if not got:
                raise NbdError("the NBD server hung up")
            view = view[got:]
        return bytes(data)
