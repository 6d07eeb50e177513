"""What the disks of a VM hold, kept as bytes of our own, and what archives hold, read by stock tools alone.

Nothing of the product is imported here, and nothing of the box's own record of the truth is asked: both could
be wrong in the same way as what they are to prove.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

BORG = Path(sys.executable).parent / "borg"


class Model:
    """Disk id -> its bytes; snapshot id -> the bytes of each disk then; archive -> the hash of each disk."""

    def __init__(self) -> None:
        self.disks: dict[str, bytearray] = {}
        self.snapshots: dict[str, dict[str, bytes]] = {}
        self.archives: dict[str, dict[str, tuple[int, str]]] = {}

    def add(self, disk: str, size: int) -> None:
        self.disks[disk] = bytearray(size)

    def write(self, disk: str, offset: int, data: bytes) -> None:
        assert offset + len(data) <= len(self.disks[disk])
        self.disks[disk][offset : offset + len(data)] = data

    def grow(self, disk: str, size: int) -> None:
        self.disks[disk].extend(bytes(size - len(self.disks[disk])))

    def snapshot(self, snapshot: str) -> None:
        self.snapshots[snapshot] = {disk: bytes(data) for disk, data in self.disks.items()}

    def go_back(self, snapshot: str) -> None:
        self.disks = {disk: bytearray(data) for disk, data in self.snapshots[snapshot].items()}

    def archived(self, archive: str) -> None:
        """An archive was made of what the disks hold now."""
        self.archives[archive] = self.now()

    def now(self) -> dict[str, tuple[int, str]]:
        return {disk: (len(data), hashlib.sha256(data).hexdigest()) for disk, data in self.disks.items()}

    def compare(self, archive: str, repo: str, env: Mapping[str, str]) -> int:
        """The archive, as stock borg extracts it, holds what the disks held; returns how many bytes."""
        expected = self.archives[archive]
        with tempfile.TemporaryDirectory(prefix="soak-") as name:
            root = Path(name)
            subprocess.run([str(BORG), "extract", f"{repo}::{archive}"], cwd=root, env=env, check=True)
            manifest = json.loads((root / "manifest.json").read_bytes())
            assert {disk["id"] for disk in manifest["disks"]} == set(expected), f"the disks of {archive}"
            for disk in manifest["disks"]:
                found = image_of(root, disk)
                assert found == expected[disk["id"]], (
                    f"{repo}::{archive} holds {found} of disk {disk['alias']} ({disk['id']}), "
                    f"and {expected[disk['id']]} was there"
                )
        return sum(size for size, _ in expected.values())


def image_of(root: Path, disk: Mapping[str, object]) -> tuple[int, str]:
    """Size and hash of a disk as its guest sees it, out of an extracted archive."""
    path = root / str(disk["path"])
    if path.is_dir():  # a chain: qemu-img reads it through its top layer
        layers = disk["layers"]
        assert isinstance(layers, list)
        top = layers[-1]
        joined = path / "joined"
        words = ["qemu-img", "convert", "-f", "qcow2" if top["format"] == "cow" else "raw", "-O", "raw"]
        subprocess.run([*words, str(root / top["path"]), str(joined)], check=True)
        path = joined
    return hash_of(path)


def hash_of(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()
