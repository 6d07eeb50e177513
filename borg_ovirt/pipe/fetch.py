"""Reads spans of cells over several connections and hands the cells over in the order of the disk.

Each reader thread claims the next span together with the buffers for it, reads it, and prepares (hashes,
compresses) each cell as soon as its bytes are there. Doing both on one thread needs no hand-over between
threads and keeps the bytes warm in the cache; the connection idles meanwhile, which the other readers fill.
Spans are claimed in order, so the cells that the taker waits for always have their buffers: no deadlock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from borg_ovirt.blocks import MiB
from borg_ovirt.errors import TransferFailed
from borg_ovirt.pipe.plan import Plan, Span
from borg_ovirt.pipe.ports import Reader
from borg_ovirt.pipe.threads import ThreadGroup

T = TypeVar("T")

READERS = 3
"""Two connections saturate an imageio daemon that only sends; each of ours spends about half of its time
hashing and compressing, hence one more. On two cores a fourth was never faster, and took some 3 % more
CPU (zstd: compressors compete for the cache). More than eight on one transfer would hang in qemu-nbd."""
MAX_READERS = 8
SPAN = 4 * MiB
"""Claimed at a time by a reader."""
FIRST = 8 * MiB
REQUEST = 2 * MiB
"""Bytes of the first request, and of each after it.

qemu-nbd allocates a buffer for each request (the daemon passes on up to 8 MiB at once). glibc maps and unmaps
blocks as large as the largest it has freed so far, and the kernel zeroes them page by page; smaller ones it
keeps, but no more than twice that largest. So the first request is larger than all others, and those on their
way together are no more than twice the first: qemu-nbd takes 0.3 instead of 0.8 CPU seconds per GiB.
"""
BUFFERS = 32 * MiB
"""Bytes on their way, two cells or more for each reader; what is prepared may take as much again. Twice as
much was no faster, neither against a slow network nor against a slow repository."""


class Buffers:
    """Buffers of one size, allocated once and used again: fresh memory costs a page fault for each 4 KiB.

    They serve one fetcher at a time, but any number one after the other.
    """

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self.count = max(1, count)
        self._all: list[memoryview] = []
        self._free: list[memoryview] = []

    @property
    def free(self) -> int:
        return len(self._free) + self.count - len(self._all)

    def take(self, count: int) -> list[memoryview]:
        """So many buffers, the last used first. The caller holds its lock and has seen that they are free."""
        while len(self._free) < count:
            self._all.append(memoryview(bytearray(self.size)))
            self._free.append(self._all[-1])
        taken = self._free[-count:]
        del self._free[-count:]
        return taken

    def give(self, buffer: memoryview) -> None:
        self._free.append(buffer)

    def reclaim(self) -> None:
        """All back, whoever had them; nobody uses them any more."""
        self._free = list(self._all)


@dataclass(frozen=True)
class Arrival(Generic[T]):
    """A cell whose bytes have arrived."""

    cell: int
    size: int
    moved: int
    """Bytes read for it; the rest are zeros that did not move."""
    prepared: T | None
    """What `prepare` made of the cell; None when it is all zeros."""
    buffer: memoryview


class Fetcher(Generic[T]):
    """The spans of a plan on their way. Use as a context; the thread that enters takes the cells in order."""

    def __init__(
        self,
        plan: Plan,
        connect: Callable[[], Reader],
        prepare: Callable[[memoryview], T],
        *,
        readers: int = READERS,
        buffers: Buffers | None = None,
        span: int = SPAN,
        opening: int = FIRST,
    ) -> None:
        if not 1 <= readers <= MAX_READERS:
            raise ValueError(f"{readers} readers: 1 to {MAX_READERS} are possible")
        self._plan = plan
        self._connect = connect
        self._prepare = prepare
        self._readers = readers
        self._buffers = buffers or Buffers(plan.cell, max(readers, BUFFERS // plan.cell))
        if self._buffers.size < plan.cell:
            raise ValueError(f"buffers of {self._buffers.size} bytes for cells of {plan.cell}")
        share = self._buffers.count * plan.cell // readers
        self._spans = plan.spans(min(span, share), min(opening, share))
        self._claiming = threading.Lock()
        self._request = max(opening, REQUEST)
        self._group = ThreadGroup("reader")
        self._arrived: dict[int, Arrival[T]] = {}
        self._zeros = bytes(plan.cell)
        self.bytes_read = 0
        self.resumes = 0

    def __enter__(self) -> Fetcher[T]:
        if self._plan.starts:
            self._group.start(min(self._readers, self._plan.count_cells().fetch), self._work)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._group.__exit__(kind)
        finally:
            self._buffers.reclaim()

    def check(self) -> None:
        """Raise what went wrong meanwhile."""
        self._group.lead_check()

    def take(self, cell: int) -> Arrival[T]:
        """Wait for a cell. Cells are taken in order, each given back by `done`."""
        with self._group.changed:
            self._group.lead_wait(lambda: cell in self._arrived)
            return self._arrived.pop(cell)

    def done(self, arrival: Arrival[T]) -> None:
        """The cell's buffer may be filled again."""
        with self._group.changed:
            self._buffers.give(arrival.buffer)
            self._group.changed.notify_all()

    def _work(self) -> None:
        claim = self._claim()
        if claim is None:
            return
        with self._group.holding(self._connect()) as reader:
            while claim is not None:
                self._read_span(reader, *claim)
                claim = self._claim()
            with self._group.changed:
                self.resumes += reader.resumes

    def _claim(self) -> tuple[Span, int, list[memoryview]] | None:
        """The next span, the largest request for it, and its buffers.

        Who waits for buffers keeps the others from overtaking.
        """
        with self._claiming:
            self._group.check()
            span = next(self._spans, None)
            if span is None:
                return None
            request, self._request = self._request, REQUEST
            count = span.end - span.first
            with self._group.changed:
                self._group.member_wait(lambda: self._buffers.free >= count)
                return span, request, self._buffers.take(count)

    def _read_span(self, reader: Reader, span: Span, request: int, buffers: list[memoryview]) -> None:
        cells = [
            _Cell(index, self._plan.cell_size(index), buffer)
            for index, buffer in zip(range(span.first, span.end), buffers, strict=True)
        ]
        requests = [
            (begin, self._lay(cells, begin, min(begin + request, end)))
            for start, end in span.ranges
            for begin in range(start, end, request)
        ]
        for cell in cells:
            cell.lay(cell.size, cell.size, self._zeros)
        for start, pieces in requests:
            count = 0
            for view in reader.read(start, [view for _, view in pieces]):
                self._group.check()
                if count == len(pieces) or len(view) != len(pieces[count][1]):
                    raise self._miscounted(start, "gave other pieces than asked for")
                cell = pieces[count][0]
                cell.missing -= len(view)
                count += 1
                if not cell.missing:
                    self._deliver(cell)
            if count != len(pieces):
                raise self._miscounted(start, f"gave {count} pieces of {len(pieces)}")

    def _lay(self, cells: list[_Cell], start: int, end: int) -> list[tuple[_Cell, memoryview]]:
        """Cut one range at the edges of the cells."""
        size = self._plan.cell
        pieces = []
        while start < end:
            cell = cells[start // size - cells[0].index]
            begin = start % size
            stop = min(cell.size, begin + end - start)
            pieces.append((cell, cell.lay(begin, stop, self._zeros)))
            start += stop - begin
        return pieces

    def _deliver(self, cell: _Cell) -> None:
        # A comparison ends at the first byte that is not zero: it costs nothing on data, and spares hashing.
        prepared = None if self._zeros.startswith(cell.view) else self._prepare(cell.view)
        arrival = Arrival(cell.index, cell.size, cell.moved, prepared, cell.buffer)
        with self._group.changed:
            self.bytes_read += cell.moved
            self._arrived[cell.index] = arrival
            self._group.changed.notify_all()

    def _miscounted(self, start: int, what: str) -> TransferFailed:
        return TransferFailed(
            f"The source of {self._plan.name} {what} at byte {start}.", "Nothing of it is kept. Try again."
        )


class _Cell:
    """A cell while its bytes arrive."""

    __slots__ = ("buffer", "index", "laid", "missing", "moved", "size", "view")

    def __init__(self, index: int, size: int, buffer: memoryview) -> None:
        self.index = index
        self.size = size
        self.buffer = buffer
        self.view = buffer[:size]
        self.laid = 0
        self.moved = 0
        self.missing = 0

    def lay(self, begin: int, end: int, zeros: bytes) -> memoryview:
        """The place for the bytes begin..end; what lies before it since the last such place is zeroed."""
        if self.laid < begin:
            self.view[self.laid : begin] = zeros[: begin - self.laid]
        self.laid = end
        self.moved += end - begin
        self.missing += end - begin
        return self.view[begin:end]
