"""Hashes and compresses cells on any thread, into the very frames that Borg would have made.

Borg's own compressors share one work buffer and give up the GIL while they use it, so two threads in them
spoil each other's data without a word. The `lz4` and `zstandard` libraries do not. Everything else is left
to Borg, on the one thread that stores.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from typing import Any

import lz4.block
import zstandard

_NONE = b"\x00\x00"
_LZ4 = b"\x01\x00"
_ZSTD = b"\x03\x00"

IdHash = Callable[[memoryview], bytes]
"""The id of a chunk under the repository's key."""


def sha256_id(data: memoryview) -> bytes:
    """Ids of a repository without a key."""
    return hashlib.sha256(data).digest()


def hmac_sha256_id(key: bytes) -> IdHash:
    """Ids of `repokey`, `keyfile` and `authenticated`."""
    return lambda data: hmac.digest(key, data, "sha256")


def blake2b_id(key: bytes) -> IdHash:
    """Ids of the BLAKE2b modes: Borg hashes key and data as one text, here without joining them."""

    def hash_(data: memoryview) -> bytes:
        state = hashlib.blake2b(key, digest_size=32)
        state.update(data)
        return state.digest()

    return hash_


class Frame:
    """A cell on its way to Borg: its plain size, and its bytes as Borg's compression frames them.

    Borg asks it for its length, and hands it to the compressor, which takes the payload out.
    """

    __slots__ = ("_size", "payload")

    def __init__(self, size: int, payload: bytes | memoryview) -> None:
        self._size = size
        self.payload = payload

    def __len__(self) -> int:
        return self._size


Framer = Callable[[memoryview], Frame]


def framer(name: str, level: int | None) -> Framer | None:
    """What frames cells for this compression on any thread; None to leave it to Borg."""
    if name == "lz4":
        return _frame_lz4
    if name == "zstd":
        return _ZstdFramer(3 if level is None else level)
    return None


def _frame_lz4(data: memoryview) -> Frame:
    # The library puts four bytes of size in front: the last two make room for Borg's head, without a copy.
    packed = lz4.block.compress(data, store_size=True, return_bytearray=True)
    if len(packed) - 4 >= len(data):
        return _as_it_is(data)
    packed[2:4] = _LZ4
    return Frame(len(data), memoryview(packed)[2:])


def _as_it_is(data: memoryview) -> Frame:
    """Borg does so with what does not shrink."""
    return Frame(len(data), b"".join((_NONE, data)))


class _ZstdFramer:
    """One compressor for each thread: a compressor must not be shared."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._local: Any = threading.local()

    def __call__(self, data: memoryview) -> Frame:
        compressor = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = self._local.compressor = zstandard.ZstdCompressor(level=self._level)
        packed = compressor.compress(data)
        if len(packed) >= len(data):
            return _as_it_is(data)
        return Frame(len(data), b"".join((_ZSTD, packed)))
