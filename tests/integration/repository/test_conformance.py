"""The stock `borg` command reads what we wrote, in every encryption mode, on a path and over `borg serve`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import time
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from stock_borg import (
    BORG,
    CELL,
    DATA,
    NOON,
    OVF_BYTES,
    SYSTEM,
    MakeRepository,
    Stock,
    back_up,
    comment,
    image,
    manifest,
    store_disk,
)

from borg_ovirt.repository import borg_behind
from borg_ovirt.repository.layout import disk_path, parse_manifest
from borg_ovirt.repository.open import open_repository

FIRST = {SYSTEM: image(1, 12, tail=777), DATA: image(2, 6)}
CHANGED = bytearray(FIRST[SYSTEM])
CHANGED[3 * CELL : 4 * CELL] = image(99, 1, zeros=0)
SECOND = {SYSTEM: bytes(CHANGED) + image(98, 2), DATA: FIRST[DATA]}

MODES = [
    ("none", "local"),
    ("authenticated", "local"),
    ("authenticated-blake2", "serve"),
    ("repokey", "serve"),
    ("repokey-blake2", "local"),
    ("keyfile", "local"),
    ("keyfile-blake2", "local"),
]


def two_backups(stock: Stock) -> None:
    with open_repository(stock.location, write=True, compression="zstd,3") as repository:
        back_up(repository, "first", FIRST)
        back_up(repository, "second", SECOND, base="first", started=NOON + timedelta(days=1))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.thin(4)
@pytest.mark.parametrize(("encryption", "way"), MODES)
def test_every_mode_verifies_and_outlives_its_base(
    make_repository: MakeRepository, tmp_path: Path, encryption: str, way: str
) -> None:
    stock = make_repository(encryption, way=way)
    two_backups(stock)
    with open_repository(stock.location, write=True) as repository:
        assert repository.encryption == encryption
        repository.delete(["first"])
        repository.compact(0)
    stock.check()
    stock.run("extract", f"{stock.location}::second", cwd=tmp_path)
    for disk, data in SECOND.items():
        assert digest((tmp_path / disk_path(disk)).read_bytes()) == digest(data)


def test_stock_borg_deletes_the_base(stock: Stock) -> None:
    two_backups(stock)
    stock.run("delete", f"{stock.location}::first")
    stock.run("compact", "--threshold", "0", stock.location)
    stock.run("check", "--verify-data", stock.location)
    with open_repository(stock.location, write=False) as repository:
        for disk, data in SECOND.items():
            content = repository.archive("second").disk(disk_path(disk))
            assert not content.damaged
            assert digest(b"".join(content.fetch(content.chunks))) == digest(data)


def test_list_info_and_extract(stock: Stock, tmp_path: Path) -> None:
    two_backups(stock)
    rows = [
        line.split(maxsplit=1)
        for line in stock.run("list", "--format", "{size} {path}{NL}", f"{stock.location}::second")
        .stdout.decode()
        .splitlines()
    ]
    assert [row[1] for row in rows] == [
        "manifest.json",
        "vm.ovf",
        "README.txt",
        disk_path(SYSTEM),
        disk_path(DATA),
    ]
    assert [int(row[0]) for row in rows[3:]] == [len(SECOND[SYSTEM]), len(SECOND[DATA])]
    (info,) = stock.json("info", "--json", f"{stock.location}::second")["archives"]
    assert info["command_line"] == ["borg-ovirt", "create", "web 01"]
    assert info["chunker_params"] == ["fixed", CELL, 0]
    assert info["stats"]["nfiles"] == 5
    assert info["stats"]["original_size"] == sum(int(row[0]) for row in rows)
    target = tmp_path / "out"
    target.mkdir()
    stock.run("extract", "--sparse", f"{stock.location}::second", cwd=target)
    for disk, data in SECOND.items():
        assert digest((target / disk_path(disk)).read_bytes()) == digest(data)
    assert (target / "vm.ovf").read_bytes() == OVF_BYTES
    assert parse_manifest((target / "manifest.json").read_bytes(), "second") == manifest(SECOND)
    assert "borg extract" in (target / "README.txt").read_text()


def test_diff_export_tar_and_prune(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey-blake2")
    two_backups(stock)
    changed = stock.run("diff", "--content-only", f"{stock.location}::first", "second").stdout.decode()
    assert disk_path(SYSTEM) in changed
    assert disk_path(DATA) not in changed
    tar = stock.run("export-tar", f"{stock.location}::second", "-").stdout
    with tarfile.open(fileobj=BytesIO(tar)) as members:
        member = members.extractfile(disk_path(SYSTEM))
        assert member is not None
        assert digest(member.read()) == digest(SECOND[SYSTEM])
    stock.run("prune", "--keep-daily", "1", stock.location)
    assert stock.names() == ["second"]
    stock.check()


def can_mount() -> bool:
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        return False
    return True


def test_mount(make_repository: MakeRepository, tmp_path: Path) -> None:
    stock = make_repository("repokey")
    two_backups(stock)
    point = tmp_path / "mnt"
    point.mkdir()
    mounted = subprocess.Popen(
        [str(BORG), "mount", "--foreground", f"{stock.location}::second", str(point)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 30
        while not os.path.ismount(point) and mounted.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        # Where the kernel offers no FUSE, Borg has to say so, and there is no more to be shown.
        assert os.path.ismount(point) == can_mount()
        if can_mount():
            for disk, data in SECOND.items():
                assert digest((point / disk_path(disk)).read_bytes()) == digest(data)
    finally:
        stock.run("umount", str(point), check=False)
        mounted.wait(30)


def test_chunks_are_those_of_stock_borg(make_repository: MakeRepository, tmp_path: Path) -> None:
    """A raw disk backed up by stock Borg on the same grid shares every chunk with ours."""
    stock = make_repository("repokey")
    (tmp_path / "disk.raw").write_bytes(FIRST[SYSTEM])
    stock.run(
        "create", "--chunker-params", f"fixed,{CELL}", f"{stock.location}::theirs", "disk.raw", cwd=tmp_path
    )
    with open_repository(stock.location, write=True) as repository:
        before = repository.archives()
        with repository.writer("ours", started=NOON) as writer:
            writer.add_file("vm.ovf", OVF_BYTES)
            small = writer.stats.deduplicated
            store_disk(writer, SYSTEM, FIRST[SYSTEM])
            assert writer.stats.deduplicated == small
            writer.commit(comment(), manifest({SYSTEM: FIRST[SYSTEM]}))
    assert before == []
    assert sorted(stock.names()) == ["ours", "theirs"]


def test_segments_are_written_while_they_grow(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Borg waits for half a gigabyte at the end of each. Only local repositories can be helped."""
    files = []

    def hint(fd: int, *_: int) -> None:
        files.append(os.readlink(f"/proc/self/fd/{fd}"))
        raise OSError("this file system takes no hints")

    monkeypatch.setattr(borg_behind, "os", SimpleNamespace(posix_fadvise=hint, POSIX_FADV_DONTNEED=4))
    monkeypatch.setattr(borg_behind, "WINDOW", 4 * CELL)
    data = image(3, 20, zeros=0)
    with open_repository(stock.location, write=True, compression="none") as repository:
        back_up(repository, "one", {SYSTEM: data})
        back_up(repository, "again", {SYSTEM: data})
    assert len(files) == (5 if stock.location == str(stock.path) else 0)
    assert all(file.startswith(str(stock.path / "data")) for file in files)
    stock.check()
    assert stock.content("again", disk_path(SYSTEM)) == data
