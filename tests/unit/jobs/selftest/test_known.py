"""The disk whose bytes are known: its changes are where it says, and a wrong byte is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from borg_ovirt.blocks import MiB
from borg_ovirt.jobs.selftest.known import SIZE, KnownDisk


class Lying:
    """A reader of a disk with one other byte."""

    resumes = 0

    def __init__(self, disk: KnownDisk, wrong: int | None) -> None:
        self._data = bytearray(b"".join(bytes(piece) for piece in disk.fetch(disk.chunks)))
        if wrong is not None:
            self._data[wrong] ^= 1

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        for view in views:
            view[:] = self._data[offset : offset + len(view)]
            offset += len(view)
            yield view

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def disk() -> KnownDisk:
    return KnownDisk.of("a seed")


@pytest.mark.parametrize(
    ("wrong", "found"), [(None, None), (0, 0), (SIZE - 1, SIZE - MiB), (30 * MiB + 5, 30 * MiB)]
)
def test_a_wrong_byte_is_found(disk: KnownDisk, wrong: int | None, found: int | None) -> None:
    reader = Lying(disk, wrong)
    assert disk.first_difference(reader) == found
    whole = memoryview(bytes(reader._data))
    pieces = [whole[at : at + 3 * MiB] for at in range(0, SIZE, 3 * MiB)]
    assert (disk.first_difference_of(pieces) is None) == (wrong is None)


def test_what_is_cut_off_is_found(disk: KnownDisk) -> None:
    pieces = list(disk.fetch(disk.chunks))
    assert disk.first_difference_of(pieces[:-1]) == SIZE - MiB
    assert disk.first_difference_of(pieces) is None


def test_the_next_state_differs_over_data_over_zeros_and_by_zeros(disk: KnownDisk) -> None:
    after = disk.changed("another")
    places = disk.differing(after)
    zero = {place for place, part in enumerate(disk.chunks) if disk.is_zero(part)}
    zero_after = {place for place, part in enumerate(after.chunks) if after.is_zero(part)}
    assert places & zero - zero_after
    assert places & zero_after - zero
    assert places - zero - zero_after
    assert len(places) < 8
    assert disk.differing(KnownDisk.of("a seed")) == set()
