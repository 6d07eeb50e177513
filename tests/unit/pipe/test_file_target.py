"""Sparse files: the bytes of the archive, holes for zeros, and no half file under the final name."""

from __future__ import annotations

import os
import random
import resource
from pathlib import Path

import pytest

from borg_ovirt.blocks import KiB, MiB
from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.pipe.digests import BlockDigests
from borg_ovirt.pipe.file_target import FileTarget, sync, write_small, write_sparse
from borg_ovirt.pipe.proof import Proof, prove

from .fakes import Content, Fault, FaultAt


def disk() -> bytes:
    rng = random.Random(1)
    return (
        rng.randbytes(300 * KiB)
        + bytes(3 * MiB - 300 * KiB)
        + rng.randbytes(64 * KiB)
        + bytes(1 * MiB - 64 * KiB)
        + bytes(3 * MiB)
        + rng.randbytes(MiB)
        + bytes(700_001)
    )


def test_bytes_and_holes(tmp_path: Path) -> None:
    data = disk()
    path = tmp_path / "disk.raw"
    stats = write_sparse(Content(data, MiB), path)
    assert path.read_bytes() == data
    # 300 KiB and 700001 bytes are no multiples of the pieces that zeros are looked for in.
    assert stats.bytes_written == 320 * KiB + 64 * KiB + MiB
    assert path.stat().st_blocks * 512 <= stats.bytes_written + 64 * KiB
    assert os.listdir(tmp_path) == ["disk.raw"]
    assert path.stat().st_mode & 0o077 == 0, "a disk's content is nobody else's"


@pytest.mark.parametrize("data", [b"", bytes(5 * MiB + 1), b"x"])
def test_plain_shapes(data: bytes, tmp_path: Path) -> None:
    write_sparse(Content(data, MiB), tmp_path / "disk.raw")
    assert (tmp_path / "disk.raw").read_bytes() == data


@pytest.mark.parametrize("nth", range(4))
def test_a_fault_leaves_no_file(nth: int, tmp_path: Path) -> None:
    content = Content(disk(), MiB)
    content.hook = FaultAt(nth) if nth < 3 else content.hook
    if nth == 3:
        content.size += 1
    with pytest.raises((Fault, RestoreFailed)):
        write_sparse(content, tmp_path / "disk.raw")
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"precious")
    with pytest.raises(RestoreBlocked, match="exists already"):
        write_sparse(Content(b"new", 4), path)
    assert path.read_bytes() == b"precious"


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(RestoreFailed, match=r"Cannot write root to .*No such file"):
        write_sparse(Content(b"x", 4), tmp_path / "nowhere" / "disk.raw", name="root")


def test_a_full_file_system_is_told() -> None:
    """/dev/full is no regular file; the write itself is what fails on a full disk."""
    with open("/dev/full", "r+b", buffering=0) as full:
        writer = FileTarget(full.fileno(), 4).open()
        with pytest.raises(OSError, match="No space left"):
            writer.write(0, [memoryview(b"data")])


def test_a_write_that_stops_half_way_is_gone_on_with(tmp_path: Path) -> None:
    """As on a file system that gets full: the system writes what fits, and refuses only the next write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "disk.raw").open("wb", buffering=0) as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                FileTarget(file.fileno(), 6000).open().write(0, [memoryview(b"x" * 6000)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "disk.raw").stat().st_size == 4096


def test_a_file_target_is_proven_by_reading_it_back(tmp_path: Path) -> None:
    data = disk()
    write_sparse(Content(data, MiB), tmp_path / "disk.raw")
    digests = BlockDigests(len(data), MiB)
    digests.feed(0, memoryview(data))
    with (tmp_path / "disk.raw").open("rb") as file:
        assert prove(digests, FileTarget(file.fileno(), len(data))) is Proof.READ_BACK


def test_what_was_written_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    write_sparse(Content(bytes(5000), 4096), tmp_path / "disk.raw")
    assert synced[-1] == 5000
    write_small(tmp_path / "vm.ovf", b"<xml/>")
    assert synced[-1] == 6
    with pytest.raises(RestoreFailed, match="File exists"):
        write_small(tmp_path / "vm.ovf", b"another")
    assert (tmp_path / "vm.ovf").read_bytes() == b"<xml/>"


def test_zeroing_a_file_target_is_honest(tmp_path: Path) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"?" * 200_000)
    with path.open("r+b") as file:
        FileTarget(file.fileno(), 200_000).open().zero(10, 150_000)
    assert path.read_bytes() == b"?" * 10 + bytes(150_000) + b"?" * 49_990


def test_what_is_restored_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a file without any data, a small one, one of another program, and the names in a directory."""
    synced: list[tuple[str, int]] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor).st_size))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_sparse(Content(bytes(9 * MiB), MiB), tmp_path / "zeros.raw")
    assert synced == [(str(tmp_path / "zeros.raw"), 9 * MiB)]
    write_sparse(Content(disk(), MiB), tmp_path / "disk.raw")
    assert synced[-1] == (str(tmp_path / "disk.raw"), len(disk()))
    write_small(tmp_path / "vm.ovf", b"<ovf/>")
    assert synced[-1] == (str(tmp_path / "vm.ovf"), 6)
    sync(tmp_path)
    assert synced[-1][0] == str(tmp_path)
