"""What begins a partition: the superblock of a file system, and whether it agrees with itself and its place.

Only what can be told from a few blocks: magic numbers, checksums, copies, sizes. A file system that is not
known, or none, is no fault.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from borg_ovirt.jobs.proof.view import View


class Found(NamedTuple):
    """A name, what cannot be right in any copy of a disk, and what the guest may have made so itself."""

    name: str
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def recognize(view: View, start: int, size: int) -> Found | None:
    """What lies in that part of the disk (bytes); None where nothing known begins there."""
    head = view.read(start, 68 << 10)
    for look in _LOOKS:
        found = look(head, lambda offset, length: view.read(start + offset, length), size)
        if found is not None:
            return found
    return None


_Read = Callable[[int, int], bytes]
_LARGER = "it is larger than its partition"


def _ext(head: bytes, read: _Read, size: int) -> Found | None:
    """ext2, ext3, ext4 (kernel, Documentation/filesystems/ext4/super.rst)."""
    block = head[1024:2048]
    if len(block) < 1024 or block[56:58] != b"\x53\xef":
        return None
    blocks, log_size = struct.unpack_from("<I", block, 4)[0], struct.unpack_from("<I", block, 24)[0]
    incompatible, read_only = struct.unpack_from("<II", block, 96)
    faults, doubts = [], []
    if incompatible & 0x80:  # 64 bits
        blocks |= struct.unpack_from("<I", block, 336)[0] << 32
    if log_size > 6:
        return Found("ext4", ("the size of its blocks makes no sense",))
    if blocks << (10 + log_size) > size:
        doubts.append(_LARGER)
    if read_only & 0x400 and crc32c(block[:1020]) ^ 0xFFFFFFFF != struct.unpack_from("<I", block, 1020)[0]:
        faults.append("the checksum of its superblock is wrong")
    state = struct.unpack_from("<H", block, 58)[0]
    if state & 2:
        doubts.append("the guest's own kernel has marked it as having errors")
    return Found("ext4" if incompatible & 0x40 else "ext2/3", tuple(faults), tuple(doubts))


def _xfs(head: bytes, read: _Read, size: int) -> Found | None:
    """XFS (kernel, fs/xfs/libxfs/xfs_format.h): version 5 has a checksum over the sector."""
    if head[:4] != b"XFSB" or len(head) < 512:
        return None
    block_size, blocks = struct.unpack_from(">IQ", head, 4)
    version, sector = struct.unpack_from(">HH", head, 100)
    faults = []
    if version & 15 == 5 and 512 <= sector <= 32768:
        block = head[:224] + bytes(4) + head[228:sector]
        if crc32c(block) != struct.unpack_from("<I", head, 224)[0]:
            faults.append("the checksum of its superblock is wrong")
    return Found("xfs", tuple(faults), (_LARGER,) if block_size * blocks > size else ())


def _btrfs(head: bytes, read: _Read, size: int) -> Found | None:
    """btrfs: the superblock lies at 64 KiB (kernel, fs/btrfs/disk-io.h)."""
    block = read(64 << 10, 4096)
    if block[64:72] != b"_BHRfS_M":
        return None
    faults = []
    plain = struct.unpack_from("<H", block, 196)[0] == 0  # other checksums are not known here
    if plain and crc32c(block[32:]) != struct.unpack_from("<I", block, 0)[0]:
        faults.append("the checksum of its superblock is wrong")
    return Found("btrfs", tuple(faults))


def _ntfs(head: bytes, read: _Read, size: int) -> Found | None:
    """NTFS: its boot sector tells the size of the volume."""
    if head[3:11] != b"NTFS    " or len(head) < 512:
        return None
    sector = struct.unpack_from("<H", head, 11)[0]
    sectors = struct.unpack_from("<Q", head, 40)[0]
    if sector not in (512, 1024, 2048, 4096):
        return Found("ntfs", ("the size of its sectors makes no sense",))
    return Found("ntfs", (), (_LARGER,) if sector * sectors > size else ())


def _fat(head: bytes, read: _Read, size: int) -> Found | None:
    if len(head) < 512 or head[510:512] != b"\x55\xaa":
        return None
    if not (head[54:57] == b"FAT" or head[82:85] == b"FAT"):
        return None
    sector, small, large = (
        struct.unpack_from("<H", head, 11)[0],
        struct.unpack_from("<H", head, 19)[0],
        struct.unpack_from("<I", head, 32)[0],
    )
    return Found("vfat", (), (_LARGER,) if sector * (small or large) > size else ())


def _lvm(head: bytes, read: _Read, size: int) -> Found | None:
    """An LVM physical volume: a label in one of the first four sectors, with a checksum of its own."""
    for sector in range(4):
        label = head[sector * 512 : sector * 512 + 512]
        if label[:8] == b"LABELONE" and label[24:32] == b"LVM2 001":
            crc = _lvm_crc(label[20:])
            wrong = crc != struct.unpack_from("<I", label, 16)[0]
            return Found("lvm", ("the checksum of its label is wrong",) if wrong else ())
    return None


def _plain(head: bytes, read: _Read, size: int) -> Found | None:
    for offset, magic, name in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return Found(name)
    return None


_MAGICS = (
    (0, b"LUKS\xba\xbe", "luks"),
    (4086, b"SWAPSPACE2", "swap"),
    (32769, b"CD001", "iso9660"),
    (3, b"-FVE-FS-", "bitlocker"),
    (0, b"\xfc\x4e\x2b\xa9", "md raid"),
    (4096, b"\xfc\x4e\x2b\xa9", "md raid"),
)

_LOOKS = (_lvm, _ext, _xfs, _btrfs, _ntfs, _fat, _plain)


def _table(polynomial: int) -> Iterator[int]:
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (polynomial if number & 1 else 0)
        yield number


_CASTAGNOLI = tuple(_table(0x82F63B78))


def crc32c(data: bytes) -> int:
    """CRC-32C with the usual inversions; the superblocks that leave out the last one invert it again."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CASTAGNOLI[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _lvm_crc(data: bytes) -> int:
    """CRC-32 begun at 0xf597a6cf and not inverted at the end (LVM2, lib/misc/crc.c)."""
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
