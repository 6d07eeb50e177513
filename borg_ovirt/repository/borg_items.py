"""Reads the item stream of an archive with a disk's chunks packed at once, never as a million tuples."""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from borg.helpers.msgpack import OutOfData, Unpacker

from borg_ovirt.errors import RepositoryDamaged
from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.packed import PackedChunks


@dataclass(frozen=True)
class StoredFile:
    """A regular file of an archive."""

    path: str
    size: int
    chunks: PackedChunks
    repaired: bool
    """`borg check --repair` put zeros where chunks were lost."""


Row = Callable[[bytes, int, int], None]
"""Told of each chunk: its id, its size, and its size as it is stored."""


def stored_files(
    session: Session, items: Sequence[bytes], most: int | None = None, row: Row | None = None
) -> Iterator[StoredFile]:
    """The regular files of an item stream, in order, without the parts of unfinished files.

    The stream is left at the first file of more than `most` chunks: it is not parsed.
    """
    with session.translate_errors(), _sense(session.where):
        unpacker: Any = Unpacker(_Stream(session, items), read_size=1 << 20, use_list=False)
        while True:
            try:
                keys = unpacker.read_map_header()
            except OutOfData:
                return
            facts: dict[bytes, Any] = {}
            for _ in range(keys):
                key = unpacker.unpack()
                if key != b"chunks":
                    facts[key] = unpacker.unpack()
                    continue
                count = unpacker.read_array_header()
                if most is not None and count > most:
                    return
                facts[key] = _chunks(unpacker, count, row)
            if b"part" not in facts and stat.S_ISREG(facts.get(b"mode", 0)):
                yield _stored(facts)


@contextmanager
def _sense(where: str) -> Iterator[None]:
    """Inside, an item that is none becomes an error of ours."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, struct.error) as error:
        raise RepositoryDamaged(
            f"The list of files of an archive in {where} makes no sense ({type(error).__name__}: {error}).",
            "Run `borg check` on the repository.",
        ) from None


def _chunks(unpacker: Any, count: int, row: Row | None) -> PackedChunks:
    chunks = PackedChunks()
    for _ in range(count):
        id_, size, csize = unpacker.unpack()
        chunks.append(id_, size)
        if row is not None:
            row(id_, size, csize)
    return chunks


def _stored(facts: dict[bytes, Any]) -> StoredFile:
    chunks = facts.get(b"chunks") or PackedChunks()
    size = facts.get(b"size")
    return StoredFile(
        path=facts[b"path"].decode("utf-8", "surrogateescape"),
        size=chunks.total() if size is None else size,
        chunks=chunks,
        repaired=facts.get(b"chunks_healthy") is not None,
    )


class _Stream:
    """The item stream as a file to read from."""

    def __init__(self, session: Session, items: Sequence[bytes]) -> None:
        self._chunks = session.fetch(items)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """At most `size` bytes; none at the end."""
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)
