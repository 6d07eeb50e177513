"""Which chunks differ, by ids and by reading; only those are written, and they are proven."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import ProofFailed
from borg_ovirt.pipe.differing import by_ids, by_reading, prove_places
from borg_ovirt.pipe.upload import upload
from unit.pipe.fakes import Content, Source, Target, chunk_id

CELL = 64


class Archived(Content):
    def id_of(self, data: memoryview) -> bytes:
        return chunk_id(bytes(data))


def archived(data: bytes) -> Archived:
    return Archived(data, CELL)


pieces = st.lists(
    st.sampled_from([bytes(CELL), b"a" * CELL, b"b" * CELL, b"\0" * 32 + b"c" * 32]), max_size=9
)
tails = st.sampled_from([b"", b"x" * 10, bytes(10)])


@given(pieces, tails, pieces, tails, st.integers(0, 200))
def test_writing_what_differs_makes_the_disk_the_archived_one(
    before: list[bytes], before_tail: bytes, after: list[bytes], after_tail: bytes, grown: int
) -> None:
    wanted = b"".join(after) + after_tail
    present = (b"".join(before) + before_tail)[: len(wanted) + grown].ljust(len(wanted) + grown, b"\0")
    content = archived(wanted)
    found = by_ids(archived(present), content)
    extents = [Extent(0, len(present), zero=False)] if present else []
    read = by_reading(Source(present, extents), content, CELL, "it")
    for places in (found, read):
        target = Target(present)
        upload(content, target, target_is_zero=False, only=places)
        assert bytes(target.data) == wanted + bytes(grown)
        prove_places(target, content, CELL, places, "It")
    unlike = {
        place
        for place in range(len(content.chunks))
        if present[place * CELL : (place + 1) * CELL][: len(wanted) - place * CELL]
        != wanted[place * CELL : (place + 1) * CELL]
    }
    last = {len(content.chunks) - 1}  # where the disk has grown, its chunk is a longer one
    assert unlike <= found <= unlike | last
    assert unlike <= read <= unlike | last


def test_zeros_are_not_read() -> None:
    extents = [Extent(0, CELL, zero=True), Extent(CELL, CELL, zero=False)]
    source = Source(bytes(CELL) + b"a" * CELL, extents)
    assert by_reading(source, archived(b"b" * CELL + b"a" * CELL), CELL, "it") == {0}
    assert source.bytes_served == CELL


def test_what_was_not_written_is_found() -> None:
    content = archived(b"a" * CELL + b"b" * CELL + bytes(CELL))
    target = Target(b"a" * CELL + b"x" * CELL + b"y" * CELL)
    prove_places(target, content, CELL, {0}, "It")
    for place in (1, 2):
        with pytest.raises(ProofFailed, match=f"It differs .* at byte {place * CELL}"):
            prove_places(target, content, CELL, {place}, "It")


@pytest.mark.parametrize(("behind", "where"), [(b"\0x", CELL + 10), (bytes(CELL) + b"x", 2 * CELL)])
def test_what_lies_behind_the_archived_end_must_be_zeros(behind: bytes, where: int) -> None:
    content = archived(b"a" * CELL + b"b" * 10)
    data = b"a" * CELL + b"b" * 10
    thin = Target(data + bytes(9000))
    prove_places(thin, content, CELL, {1}, "It")
    assert thin.read_back < 4096 + 2 * CELL
    with pytest.raises(ProofFailed, match=f"It is not zero after .* see byte {where}"):
        prove_places(Target(data + behind.ljust(3 * CELL, b"\0")), content, CELL, {1}, "It")
