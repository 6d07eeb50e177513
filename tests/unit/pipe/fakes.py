"""Honest little banks in memory: they obey the ports, count what they do, and fail where they are told to."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from borg_ovirt.blocks import Chunk, Extent
from borg_ovirt.errors import TransferFailed


def chunk_id(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).digest()


def slice_up(data: bytes, cell: int) -> list[bytes]:
    return [data[at : at + cell] for at in range(0, len(data), cell)]


class Source:
    """A disk in memory. `hook(offset, length)` runs before each piece is filled and may wait or raise."""

    def __init__(
        self,
        data: bytes,
        extents: Sequence[Extent] = (),
        hook: Callable[[int, int], None] = lambda offset, length: None,
    ) -> None:
        self.data = data
        self.list = list(extents)
        self.hook = hook
        self.short_from: int | None = None
        """A request that covers this byte ends silently before the piece it lies in."""
        self.surplus = False
        """Every request yields one piece more than was asked for."""
        self.halves = False
        """Pieces are yielded when they are half full."""
        self.lock = threading.Lock()
        self.requests: list[int] = []
        """The bytes that each request asked for."""
        self.served: list[tuple[int, int]] = []
        self.opened = 0
        self.closed = 0
        self.hooked = 0
        """Pieces that were begun."""

    @property
    def size(self) -> int:
        return len(self.data)

    def extents(self, context: str) -> Iterator[Extent]:
        return iter(self.list)

    def open(self) -> Reader:
        with self.lock:
            self.opened += 1
        return Reader(self)

    @property
    def bytes_served(self) -> int:
        return sum(length for _, length in self.served)


class Reader:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.resumes = 1
        self.is_closed = threading.Event()

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        source = self.source
        with source.lock:
            source.requests.append(sum(map(len, views)))
        for view in views:
            source.hooked += 1
            source.hook(offset, len(view))
            if self.is_closed.is_set():
                raise TransferFailed("read on a closed connection")
            short = source.short_from
            if short is not None and offset <= short < offset + len(view):
                return
            piece = source.data[offset : offset + len(view)]
            assert len(piece) == len(view), "read past the end of the disk"
            view[:] = piece
            with source.lock:
                source.served.append((offset, len(view)))
            offset += len(view)
            yield view[: len(view) // 2] if source.halves else view
        if source.surplus:
            yield memoryview(b"?")

    def close(self) -> None:
        with self.source.lock:
            self.source.closed += not self.is_closed.is_set()
            self.is_closed.set()


@dataclass
class Prepared:
    id: bytes
    size: int
    data: memoryview


@dataclass
class Sink:
    """Chunks of a disk in a tiny repository."""

    cell: int
    repository: dict[bytes, bytes] = field(default_factory=dict)
    chunks: list[Chunk] = field(default_factory=list)
    hook: Callable[[str], None] = lambda what: None
    prepared_on: set[int] = field(default_factory=set)
    stored_on: set[int] = field(default_factory=set)

    def prepare(self, data: memoryview) -> Prepared:
        self.hook("prepare")
        self.prepared_on.add(threading.get_ident())
        return Prepared(chunk_id(data), len(data), data)

    def store(self, prepared: Prepared) -> bool:
        self.hook("store")
        self.stored_on.add(threading.get_ident())
        data = bytes(prepared.data)
        assert chunk_id(data) == prepared.id, "the buffer was filled again before it was stored"
        assert data.strip(b"\0"), "zeros were stored as data"
        new = prepared.id not in self.repository
        self.repository[prepared.id] = data
        self.chunks.append(Chunk(prepared.id, prepared.size))
        return new

    def zero(self, size: int, count: int = 1) -> None:
        self.hook("zero")
        assert count > 0
        data = bytes(size)
        self.repository[chunk_id(data)] = data
        self.chunks += [Chunk(chunk_id(data), size)] * count

    def reuse(self, chunk: Chunk) -> None:
        self.hook("reuse")
        assert chunk.id in self.repository, "a chunk was reused that the repository does not hold"
        self.chunks.append(chunk)

    @property
    def content(self) -> bytes:
        return b"".join(self.repository[chunk.id] for chunk in self.chunks)


class Base:
    """A disk as it was, on a grid."""

    def __init__(self, data: bytes, cell: int) -> None:
        self.cell = cell
        self.size = len(data)
        self.cells = slice_up(data, cell)
        self.digested_on: set[int] = set()
        self.compared_on: set[int] = set()

    def reference(self, index: int) -> Chunk:
        return Chunk(chunk_id(self.cells[index]), len(self.cells[index]))

    def digest(self, data: memoryview) -> bytes:
        self.digested_on.add(threading.get_ident())
        return chunk_id(data)

    def same(self, index: int, digest: bytes) -> bool:
        self.compared_on.add(threading.get_ident())
        return digest == chunk_id(self.cells[index])

    def is_zero(self, index: int) -> bool:
        return not self.cells[index].strip(b"\0")

    def data_cells(self, first: int, end: int) -> Iterator[int]:
        return (index for index in range(first, end) if not self.is_zero(index))

    def fill(self, repository: dict[bytes, bytes]) -> None:
        for data in self.cells:
            repository[chunk_id(data)] = data


class Content:
    """An archived disk. `blind` does not know zeros by their id; `ahead` is how far it prefetches."""

    def __init__(self, data: bytes, cell: int, *, blind: bool = False, ahead: int = 3) -> None:
        self.data = data
        self.size = len(data)
        self.pieces = slice_up(data, cell)
        self.chunks = [Chunk(chunk_id(piece), len(piece)) for piece in self.pieces]
        self.store = dict(zip((chunk.id for chunk in self.chunks), self.pieces, strict=True))
        self.blind = blind
        self.ahead = ahead
        self.hook: Callable[[str], None] = lambda what: None
        self.fetched_on: set[int] = set()
        self.fetched = 0

    def is_zero(self, chunk: Chunk) -> bool:
        return not self.blind and not self.store[chunk.id].strip(b"\0")

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        coming = iter(chunks)
        queue = list(itertools.islice(coming, self.ahead))
        while queue:
            self.hook("fetch")
            self.fetched_on.add(threading.get_ident())
            self.fetched += 1
            yield memoryview(self.store[queue.pop(0).id])
            queue += itertools.islice(coming, 1)


class Target:
    """A disk to write to. It forgets nothing: double writes, missing flushes and open writers are seen."""

    def __init__(self, data: bytes, hook: Callable[[str], None] = lambda what: None) -> None:
        self.data = bytearray(data)
        self.hook = hook
        self.lock = threading.Lock()
        self.touched: set[int] = set()
        self.unflushed: set[int] = set()
        self.requests: list[tuple[str, int, int]] = []
        self.opened = 0
        self.closed = 0
        self.offers_checksum = True
        self.checksums = 0
        self.read_back = 0

    @property
    def size(self) -> int:
        return len(self.data)

    def open(self) -> Writer:
        with self.lock:
            self.opened += 1
        return Writer(self)

    def touch(self, what: str, offset: int, length: int) -> None:
        assert length > 0
        assert offset + length <= self.size, "written past the end of the disk"
        span = set(range(offset, offset + length))
        assert not span & self.touched, "written twice"
        self.touched |= span
        self.requests.append((what, offset, length))

    def checksum(self, algorithm: str, block_size: int) -> str | None:
        self.checksums += 1
        if not self.offers_checksum:
            return None
        outer = hashlib.new(algorithm, digest_size=32)
        for block in slice_up(bytes(self.data), block_size):
            outer.update(hashlib.new(algorithm, block, digest_size=32).digest())
        return outer.hexdigest()

    def extents(self, context: str) -> Iterator[Extent]:
        """It tells where zeros are where a whole block of 4 KiB is of zeros."""
        blocks = slice_up(bytes(self.data), 4096)
        ends = itertools.accumulate(len(block) for block in blocks)
        return (
            Extent(end - len(block), len(block), zero=not any(block))
            for block, end in zip(blocks, ends, strict=True)
        )

    def open_reader(self) -> Reader:
        source = Source(bytes(self.data))

        def count(offset: int, length: int) -> None:
            with self.lock:
                self.read_back += length

        source.hook = count
        return source.open()


class Writer:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.dirty: set[int] = set()
        self.is_closed = threading.Event()

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        self._begin("write")
        data = b"".join(views)
        with self.target.lock:
            self.target.touch("write", offset, len(data))
            self._soil(offset, len(data))
            self.target.data[offset : offset + len(data)] = data

    def zero(self, offset: int, length: int) -> None:
        self._begin("zero")
        with self.target.lock:
            self.target.touch("zero", offset, length)
            self._soil(offset, length)
            self.target.data[offset : offset + length] = bytes(length)

    def _begin(self, what: str) -> None:
        self.target.hook(what)
        if self.is_closed.is_set():
            raise TransferFailed("write on a closed connection")

    def _soil(self, offset: int, length: int) -> None:
        self.dirty |= set(range(offset, offset + length))
        self.target.unflushed |= self.dirty

    def flush(self) -> None:
        self._begin("flush")
        with self.target.lock:
            self.target.unflushed -= self.dirty
            self.dirty.clear()

    def close(self) -> None:
        with self.target.lock:
            self.target.closed += not self.is_closed.is_set()
            self.is_closed.set()


class Meter:
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.totals = {"read": 0, "zero": 0, "reused": 0, "new": 0, "resumes": 0}
        self.lock = threading.Lock()

    def advance(self, **counts: int) -> None:
        with self.lock:
            for name, count in counts.items():
                assert count >= 0
                self.totals[name] += count

    @property
    def done(self) -> int:
        return self.totals["read"] + self.totals["zero"] + self.totals["reused"]


class Conductor:
    """Lets threads that call it go on one at a time, in random order: interleavings without the clock."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.changed = threading.Condition()
        self.waiting: list[object] = []
        self.ended = False
        self.thread = threading.Thread(target=self._conduct)

    def __call__(self, *_: object) -> None:
        ticket = object()
        with self.changed:
            self.waiting.append(ticket)
            self.changed.notify_all()
            while ticket in self.waiting:
                self.changed.wait()

    def _conduct(self) -> None:
        with self.changed:
            while not self.ended:
                if self.waiting:
                    self.waiting.pop(self.rng.randrange(len(self.waiting)))
                    self.changed.notify_all()
                    self.changed.wait(0)  # let go of the lock
                else:
                    self.changed.wait()

    def __enter__(self) -> Conductor:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        self.thread.join()


class Fault(Exception):
    """What a test throws into the works."""


class FaultAt:
    """Raises on its nth call, whoever calls."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        self.lock = threading.Lock()
        self.error = Fault("thrown by the test")
        self.hit = False

    def __call__(self, *_: object) -> None:
        with self.lock:
            self.left -= 1
            self.hit = self.hit or self.left < 0
            hit = self.left == -1
        if hit:
            raise self.error
