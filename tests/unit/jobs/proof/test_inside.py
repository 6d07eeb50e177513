"""What lies on a disk: partition tables and superblocks, sound, broken by one byte, and hostile."""

from __future__ import annotations

import random
import struct
import subprocess
import uuid
import zlib
from pathlib import Path

import pytest

from borg_ovirt.jobs.proof.content import Inside, _look
from borg_ovirt.jobs.proof.filesystems import _lvm_crc, crc32c, recognize
from borg_ovirt.jobs.proof.partitions import read_table

SECTOR = 512
SIZE = 8 << 20


class Bytes:
    """A disk in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])


def gpt(*parts: tuple[int, int], size: int = SIZE) -> Bytes:
    """A disk with a protective MBR and both tables; parts are (first sector, last sector)."""
    disk = Bytes(bytes(size))
    disk.data[446:462] = struct.pack("<B3sB3sII", 0, b"", 0xEE, b"", 1, size // SECTOR - 1)
    disk.data[510:512] = b"\x55\xaa"
    rows = b"".join(
        uuid.UUID(int=7).bytes_le + uuid.UUID(int=n + 1).bytes_le + struct.pack("<QQQ72s", *part, 0, b"")
        for n, part in enumerate(parts)
    )
    rows += bytes(128 * 128 - len(rows))
    last = size // SECTOR - 1
    for here, other, entries in ((1, last, 2), (last, 1, last - 32)):
        head = struct.pack(
            "<8sIIIIQQQQ16sQIII",
            *(b"EFI PART", 0x10000, 92, 0, 0, here, other, 34, last - 33, bytes(16), entries),
            *(128, 128, zlib.crc32(rows)),
        )
        crc = zlib.crc32(head)
        disk.data[here * SECTOR : here * SECTOR + 92] = head[:16] + struct.pack("<I", crc) + head[20:]
        disk.data[entries * SECTOR : entries * SECTOR + len(rows)] = rows
    return disk


def mbr(*parts: tuple[int, int, int]) -> Bytes:
    """Rows of (type, first sector, sectors)."""
    disk = Bytes(bytes(SIZE))
    for number, part in enumerate(parts):
        place = 446 + 16 * number
        disk.data[place : place + 16] = struct.pack("<B3sB3sII", 0, b"", part[0], b"", *part[1:])
    disk.data[510:512] = b"\x55\xaa"
    return disk


def test_a_gpt_is_read_and_its_copy_stands_in_for_it() -> None:
    disk = gpt((64, 127), (128, 8191))
    table = read_table(disk)
    assert (table.kind, table.faults, table.doubts) == ("gpt", [], [])
    assert [(p.number, p.start, p.size) for p in table.partitions] == [
        (1, 32768, 32768),
        (2, 65536, 8064 * SECTOR),
    ]
    disk.data[1 * SECTOR + 60] ^= 1  # a bit of the first header
    table = read_table(disk)
    assert table.faults == []
    assert "first partition table (GPT) is broken: the checksum of its header" in table.doubts[0]
    assert len(table.partitions) == 2
    disk.data[-SECTOR * 33] ^= 1  # and one of the second's entries
    table = read_table(disk)
    assert "both partition tables (GPT) are broken" in table.faults[0]
    assert table.partitions == []


def test_an_mbr_with_logical_partitions() -> None:
    disk = mbr((0x83, 64, 64), (0x05, 1000, 4000))
    here = 1000 * SECTOR
    disk.data[here + 446 : here + 462] = struct.pack("<B3sB3sII", 0, b"", 0x83, b"", 8, 100)
    disk.data[here + 510 : here + 512] = b"\x55\xaa"
    table = read_table(disk)
    assert [(p.number, p.start // SECTOR) for p in table.partitions] == [(1, 64), (5, 1008)]
    assert table.doubts == []
    disk.data[here + 510] = 0
    assert "extended" in read_table(disk).doubts[0]


def test_partitions_beyond_the_disk_and_over_each_other_are_doubts() -> None:
    table = read_table(mbr((0x83, 64, 100), (0x83, 100, 1 << 20)))
    assert any("beyond the disk" in doubt for doubt in table.doubts)
    assert any("lies over" in doubt for doubt in table.doubts)
    assert table.faults == []


def ext4(tmp_path: Path, *options: str) -> Bytes:
    path = tmp_path / "ext4"
    path.write_bytes(bytes(SIZE))
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", *options, str(path)], check=True)
    return Bytes(path.read_bytes())


def test_a_real_ext4_and_one_with_a_changed_byte(tmp_path: Path) -> None:
    disk = ext4(tmp_path, "-O", "metadata_csum")
    assert recognize(disk, 0, SIZE) == ("ext4", (), ())
    assert "larger than its partition" in recognize(disk, 0, SIZE // 2).doubts[0]  # type: ignore[union-attr]
    disk.data[1024 + 120] ^= 1
    assert recognize(disk, 0, SIZE) == ("ext4", ("the checksum of its superblock is wrong",), ())


def test_a_real_swap(tmp_path: Path) -> None:
    path = tmp_path / "swap"
    path.write_bytes(bytes(SIZE))
    subprocess.run(["/usr/sbin/mkswap", str(path)], check=True, capture_output=True)
    assert recognize(Bytes(path.read_bytes()), 0, SIZE) == ("swap", (), ())


def xfs() -> Bytes:
    head = bytearray(SIZE)
    head[:16] = struct.pack(">4sIQ", b"XFSB", 4096, SIZE // 4096)
    head[100:104] = struct.pack(">HH", 5, 512)
    head[224:228] = struct.pack("<I", crc32c(bytes(head[:512])))
    return Bytes(bytes(head))


def btrfs() -> Bytes:
    disk = bytearray(SIZE)
    disk[65536 + 64 : 65536 + 72] = b"_BHRfS_M"
    disk[65536:65540] = struct.pack("<I", crc32c(bytes(disk[65536 + 32 : 65536 + 4096])))
    return Bytes(bytes(disk))


def lvm() -> Bytes:
    label = bytearray(SECTOR)
    label[:8], label[24:32] = b"LABELONE", b"LVM2 001"
    label[16:20] = struct.pack("<I", _lvm_crc(bytes(label[20:])))
    return Bytes(bytes(SECTOR) + bytes(label) + bytes(SIZE - 2 * SECTOR))


@pytest.mark.parametrize(
    ("disk", "name", "place"), [(xfs(), "xfs", 60), (btrfs(), "btrfs", 65636), (lvm(), "lvm", 600)]
)
def test_superblocks_with_checksums(disk: Bytes, name: str, place: int) -> None:
    assert recognize(disk, 0, SIZE) == (name, (), ())
    disk.data[place] ^= 1
    found = recognize(disk, 0, SIZE)
    assert found is not None
    assert "checksum" in found.faults[0]


def test_crc32c_as_the_standard_has_it() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4 uses the same polynomial


def test_a_whole_disk_in_words(tmp_path: Path) -> None:
    disk = gpt((2048, 2048 + 4095), size=16 << 20)
    start = 2048 * SECTOR
    small = ext4(tmp_path, "-b", "1024", "-O", "^has_journal")
    disk.data[start : start + 4096 * SECTOR] = small.data[: 4096 * SECTOR]
    inside = Inside()
    _look("root", disk, inside)
    assert inside.found == ["root (gpt: ext4)"]
    assert inside.faults == []
    assert "larger" in inside.doubts[0]  # only a quarter of it fits


def test_no_disk_whatever_it_holds_stops_the_look() -> None:
    dice = random.Random(5)
    for disk in (gpt((64, 127)), mbr((0x05, 64, 64)), xfs(), btrfs(), lvm(), Bytes(b""), Bytes(bytes(700))):
        for _ in range(60):
            copy = Bytes(bytes(disk.data))
            for _ in range(20 if copy.size else 0):
                copy.data[dice.randrange(min(copy.size, 70000))] = dice.randrange(256)
            _look("any", copy, Inside())
