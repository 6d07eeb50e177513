"""The partition table of a disk: MBR or GPT, and whether it contradicts itself. Pure but for the reading."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from borg_ovirt.jobs.proof.view import View

_SECTOR = 512
_GPT = struct.Struct("<8sIIII QQQQ 16s QIII")
"""Signature, revision, size, CRC, reserved; this header, the other, first and last usable sector; disk id;
first sector, number, size and CRC of the entries (UEFI 2.10, 5.3.2)."""
_MOST_ENTRIES = 1024
_EXTENDED = (0x05, 0x0F, 0x85)
_MOST_LOGICAL = 64


@dataclass(frozen=True)
class Partition:
    """A part of the disk, in bytes."""

    number: int
    start: int
    size: int


@dataclass
class Table:
    """What was found."""

    kind: str
    """`gpt`, `mbr`, or `none`."""
    partitions: list[Partition] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What makes the disk unusable."""
    doubts: list[str] = field(default_factory=list)
    """What looks wrong, and the guest may have made so itself."""


def read_table(view: View) -> Table:
    """Read the table; a disk without any is not at fault."""
    head = view.read(0, 2 * _SECTOR)
    if len(head) < _SECTOR or head[510:512] != b"\x55\xaa":
        return Table("none")
    rows = [head[446 + 16 * n : 462 + 16 * n] for n in range(4)]
    if any(row[4] == 0xEE for row in rows):
        return _gpt(view)
    if any(row[0] not in (0, 0x80) for row in rows) or not any(row[4] for row in rows):
        return Table("none")  # the boot sector of a file system ends in these two bytes too
    table = Table("mbr")
    for number, row in enumerate(rows, 1):
        start, size = _row(row)
        if row[4] in _EXTENDED:
            _logical(view, start, table)
        elif row[4] and size:
            table.partitions.append(Partition(number, start, size))
    _check_places(table, view.size)
    return table


def _row(row: bytes) -> tuple[int, int]:
    start, sectors = struct.unpack_from("<II", row, 8)
    return start * _SECTOR, sectors * _SECTOR


def _logical(view: View, first: int, table: Table) -> None:
    """Partitions in an extended one: a chain of tables of two rows each."""
    here = first
    for number in range(5, 5 + _MOST_LOGICAL):
        sector = view.read(here, _SECTOR)
        if len(sector) < _SECTOR or sector[510:512] != b"\x55\xaa":
            table.doubts.append(f"the extended partition table is broken at partition {number}")
            return
        start, size = _row(sector[446:462])
        if sector[446 + 4] and size:
            table.partitions.append(Partition(number, here + start, size))
        following, _ = _row(sector[462:478])
        if not sector[462 + 4] or not following:
            return
        here = first + following


def _gpt(view: View) -> Table:
    """The first table, or the second where the first is broken, as firmware does it."""
    table = Table("gpt")
    last = view.size // _SECTOR - 1
    found, wrong = _gpt_at(view, 1)
    second, wrong_too = _gpt_at(view, last)
    if found is None and second is None:
        table.faults.append(f"both partition tables (GPT) are broken: {wrong}; {wrong_too}")
        return table
    if found is None:
        table.doubts.append(f"the first partition table (GPT) is broken: {wrong}")
    # A disk that was enlarged has its second table where its end was: that is no fault.
    table.partitions = found if found is not None else second or []
    _check_places(table, view.size)
    return table


def _gpt_at(view: View, sector: int) -> tuple[list[Partition] | None, str]:
    raw = view.read(sector * _SECTOR, _SECTOR)
    if len(raw) < _GPT.size or raw[:8] != b"EFI PART":
        return None, "it is not there"
    _, _, size, crc, _, here, _, _, _, _, entries, count, width, entries_crc = _GPT.unpack_from(raw)
    if not _GPT.size <= size <= _SECTOR or here != sector:
        return None, "its header makes no sense"
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != crc:
        return None, "the checksum of its header is wrong"
    if not 128 <= width <= 4096 or count > _MOST_ENTRIES:
        return None, "its entries make no sense"
    data = view.read(entries * _SECTOR, count * width)
    if zlib.crc32(data) != entries_crc:
        return None, "the checksum of its entries is wrong"
    found = []
    for number in range(count):
        row = data[number * width : (number + 1) * width]
        if any(row[:16]):
            first, end = struct.unpack_from("<QQ", row, 32)
            found.append(Partition(number + 1, first * _SECTOR, (end + 1 - first) * _SECTOR))
    return found, ""


def _check_places(table: Table, size: int) -> None:
    before = 0
    for part in sorted(table.partitions, key=lambda p: p.start):
        if part.size <= 0 or part.start + part.size > size:
            table.doubts.append(f"partition {part.number} ends beyond the disk")
        if part.start < before:
            table.doubts.append(f"partition {part.number} lies over the one before it")
        before = max(before, part.start + part.size)
