"""Bytes from anywhere in an archived disk: right, cached, read ahead, honest about what cannot be read."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from borg_ovirt.blocks import Chunk
from borg_ovirt.pipe.random_access import ChunkCache, RandomAccess


class Stored:
    """Chunks of these bytes; counts what is fetched, in which thread."""

    def __init__(self, *parts: bytes) -> None:
        self.data = b"".join(parts)
        self.size = len(self.data)
        self.parts = dict(zip((bytes([n]) for n in range(len(parts))), parts, strict=True))
        self.chunks = [Chunk(key, len(part)) for key, part in self.parts.items()]
        self.fetched: list[bytes] = []
        self.threads: set[int] = set()
        self.broken: set[bytes] = set()

    def is_zero(self, chunk: Chunk) -> bool:
        return not self.parts[chunk.id].strip(b"\0")

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        self.threads.add(threading.get_ident())
        for chunk in chunks:
            if chunk.id in self.broken:
                raise OSError("lost")
            self.fetched.append(chunk.id)
            yield memoryview(self.parts[chunk.id])


def parts(count: int, size: int) -> list[bytes]:
    rnd = random.Random(count)
    return [bytes(size) if n % 3 == 1 else rnd.randbytes(size) for n in range(count)]


def whole(access: RandomAccess, offset: int, length: int) -> bytes:
    return b"".join(access.read(offset, length))


@pytest.mark.parametrize("even", [True, False])
def test_any_range_from_any_thread(even: bool) -> None:
    stored = Stored(*parts(20, 1000), b"tail") if even else Stored(b"a" * 7, bytes(5), *parts(20, 333))
    rnd = random.Random(7)
    with ChunkCache() as cache, ThreadPoolExecutor(8) as pool:
        access = RandomAccess(stored, cache, 1000 if even else None)
        ranges = [
            (start, rnd.randrange(stored.size - start + 1))
            for start in (rnd.randrange(stored.size) for _ in range(300))
        ]
        for (start, length), got in zip(
            ranges, pool.map(lambda asked: whole(access, *asked), ranges), strict=True
        ):
            assert got == stored.data[start : start + length]
    assert len(stored.threads) == 1
    assert threading.get_ident() not in stored.threads
    assert len(stored.fetched) == len(set(stored.fetched))
    assert not any(stored.is_zero(Chunk(key, 1)) for key in stored.fetched)


def test_what_lies_outside_is_refused() -> None:
    with ChunkCache() as cache:
        access = RandomAccess(Stored(b"abc"), cache)
        for offset, length in ((0, 4), (3, 1), (-1, 1)):
            with pytest.raises(ValueError, match="of 3"):
                whole(access, offset, length)
        assert whole(access, 3, 0) == b""


def test_who_reads_forward_finds_the_next_chunks_there() -> None:
    stored = Stored(*(bytes([n + 1]) * 100 for n in range(9)))
    with ChunkCache() as cache:
        access = RandomAccess(stored, cache)
        whole(access, 0, 100)
        whole(access, 100, 10)
        for _ in range(500):
            if len(stored.fetched) == 9:
                break
            threading.Event().wait(0.01)
        assert len(stored.fetched) == 9


def test_the_cache_stays_within_its_limit() -> None:
    stored = Stored(*(bytes([n + 1]) * 100 for n in range(9)))
    with ChunkCache() as cache:
        cache._limit = 250
        for chunk in stored.chunks:
            assert cache.get(stored, chunk) == stored.parts[chunk.id]
        assert cache._size <= 250
        cache.get(stored, stored.chunks[0])
        assert stored.fetched.count(stored.chunks[0].id) == 2


def test_what_cannot_be_read_is_an_error_each_time_and_the_rest_is_served() -> None:
    stored = Stored(b"a" * 100, b"b" * 100, b"c" * 100)
    stored.broken = {stored.chunks[1].id}
    with ChunkCache() as cache:
        access = RandomAccess(stored, cache)
        for _ in range(2):
            with pytest.raises(OSError, match="lost"):
                whole(access, 150, 10)
        assert whole(access, 250, 10) == b"c" * 10
        stored.broken.clear()
        assert whole(access, 150, 10) == b"b" * 10


def test_extents_tell_where_zeros_are() -> None:
    stored = Stored(bytes(100), bytes(100), b"x" * 100, bytes(50))
    with ChunkCache() as cache:
        access = RandomAccess(stored, cache)
        assert access.extents(0, 1000) == [(0, 200, True), (200, 100, False), (300, 50, True)]
        assert access.extents(150, 100) == [(150, 50, True), (200, 50, False)]
        assert access.extents(0, 350, most=1) == [(0, 200, True)]
    assert stored.fetched == []


def test_a_chunk_that_comes_twice_is_fetched_once() -> None:
    stored = Stored(*(bytes([n + 1]) * 10 for n in range(3)))
    first, second, third = stored.chunks
    with ChunkCache() as cache:
        cache.get(stored, second)
        cache.look_ahead(stored, [first, second, first, third])
        cache.get(stored, third)
        cache.get(stored, first)
    assert sorted(stored.fetched) == [chunk.id for chunk in stored.chunks]
