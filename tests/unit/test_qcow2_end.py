"""The end of a qcow2 file on a longer volume is where `qemu-img check` sees it, or not told at all."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from borg_ovirt.blocks import MiB
from borg_ovirt.qcow2_end import file_end

VOLUME = 64 * MiB


def make(
    path: Path, *options: str, writes: tuple[tuple[int, int], ...] = ((0, 3 * MiB), (9 * MiB, 5000))
) -> int:
    """A file with some data, as a volume of stale bytes holds it; what QEMU says of its end."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(20 * MiB)], check=True)
    for offset, length in writes:
        command = f"write -q -P 7 {offset} {length}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, path], check=True)
    told = subprocess.run(["qemu-img", "check", "--output=json", path], check=True, capture_output=True)
    with path.open("r+b") as file:
        length = file.seek(0, 2)
        file.write(b"\xaa" * (VOLUME - length))
    return int(json.loads(told.stdout)["image-end-offset"])


def end_of(path: Path) -> int | None:
    data = path.read_bytes()
    return file_end(lambda offset, length: data[offset : offset + length], len(data))


OPTIONS = [
    "compat=0.10",
    "compat=1.1",
    "cluster_size=512",
    "cluster_size=2097152",
    *(f"refcount_bits={bits}" for bits in (1, 2, 4, 8, 32, 64)),
    "preallocation=metadata",
    "lazy_refcounts=on",
]


@pytest.mark.parametrize("options", OPTIONS)
def test_the_end_is_where_qemu_sees_it(tmp_path: Path, options: str) -> None:
    path = tmp_path / "volume"
    assert end_of_qemu(path, options) == end_of(path)


def end_of_qemu(path: Path, options: str) -> int:
    return make(path, "-o", options)


def test_bitmaps_and_discarded_clusters_are_minded(tmp_path: Path) -> None:
    path = tmp_path / "volume"
    make(path)
    with path.open("r+b") as file:
        file.truncate(20 * MiB)
    subprocess.run(["qemu-img", "bitmap", "--add", "-f", "qcow2", path, "changes"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "discard 9437184 65536", path], check=True)
    told = subprocess.run(["qemu-img", "check", "--output=json", path], check=True, capture_output=True)
    assert end_of(path) == json.loads(told.stdout)["image-end-offset"]


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (72, struct.pack(">Q", 1)),  # dirty: refcounts are to be rebuilt
        (72, struct.pack(">Q", 2)),  # corrupt
        (48, struct.pack(">Q", 1 << 40)),  # a table that lies elsewhere
        (48, struct.pack(">Q", 65537)),
        (56, struct.pack(">I", 1 << 30)),
        (56, struct.pack(">I", 0)),
        (65536, struct.pack(">Q", 1 << 40)),  # a block that lies elsewhere
        (65536, bytes(8)),
        (0, b"RAW"),
    ],
)
def test_where_it_is_not_certain_it_is_not_told(tmp_path: Path, offset: int, data: bytes) -> None:
    path = tmp_path / "volume"
    make(path)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    assert end_of(path) is None
