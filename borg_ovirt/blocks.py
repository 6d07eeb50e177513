"""The words both banks and the bridge share: an extent of a disk, a chunk of an archive."""

from __future__ import annotations

from typing import NamedTuple

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30

CELL = 4 * MiB
LARGEST_CELL = 16 * MiB
"""Borg stores no object of more than some 20 MiB."""
"""Default size of a grid cell, in bytes: one cell of the disk is one chunk of the archive."""


class Extent(NamedTuple):
    """A run of a disk with one set of flags. Offsets and lengths are bytes of the guest-visible disk."""

    start: int
    length: int
    zero: bool
    """The run reads as zeros: its bytes need not move."""
    dirty: bool = True
    """The run was written since the checkpoint the export names; always true without a checkpoint."""

    @property
    def end(self) -> int:
        """First byte after the run."""
        return self.start + self.length


class Chunk(NamedTuple):
    """A stored chunk: its keyed id and the size of its plain content in bytes."""

    id: bytes
    size: int
