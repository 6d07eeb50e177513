"""A few VMs to look at, with real file systems on their disks where mkfs.ext4 is at hand."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ovirtbox.box import MIB, Box, DiskSpec

_PIECE = 64 << 10


def furnish(box: Box) -> None:
    """web01 runs on three disks, db01 is down with a snapshot, thin01 hangs on a template."""
    web = box.make_vm(
        "web01",
        [
            DiskSpec(512 * MIB, bootable=True, content=file_system("web01-root", 512 * MIB, seed=1)),
            DiskSpec(256 * MIB, domain="lun", content=file_system("web01-data", 256 * MIB, seed=2)),
            DiskSpec(256 * MIB, format="raw", content=file_system("web01-logs", 256 * MIB, seed=3)),
        ],
        agent=True,
        tags=["production"],
        description="A web server that runs",
    )
    database = box.make_vm(
        "db01",
        [
            DiskSpec(512 * MIB, bootable=True, content=file_system("db01-root", 512 * MIB, seed=4)),
            DiskSpec(128 * MIB, format="raw", domain="lun", content=file_system("db01-wal", 128 * MIB, 5)),
        ],
        running=False,
        tags=["production"],
        description="A database that is down",
    )
    box.snapshot(database, "before upgrade")
    box.fill(box.disks(database)[0], 300 * MIB, 4 * MIB, seed=6)
    template = box.make_template(
        "golden", [DiskSpec(256 * MIB, content=file_system("golden", 256 * MIB, seed=7))]
    )
    thin = box.make_thin_vm("thin01", template)
    box.fill(box.disks(thin)[0], 200 * MIB, MIB, seed=8)
    assert web.status == "up"


def file_system(label: str, size: int, seed: int) -> list[tuple[int, bytes]]:
    """The pieces of an ext4 image that are not zero; without mkfs.ext4, plain bytes."""
    source = random.Random(seed)
    if shutil.which("mkfs.ext4") is None:
        return [(0, source.randbytes(4 * MIB)), (size // 2, source.randbytes(4 * MIB))]
    with tempfile.TemporaryDirectory(prefix="ovirtbox-") as name:
        root = Path(name) / "root"
        root.mkdir()
        (root / "README").write_text(f"The file system of {label}\n")
        for number in range(8):
            (root / f"file{number}.bin").write_bytes(source.randbytes(source.randrange(1, MIB)))
        image = Path(name) / "image"
        with open(image, "wb") as file:
            file.truncate(size)
        command = ["mkfs.ext4", "-q", "-F", "-L", label[:16], "-d", str(root), str(image)]
        subprocess.run(command, check=True, capture_output=True)
        return list(_pieces(image))


def _pieces(image: Path) -> Iterator[tuple[int, bytes]]:
    zeros = bytes(_PIECE)
    with open(image, "rb") as file:
        offset = 0
        while data := file.read(_PIECE):
            if data != zeros[: len(data)]:
                yield offset, data
            offset += len(data)
