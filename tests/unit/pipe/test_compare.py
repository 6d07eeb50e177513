"""Differences by chunk ids against a model that compares bytes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.errors import UsageError
from borg_ovirt.pipe.compare import changed_ranges

from .fakes import Content

disks = st.lists(st.sampled_from([b"\0\0\0\0", b"xxxx", b"yyyy", b"x\0\0\0"]), max_size=20).map(b"".join)


@given(disks, disks, st.integers(0, 4), st.integers(0, 4))
def test_ranges_are_the_cells_whose_bytes_differ(old: bytes, new: bytes, cut_old: int, cut_new: int) -> None:
    old, new = old[: len(old) - cut_old], new[: len(new) - cut_new]
    size = max(len(old), len(new))
    padded_old, padded_new = old.ljust(size, b"\0"), new.ljust(size, b"\0")
    changes = changed_ranges(Content(old, 4), Content(new, 4))
    changed = {b for start, length in changes.ranges for b in range(start, start + length)}
    for start in range(0, size, 4):
        cell = slice(start, min(start + 4, size))
        differs = padded_old[cell] != padded_new[cell]
        # A short last cell that grew has another id even where only zeros came: it may be called changed.
        other_size = len(old[cell]) != len(new[cell])
        assert (start in changed) == differs or (other_size and start in changed)
        assert changed >= set(range(*cell.indices(size))) or not changed & set(range(*cell.indices(size)))
    assert changes.changed + changes.same == size
    assert changes.changed == len(changed)
    assert changes.zeroed == sum(
        len(padded_new[s : s + 4])
        for s in range(0, size, 4)
        if s in changed and not any(padded_new[s : s + 4])
    )
    assert (changes.old_size, changes.new_size) == (len(old), len(new))
    for (start, length), (after, _) in itertools.pairwise(changes.ranges):
        assert start + length < after


def test_growth_by_zeros_is_no_change() -> None:
    changes = changed_ranges(Content(b"xxxx" * 3, 4), Content(b"xxxx" * 3 + bytes(9), 4))
    assert (changes.ranges, changes.same) == ([], 21)


@pytest.mark.parametrize(
    ("old", "old_cell", "new", "new_cell"),
    [(b"x" * 16, 4, b"x" * 16, 8), (b"x" * 8, 8, b"x" * 16, 4), (b"x" * 16, 4, b"x" * 8, 8)],
)
def test_other_grids_are_refused(old: bytes, old_cell: int, new: bytes, new_cell: int) -> None:
    with pytest.raises(UsageError, match=r"chunks of \d and of \d bytes"):
        changed_ranges(Content(old, old_cell), Content(new, new_cell))


def test_uneven_chunks_are_refused() -> None:
    content = Content(b"x" * 16, 4)
    content.chunks = [c._replace(size=size) for c, size in zip(content.chunks, (4, 3, 5, 4), strict=True)]
    with pytest.raises(UsageError, match="not cut into equal chunks"):
        changed_ranges(content, Content(b"x" * 16, 4))


def test_disks_of_one_chunk_fit_any_grid_as_large() -> None:
    assert changed_ranges(Content(b"xxx", 4), Content(b"yyyyzzzz", 4)).ranges == [(0, 8)]
    assert changed_ranges(Content(b"yyyyzzzz", 4), Content(b"yyyy", 8)).ranges == [(4, 4)]
    assert changed_ranges(Content(b"", 4), Content(b"yyyyzzzz", 4)).ranges == [(0, 8)]
    assert changed_ranges(Content(b"", 4), Content(b"", 4)).ranges == []
