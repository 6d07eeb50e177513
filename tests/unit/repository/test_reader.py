"""A reader believes neither an archive's items nor its chunks further than they agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import NotOurArchive, RepositoryDamaged, RepositoryError
from borg_ovirt.repository.borg_items import StoredFile
from borg_ovirt.repository.packed import PackedChunks
from borg_ovirt.repository.reader import ArchiveReader, DiskContent


class Session:
    """Chunks in memory, by an id that is their first byte."""

    def __init__(self, *chunks: bytes) -> None:
        self.held = {id_of(chunk): chunk for chunk in chunks}
        self.fetched: list[bytes] = []

    def zero_id(self, size: int) -> bytes:
        return id_of(bytes(size))

    def seen(self, chunk: Chunk) -> bool:
        return chunk.id in self.held

    def fetch(self, ids: Iterable[bytes]) -> Iterator[bytes]:
        for id_ in ids:
            self.fetched.append(id_)
            yield self.held[id_]


def id_of(data: bytes) -> bytes:
    return data[:1] * 31 + bytes([len(data)])


def disk(session: Session, *chunks: Chunk, repaired: bool = False) -> DiskContent:
    packed = PackedChunks()
    for chunk in chunks:
        packed.append(*chunk)
    typed: Any = session
    return DiskContent(typed, "web01", StoredFile("disks/d.raw", packed.total(), packed, repaired))


def chunk_of(data: bytes) -> Chunk:
    return Chunk(id_of(data), len(data))


def test_zeros_are_given_without_being_fetched() -> None:
    session = Session(b"aaaa")
    content = disk(session, chunk_of(b"aaaa"), chunk_of(bytes(4)), chunk_of(bytes(2)))
    assert b"".join(content.fetch(content.chunks)) == b"aaaa" + bytes(6)
    assert session.fetched == [id_of(b"aaaa")]
    assert list(content.data_chunks(0, 2, 4)) == [0]


def test_a_chunk_of_another_length_is_never_taken() -> None:
    session = Session(b"aaaa")
    session.held[id_of(b"aaaa")] = b"aaa"
    content = disk(session, chunk_of(b"aaaa"))
    with pytest.raises(RepositoryError, match="has 3 bytes, not 4"):
        list(content.fetch(content.chunks))


def test_what_is_damaged() -> None:
    session = Session(b"aaaa", bytes(4))
    assert not disk(session, chunk_of(b"aaaa"), chunk_of(bytes(4))).damaged
    assert disk(session, chunk_of(b"aaaa"), repaired=True).damaged
    assert disk(session, chunk_of(b"aaaa"), chunk_of(b"bbbb")).damaged


def archive(stored: StoredFile) -> ArchiveReader:
    reader = ArchiveReader.__new__(ArchiveReader)
    reader.name = "web01"
    reader.__dict__["_small"] = {stored.path: stored}
    return reader


def test_a_small_file_that_is_not_small_is_not_loaded() -> None:
    huge = PackedChunks()
    huge.append(b"\1" * 32, 1 << 30)
    for size in (1 << 30, 5):
        with pytest.raises(NotOurArchive, match="too large"):
            _ = archive(StoredFile("manifest.json", size, huge, False)).manifest


def test_a_small_file_of_zeros_in_place_of_lost_chunks_is_not_read() -> None:
    small = PackedChunks()
    small.append(b"\1" * 32, 5)
    with pytest.raises(RepositoryDamaged, match=r"lost manifest\.json"):
        _ = archive(StoredFile("manifest.json", 5, small, True)).manifest
