"""Where a qcow2 file ends on a volume that is longer: behind the last cluster that its refcounts count.

Whatever QEMU uses of a file (data, tables, bitmaps, snapshots) has a refcount before anything refers to it:
a crash can leave too many counted, never too few. The one exception (lazy refcounts) is marked in the header
until it is over. (QEMU, docs/interop/qcow2.rst; the engine reduces volumes by the same end.)
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from borg_ovirt.qcow2 import HEAD, BadHeader, read_header

Read = Callable[[int, int], bytes]
"""Offset and length, in bytes."""

_BITS = 20
_TABLE = 48
"""Where the offset and the number of clusters of the refcount table stand."""
_THIRD = 72
"""From here on stand the incompatible features of version 3, and at 96 the width of its refcounts."""
_UNSURE = 0b11
"""Dirty (refcounts are to be rebuilt) and corrupt."""
_LARGEST_TABLE = 8 << 20
"""QEMU's own bound, in bytes."""
_OFFSET = ~0x1FF


def file_end(read: Read, size: int) -> int | None:
    """Bytes from the start of the volume (of `size`) that the file uses; None where that is not certain."""
    head = read(0, min(HEAD, size))
    try:
        version = read_header(head).version
    except BadHeader:
        return None
    cluster = 1 << struct.unpack_from(">I", head, _BITS)[0]
    offset, clusters = struct.unpack_from(">QI", head, _TABLE)
    width = 16
    if version == 3:
        (features,), (order,) = struct.unpack_from(">Q", head, _THIRD), struct.unpack_from(">I", head, 96)
        if features & _UNSURE or order > 6:
            return None
        width = 1 << order
    length = clusters * cluster
    if not 0 < length <= _LARGEST_TABLE or offset % cluster or not 0 < offset <= size - length:
        return None
    table = read(offset, length)
    counted = cluster * 8 // width
    for index in range(length // 8 - 1, -1, -1):
        place = struct.unpack_from(">Q", table, index * 8)[0] & _OFFSET
        if not place:
            continue
        if place % cluster or place + cluster > size:
            return None
        last = _last_counted(read(place, cluster), width)
        if last is not None:
            end = (index * counted + last + 1) * cluster
            return end if offset + length <= end <= size else None
    return None


def _last_counted(block: bytes, width: int) -> int | None:
    """The last entry of a refcount block that is not zero; in a byte the low bits come first."""
    used = len(block.rstrip(b"\0"))
    if not used:
        return None
    if width >= 8:
        return (used - 1) * 8 // width
    return ((used - 1) * 8 + block[used - 1].bit_length() - 1) // width
