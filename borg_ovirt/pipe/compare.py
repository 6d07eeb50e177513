"""Which ranges of a disk differ between two archives, from chunk ids alone: no data is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest

from borg_ovirt.errors import UsageError
from borg_ovirt.pipe.ports import Content

_OTHERWISE = "Compare archives of one series, or extract both and compare the files."


@dataclass
class Changes:
    """What differs, in bytes; ranges are as fine as the chunks."""

    old_size: int
    new_size: int
    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Offset and length of each run that differs, merged; a range past the old end is new data there."""
    written: int = 0
    """Under chunks with other data than before."""
    zeroed: int = 0
    """Under chunks that are zeros now and were not."""
    same: int = 0
    """Under chunks that are the same."""

    @property
    def changed(self) -> int:
        return self.written + self.zeroed


def changed_ranges(old: Content, new: Content) -> Changes:
    """Compare two archived disks of one grid. Growth by zeros is no change; lost bytes count as zeroed."""
    _require_one_grid(old, new)
    changes = Changes(old.size, new.size)
    offset = 0
    # Past the end of one disk the other is compared with zeros.
    for before, after in zip_longest(old.chunks, new.chunks):
        size = max(before.size if before else 0, after.size if after else 0)
        zero_before = before is None or old.is_zero(before)
        zero_after = after is None or new.is_zero(after)
        if before == after or (zero_before and zero_after):
            changes.same += size
        else:
            if zero_after:
                changes.zeroed += size
            else:
                changes.written += size
            _add(changes.ranges, offset, size)
        offset += size
    return changes


def _add(ranges: list[tuple[int, int]], offset: int, length: int) -> None:
    if ranges and sum(ranges[-1]) == offset:
        start, before = ranges[-1]
        ranges[-1] = (start, before + length)
    else:
        ranges.append((offset, length))


def _require_one_grid(old: Content, new: Content) -> None:
    one, other = _grid(old), _grid(new)
    # A disk of one chunk (or none) fits any grid that is no finer than this chunk.
    fits_old = len(old.chunks) < 2 and one <= other
    fits_new = len(new.chunks) < 2 and other <= one
    if not (one == other or fits_old or fits_new):
        raise UsageError(
            f"The two archives cut the disk into chunks of {one} and of {other} bytes: none can be the same.",
            _OTHERWISE,
        )


def _grid(content: Content) -> int:
    """The size of all chunks but the last, which may be shorter."""
    chunks = content.chunks
    size = chunks[0].size if chunks else 0
    for index, chunk in enumerate(chunks):
        if chunk.size != size and (index != len(chunks) - 1 or chunk.size > size):
            raise UsageError(
                f"A disk is not cut into equal chunks: number {index} has {chunk.size} bytes.", _OTHERWISE
            )
    return size
