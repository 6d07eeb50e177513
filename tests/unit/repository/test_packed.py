"""The packed list of chunks behaves as a list does, in a sixth of the room."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import Chunk
from borg_ovirt.repository.packed import PackedChunks

chunks = st.lists(
    st.builds(Chunk, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1)), max_size=30
)


def packed(items: list[Chunk]) -> PackedChunks:
    result = PackedChunks()
    for chunk in items:
        result.append(*chunk)
    return result


@given(chunks, st.slices(30))
def test_as_a_list(items: list[Chunk], part: slice) -> None:
    ours = packed(items)
    assert len(ours) == len(items)
    assert list(ours) == items
    assert list(ours[part]) == items[part]
    assert list(reversed(ours)) == items[::-1]
    for index in range(-len(items), len(items)):
        assert ours[index] == items[index]


@given(chunks)
def test_outside(items: list[Chunk]) -> None:
    for index in (len(items), -len(items) - 1):
        with pytest.raises(IndexError):
            packed(items)[index]


def test_it_grows_while_it_is_read() -> None:
    ours = packed([Chunk(bytes(32), 1)])
    reading = iter(ours)
    next(reading)
    ours.append(b"\x01" * 32, 2)
    assert next(reading) == Chunk(b"\x01" * 32, 2)


def test_the_room_it_takes() -> None:
    ours = packed([Chunk(bytes(32), 4 << 20)] * 10_000)
    assert sys.getsizeof(ours._data) < 45 * 10_000


@given(
    st.lists(
        st.tuples(
            st.sampled_from([Chunk(b"0" * 32, 4), Chunk(b"0" * 32, 5), Chunk(b"1" * 32, 4)]),
            st.integers(1, 1500),
        ),
        max_size=6,
    ),
    st.data(),
)
def test_runs(runs: list[tuple[Chunk, int]], data: st.DataObject) -> None:
    ours, items = PackedChunks(), []
    for chunk, count in runs:
        ours.append(*chunk, count)
        items += [chunk] * count
    assert list(ours) == items
    assert ours.total() == sum(size for _, size in items)
    first = data.draw(st.integers(0, len(items)))
    end = data.draw(st.integers(first, len(items)))
    known = Chunk(b"0" * 32, 4)
    assert list(ours.others(known, first, end)) == [n for n in range(first, end) if items[n] != known]


@given(st.lists(st.sampled_from([0, 1, 3, 4, 5, 8]), max_size=8))
def test_the_grid_is_every_chunk_the_first_and_the_last_too(sizes: list[int]) -> None:
    ours = packed([Chunk(bytes(32), size) for size in sizes])
    on_grid = all(size == 4 for size in sizes[:-1]) and all(0 < size <= 4 for size in sizes[-1:])
    assert ours.on_grid(4) == on_grid


def test_on_the_grid_or_off_it() -> None:
    def sizes(*found: int) -> bool:
        return packed([Chunk(bytes(32), size) for size in found]).on_grid(4)

    assert all((sizes(), sizes(4), sizes(3), sizes(4, 4, 4), sizes(4, 4, 1)))
    assert not any((sizes(5), sizes(0), sizes(4, 3, 4), sizes(5, 4), sizes(4, 4, 5), sizes(4, 0)))
