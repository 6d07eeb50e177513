"""What several repositories can build on together is what each of them can."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.jobs.backup.reuse import Wanted
from borg_ovirt.jobs.backup.workers.base import PoolBase, PoolStart, in_words
from borg_ovirt.jobs.backup.workers.service import ItemOffer
from borg_ovirt.ovirt.facts.chain import LayerFacts

WANTED = Wanted("disks/d.raw", "d", 4, 40)
LAYER = Wanted("disks/d/i", "d", 4, 40, LayerFacts("i", "d", None, "cow", True, 40))


class Worker:
    def __init__(self, location: str) -> None:
        self.location = location


class Pool:
    """Repositories that make these offers, and hold these answers to whether a cell is the same."""

    def __init__(self, *offers: ItemOffer, same: tuple[bool, ...] = ()) -> None:
        self.offers = {Worker(f"/srv/{number}"): offer for number, offer in enumerate(offers)}
        self._same = same
        self.cell = 0

    def request(self, what: str, vm_id: str, wanted: Wanted) -> Any:
        assert (what, vm_id) == ("offer", "v-1")
        return self.offers

    def use_cells(self, cell: int) -> None:
        self.cell = cell

    def same(self, data: memoryview, vm_id: str, path: str, index: int) -> list[bool]:
        assert self.cell == 4
        return list(self._same)


def start(pool: Any) -> PoolStart:
    return PoolStart(pool, "v-1", "web01-1", "cp-1", None)


def offer(size: int = 40, zeros: bytes = bytes(10), reason: str | None = None) -> ItemOffer:
    return ItemOffer(size, zeros, reason, fallback=reason is not None)


@given(st.lists(st.lists(st.booleans(), min_size=10, max_size=10), min_size=1, max_size=4))
def test_a_cell_is_zero_only_if_it_is_in_every_base(zeros: list[list[bool]]) -> None:
    """Counted as zeros where one of them has data, that one's archive would lose it."""
    base = PoolBase(start(Pool()), WANTED, [offer(zeros=bytes(cells)) for cells in zeros])
    expected = [all(cells) for cells in zip(*zeros, strict=True)]
    assert [base.is_zero(index) for index in range(10)] == expected
    assert list(base.data_cells(0, 10)) == [index for index, zero in enumerate(expected) if not zero]
    assert list(base.data_cells(3, 7)) == [index for index in range(3, 7) if not expected[index]]


def test_cells_past_the_smallest_base_are_not_asked_for() -> None:
    found = start(Pool(offer(40), offer(32, bytes(8)))).find(WANTED)
    assert found.base is not None
    assert (found.base.size, found.base.cell, found.base.archive) == (32, 4, "web01-1")


@pytest.mark.parametrize(
    ("answers", "same"), [((True, True), True), ((True, False), False), ((False,), False)]
)
def test_a_cell_is_the_same_only_where_it_is_in_every_repository(
    answers: tuple[bool, ...], same: bool
) -> None:
    pool = Pool(offer(), offer(), same=answers)
    found = start(pool).find(WANTED)
    assert found.base is not None
    assert found.base.same(0, memoryview(b"data")) is same


def test_one_without_a_base_makes_all_read_the_item_whole() -> None:
    found = start(Pool(offer(), offer(reason="it lost chunks"))).find(WANTED)
    assert found.base is None
    assert found.reason == "/srv/1: it lost chunks"
    assert found.fallback
    both = start(Pool(offer(reason="first"), offer(reason="first"))).find(WANTED)
    assert both.reason == "first"


def test_a_layer_in_different_sizes_is_not_the_same_layer() -> None:
    assert start(Pool(offer(40), offer(36))).find(LAYER).base is None
    assert start(Pool(offer(40), offer(40))).find(LAYER).base is not None


def test_reasons_are_told_once_or_with_their_places() -> None:
    one, two, three = Worker("a"), Worker("b"), Worker("c")
    words: Any = {one: "lost", two: "lost", three: "marked"}
    assert in_words(words, 3) == "a, b: lost; c: marked"
    same: Any = {one: "lost", two: "lost"}
    assert in_words(same, 2) == "lost"
    assert in_words(same, 3) == "a, b: lost"
