"""The plan of a download: extents laid on the chunk grid, each cell reused, zero or fetched. Pure."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from borg_ovirt.blocks import Extent, MiB
from borg_ovirt.errors import TransferFailed
from borg_ovirt.pipe.ports import Base

ZERO = 0
"""No bytes move: the cell reads as zeros."""
REUSE = 1
"""No bytes move: the cell's chunk of the base archive is taken."""
FETCH = 2
"""The cell's data ranges are read from the source."""

_RUN = re.compile(rb"\x00+|\x01+|\x02+")


class Counts(NamedTuple):
    """How many of each kind: cells, or bytes."""

    zero: int
    reuse: int
    fetch: int


class Span(NamedTuple):
    """Neighbouring cells fetched together: one request for each range, zeros in between."""

    first: int
    end: int
    ranges: list[tuple[int, int]]
    """Start and end of each run of data, ascending, inside the span's cells."""


class Plan:
    """What becomes of each cell of one disk, and which byte ranges have to move for it."""

    __slots__ = ("cell", "ends", "kinds", "mismatches", "name", "size", "starts")

    def __init__(self, size: int, cell: int, name: str = "the disk") -> None:
        self.size = size
        self.cell = cell
        self.name = name
        self.kinds = bytearray(-(-size // cell))
        """ZERO, REUSE or FETCH for each cell."""
        self.starts = array("Q")
        self.ends = array("Q")
        """The byte ranges to move, ascending, only inside FETCH cells."""
        self.mismatches = array("Q")
        """Clean cells that read as zeros now though the base's chunk is not zero: the dirty bitmap lied."""

    @property
    def cells(self) -> int:
        return len(self.kinds)

    @property
    def bytes_to_fetch(self) -> int:
        """Exactly what will be read from the source."""
        return sum(self.ends) - sum(self.starts)

    def cell_size(self, index: int) -> int:
        """Only the last cell may be shorter than the grid's."""
        return min(self.cell, self.size - index * self.cell)

    def count_cells(self) -> Counts:
        return Counts(*(self.kinds.count(kind) for kind in (ZERO, REUSE, FETCH)))

    def count_bytes(self) -> Counts:
        """Disk bytes under the cells of each kind (those of FETCH include the zeros that do not move)."""
        totals = [count * self.cell for count in self.count_cells()]
        if self.kinds:
            totals[self.kinds[-1]] -= self.cells * self.cell - self.size
        return Counts(*totals)

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Kind, first cell and end of each run of cells of one kind, in the order of the disk."""
        for match in _RUN.finditer(self.kinds):
            yield self.kinds[match.start()], match.start(), match.end()

    def spans(self, limit: int = 32 * MiB, opening: int = 0) -> Iterator[Span]:
        """The cells to fetch, in pieces of neighbours of at most `limit` bytes (at least one cell).

        The first piece may be as large as `opening`.
        """
        step = max(1, max(limit, opening) // self.cell)
        number = 0
        for kind, first, run_end in self.runs():
            if kind != FETCH:
                continue
            while first < run_end:
                end = min(first + step, run_end)
                ranges, number = self._ranges_within(first * self.cell, end * self.cell, number)
                yield Span(first, end, ranges)
                first = end
                step = max(1, limit // self.cell)

    def _ranges_within(self, start: int, end: int, number: int) -> tuple[list[tuple[int, int]], int]:
        """The ranges from `number` on as far as they lie in start..end, and the number to go on with."""
        ranges = []
        while number < len(self.starts) and self.starts[number] < end:
            ranges.append((max(start, self.starts[number]), min(end, self.ends[number])))
            if self.ends[number] > end:
                break
            number += 1
        return ranges, number


def plan_reuse(base: Base[object], name: str) -> Plan:
    """Every cell as the base has it: nothing moves."""
    plan = Plan(base.size, base.cell, name)
    for index in base.data_cells(0, plan.cells):
        plan.kinds[index] = REUSE
    return plan


def make_plan(
    size: int,
    cell: int,
    extents: Iterable[Extent],
    base: Base[object] | None = None,
    *,
    min_gap: int = MiB,
    longer_export: bool = False,
    name: str = "the disk",
) -> Plan:
    """Lay the extents (a stream, in order, without gaps) on the grid.

    `base` has the same grid and is no larger; without one everything counts as dirty. Runs of zeros of at
    least `min_gap` inside a fetched cell do not move. `longer_export` allows extents past `size`: an export
    of a block volume may be longer than the disk in it. An extents list with a hole would silently lose
    data: `TransferFailed`.
    """
    if base is not None and (base.cell != cell or base.size > size):
        raise ValueError(f"a base of {base.size} bytes in cells of {base.cell} for {size} in cells of {cell}")
    full = base is None
    builder = _Builder(Plan(size, cell, name), base, max(1, min_gap))
    min_gap = builder.min_gap

    position = 0  # all before it is laid
    index = 0  # the cell under position
    boundary = min(cell, size)  # its end
    data: list[int] = []  # its ranges of data so far: start, end, start, end ...
    touched = full  # it has a dirty extent
    for start, length, zero, dirty in extents:
        if start != position or length <= 0:
            if size == start == length == 0:
                continue
            raise _broken(name, position, start, length)
        position += length
        if position < boundary:  # the hot path: a fragmented disk has millions of these
            if dirty:
                touched = True
            if not zero:
                if data and start - data[-1] < min_gap:
                    data[-1] = position
                else:
                    data += (start, position)
            continue
        if position > size:
            if not longer_export:
                raise TransferFailed(f"The extents of {name} go past its end at byte {size}.", _EXTENTS_HINT)
            position = size
        if start > index * cell:  # the rest of a cell begun by earlier extents
            if not zero:
                data += (start, boundary)
            builder.close(index, data, touched or dirty)
            index += 1
        end = builder.plan.cells if position == size else position // cell
        if index < end:
            builder.close_many(index, end, zero, full or dirty)
            index = end
        boundary = min((index + 1) * cell, size)
        data = []
        touched = full
        if position == size:
            if longer_export:
                break
        elif position > index * cell:  # the beginning of the next cell
            touched = full or dirty
            if not zero:
                data = [index * cell, position]
    if position != size:
        raise TransferFailed(f"The extents of {name} end at byte {position} of {size}.", _EXTENTS_HINT)
    return builder.plan


class _Builder:
    """Decides cells that are complete and merges their ranges into large ones."""

    __slots__ = ("base", "comparable", "fetched_to", "min_gap", "plan", "run_start")

    def __init__(self, plan: Plan, base: Base[object] | None, min_gap: int) -> None:
        self.plan = plan
        self.base = base
        self.min_gap = min_gap
        self.fetched_to = -1  # end of the last run of FETCH cells
        self.run_start = 0  # number of the first range of that run
        # Cells wholly inside both the old and the new disk; a short last cell only where sizes are equal.
        self.comparable = 0
        if base is not None:
            self.comparable = plan.cells if base.size == plan.size else base.size // plan.cell

    def close(self, index: int, data: list[int], dirty: bool) -> None:
        """One cell of mixed extents."""
        if not data:
            if not dirty:
                self._check_zeros(index, index + 1)
        elif not dirty and index < self.comparable:
            self.plan.kinds[index] = REUSE
        else:
            self._fetch(index, index + 1, data)

    def close_many(self, first: int, end: int, zero: bool, dirty: bool) -> None:
        """Cells that lie wholly inside one extent."""
        if zero:
            if not dirty:
                self._check_zeros(first, end)
        elif dirty:
            self._fetch_whole(first, end)
        else:
            reused = max(first, min(end, self.comparable))
            self.plan.kinds[first:reused] = b"\x01" * (reused - first)
            self._fetch_whole(reused, end)

    def _check_zeros(self, first: int, end: int) -> None:
        assert self.base is not None
        self.plan.mismatches.extend(self.base.data_cells(first, min(end, self.comparable)))

    def _fetch_whole(self, first: int, end: int) -> None:
        if first < end:
            cell = self.plan.cell
            self._fetch(first, end, [first * cell, min(end * cell, self.plan.size)])

    def _fetch(self, first: int, end: int, data: list[int]) -> None:
        plan = self.plan
        plan.kinds[first:end] = b"\x02" * (end - first)
        if first != self.fetched_to:
            self.run_start = len(plan.ends)
        self.fetched_to = end
        pairs = iter(data)
        for start, stop in zip(pairs, pairs, strict=True):
            if len(plan.ends) > self.run_start and start - plan.ends[-1] < self.min_gap:
                plan.ends[-1] = stop
            else:
                plan.starts.append(start)
                plan.ends.append(stop)


_EXTENTS_HINT = "The list is not used: a wrong one would lose data. Try again; see the imageio daemon's log."


def _broken(name: str, position: int, start: int, length: int) -> TransferFailed:
    if length <= 0:
        what = f"have one of length {length} at byte {start}"
    elif start > position:
        what = f"have a gap from byte {position} to {start}"
    else:
        what = f"overlap at byte {start}, where byte {position} was expected"
    return TransferFailed(f"The extents of {name} {what}.", _EXTENTS_HINT)
