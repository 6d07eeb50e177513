"""The plan against a model that looks at each byte."""

from __future__ import annotations

import itertools
import random
import time
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import CELL, Extent, GiB, KiB, MiB
from borg_ovirt.errors import TransferFailed
from borg_ovirt.pipe.plan import FETCH, REUSE, ZERO, Plan, make_plan, plan_reuse

from .fakes import Base
from .strategies import bases, extent_lists

TIB = 1024 * GiB


def model(
    size: int, cell: int, extents: list[Extent], base: Base | None, min_gap: int
) -> tuple[list[int], set[int], list[int]]:
    """Kinds, bytes to move and mismatches, from flags kept for every byte."""
    zero = [e.zero for e in extents for _ in range(e.length)]
    dirty = [base is None or e.dirty for e in extents for _ in range(e.length)]
    kinds, mismatches = [], []
    for index, start in enumerate(range(0, size, cell)):
        within = range(start, min(start + cell, size))
        clean = not any(dirty[b] for b in within)
        comparable = (
            base is not None and within[-1] < base.size and (len(within) == cell or size == base.size)
        )
        if all(zero[b] for b in within):
            kinds.append(ZERO)
            if clean and comparable and not base.is_zero(index):
                mismatches.append(index)
        elif clean and comparable:
            kinds.append(REUSE)
        else:
            kinds.append(FETCH)
    moved = {b for b in range(size) if kinds[b // cell] == FETCH and not zero[b]}
    data = sorted(moved)
    for before, after in itertools.pairwise(data):
        gap = range(before + 1, after)
        if len(gap) < min_gap and all(kinds[b // cell] == FETCH for b in gap):
            moved.update(gap)
    return kinds, moved, mismatches


def ranges(plan: Plan) -> list[tuple[int, int]]:
    return list(zip(plan.starts, plan.ends, strict=True))


@st.composite
def cases(draw: st.DrawFn) -> tuple[int, int, list[Extent], Base | None, int]:
    size, cell = draw(st.integers(0, 150)), draw(st.integers(1, 20))
    base = draw(st.none() | bases(size, cell))
    longest = draw(st.sampled_from((3, 10, 40)))
    return size, cell, draw(extent_lists(size, longest)), base, draw(st.integers(1, 12))


@given(cases(), st.integers(1, 80), st.integers(0, 80))
def test_plan_is_the_models(
    case: tuple[int, int, list[Extent], Base | None, int], limit: int, opening: int
) -> None:
    size, cell, extents, base, min_gap = case
    plan = make_plan(size, cell, iter(extents), base, min_gap=min_gap)
    kinds, moved, mismatches = model(size, cell, extents, base, min_gap)
    assert list(plan.kinds) == kinds
    assert list(plan.mismatches) == mismatches
    assert [b for start, end in ranges(plan) for b in range(start, end)] == sorted(moved)
    assert plan.bytes_to_fetch == len(moved)
    assert plan.count_cells() == (kinds.count(ZERO), kinds.count(REUSE), kinds.count(FETCH))
    assert sum(plan.count_bytes()) == size
    for kind, count in enumerate(plan.count_bytes()):
        assert count == sum(plan.cell_size(i) for i, k in enumerate(kinds) if k == kind)
    assert [k for kind, first, end in plan.runs() for k in [kind] * (end - first)] == kinds

    # No two requests where one would do.
    for (_, end), (start, _) in itertools.pairwise(ranges(plan)):
        split = any(kinds[b // cell] != FETCH for b in range(end, start))
        assert split or start - end >= min_gap

    spans = list(plan.spans(limit, opening))
    assert [i for s in spans for i in range(s.first, s.end)] == [i for i, k in enumerate(kinds) if k == FETCH]
    assert [b for s in spans for start, end in s.ranges for b in range(start, end)] == sorted(moved)
    for number, span in enumerate(spans):
        most = limit if number else max(limit, opening)
        assert (span.end - span.first) * cell <= max(most, cell)
        assert all(span.first * cell <= start < end <= span.end * cell for start, end in span.ranges)


@given(st.data(), st.integers(1, 100), st.integers(1, 20))
def test_extents_that_do_not_cover_the_disk_are_refused(data: st.DataObject, size: int, cell: int) -> None:
    extents = data.draw(extent_lists(size))
    victim = data.draw(st.integers(0, len(extents) - 1))
    extent = extents[victim]
    shift = data.draw(st.integers(-5, 5).filter(bool))
    broken = data.draw(
        st.sampled_from(
            [
                extents[:victim] + extents[victim + 1 :],
                [*extents[:victim], extent, *extents[victim:]],
                [*extents[:victim], extent._replace(start=extent.start + shift), *extents[victim + 1 :]],
                [*extents[:victim], extent._replace(length=extent.length + shift), *extents[victim + 1 :]],
                [*extents[:victim], Extent(extent.start, 0, True), *extents[victim:]],
                [*extents[:victim], extent._replace(length=-extent.length), *extents[victim + 1 :]],
                [*extents, Extent(size, 1, True)],
                [],
            ]
        )
    )
    with pytest.raises(TransferFailed):
        make_plan(size, cell, iter(broken))


@given(st.data(), st.integers(0, 100), st.integers(1, 20), st.integers(1, 100))
def test_longer_export_is_cut_only_where_allowed(
    data: st.DataObject, size: int, cell: int, more: int
) -> None:
    extents = data.draw(extent_lists(size + more))
    with pytest.raises(TransferFailed):
        make_plan(size, cell, extents)
    plan = make_plan(size, cell, extents, longer_export=True, min_gap=1)
    inside = [e._replace(length=min(e.length, size - e.start)) for e in extents if e.start < size]
    same = make_plan(size, cell, inside, min_gap=1)
    assert (plan.kinds, ranges(plan)) == (same.kinds, ranges(same))


@pytest.mark.parametrize(("begin", "gap"), [(2, 4), (6, 4), (6, 12)], ids=["in a cell", "across", "over one"])
def test_a_gap_moves_only_when_it_is_shorter_than_the_least(begin: int, gap: int) -> None:
    def requests(min_gap: int) -> list[tuple[int, int]]:
        extents = [Extent(0, begin, False), Extent(begin, gap, True), Extent(begin + gap, 2, False)]
        return ranges(make_plan(begin + gap + 2, 8, extents, min_gap=min_gap))

    apart = [(0, begin), (begin + gap, begin + gap + 2)]
    assert requests(gap) == apart
    # A cell of zeros between them is never read, however short it is.
    assert requests(gap + 1) == (apart if gap > 8 else [(0, begin + gap + 2)])


def test_message_names_the_place() -> None:
    gap = [Extent(0, 10, True), Extent(12, 8, True)]
    with pytest.raises(TransferFailed, match="disk root have a gap from byte 10 to 12"):
        make_plan(20, 4, gap, name="disk root")
    with pytest.raises(TransferFailed, match="overlap at byte 8, where byte 10 was expected"):
        make_plan(20, 4, [Extent(0, 10, True), Extent(8, 12, True)])
    for length in (0, -10):
        with pytest.raises(TransferFailed, match=f"have one of length {length} at byte 10"):
            make_plan(20, 4, [Extent(0, 10, True), Extent(10, length, True), Extent(10, 10, True)])
    with pytest.raises(TransferFailed, match="go past its end at byte 20"):
        make_plan(20, 4, [Extent(0, 21, True)])
    with pytest.raises(TransferFailed, match="end at byte 10 of 20"):
        make_plan(20, 4, gap[:1])


def test_base_of_other_geometry_is_refused() -> None:
    base = Base(b"x" * 20, 4)
    for size, cell in ((16, 4), (20, 8)):
        with pytest.raises(ValueError, match="a base of 20 bytes in cells of 4"):
            make_plan(size, cell, [Extent(0, size, False)], base)


def test_reuse_of_everything_moves_nothing() -> None:
    plan = plan_reuse(Base(b"abcd" + bytes(8) + b"x", 4), "layer 1")
    assert (list(plan.kinds), plan.size, plan.cell, plan.bytes_to_fetch) == (
        [REUSE, ZERO, ZERO, REUSE],
        13,
        4,
        0,
    )


def test_short_last_cell_is_reused_only_at_equal_size() -> None:
    base = Base(b"x" * 10, 4)
    assert list(make_plan(10, 4, [Extent(0, 10, False, False)], base).kinds) == [REUSE] * 3
    assert list(make_plan(11, 4, [Extent(0, 11, False, False)], base).kinds) == [REUSE, REUSE, FETCH]
    # The grown part of a disk is clean to QEMU's bitmaps: nothing of it is in the base.
    assert list(make_plan(16, 4, [Extent(0, 16, False, False)], base).kinds) == [REUSE, REUSE, FETCH, FETCH]


def test_empty_disk() -> None:
    assert make_plan(0, CELL, []).cells == 0
    plan = make_plan(0, CELL, [Extent(0, 0, False)])
    assert (plan.cells, plan.bytes_to_fetch, list(plan.spans()), list(plan.runs())) == (0, 0, [], [])


class SparseBase:
    """A huge base, every chunk there."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.cell = CELL

    def reference(self, index: int) -> int:
        return index

    def is_zero(self, index: int) -> bool:
        return index % 2 == 1

    def data_cells(self, first: int, end: int) -> range:
        return range(first + first % 2, end, 2)

    def digest(self, data: memoryview) -> bytes:
        raise NotImplementedError

    def same(self, index: int, digest: bytes) -> bool:
        raise NotImplementedError


def test_a_terabyte_is_lean() -> None:
    """Within 30 bytes a cell; the time is bounded loosely, against a wrong order of growth only."""

    def sparse() -> Iterator[Extent]:
        for start in range(0, TIB, GiB):
            yield Extent(start, 64 * MiB, False, start % (4 * GiB) == 0)
            yield Extent(start + 64 * MiB, GiB - 64 * MiB, True, False)

    tracemalloc.start()
    began = time.perf_counter()
    plan = make_plan(TIB, CELL, sparse(), SparseBase(TIB))
    took = time.perf_counter() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.count_cells() == (TIB // CELL - 16 * 1024, 12 * 1024, 4 * 1024)
    assert plan.bytes_to_fetch == 256 * 64 * MiB
    assert peak < 30 * plan.cells
    assert took < 10


def test_a_fragmented_disk_is_never_held() -> None:
    """64 KiB on, 64 KiB off: the memory is that of the cells, not of the extents."""

    def fragments() -> Iterator[Extent]:
        rng = random.Random(1)
        for start in range(0, 16 * GiB, 128 * KiB):
            yield Extent(start, 64 * KiB, False, rng.random() < 0.5)
            yield Extent(start + 64 * KiB, 64 * KiB, True, False)

    tracemalloc.start()
    plan = make_plan(16 * GiB, CELL, fragments(), SparseBase(16 * GiB))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.count_cells().fetch == plan.cells
    assert len(plan.starts) == 1, "gaps smaller than min_gap are read in passing"
    assert peak < 30 * plan.cells + 20 * KiB
