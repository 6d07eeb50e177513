"""Tiny archives of ours, made without an engine: years of nights in seconds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
import zygote
from harness import PASSPHRASE

from borg_ovirt.repository.layout import (
    OVF,
    DiskRecord,
    Manifest,
    RunRecord,
    VmRecord,
    archive_name,
    comment_of,
    disk_path,
)
from borg_ovirt.repository.open import Repository, open_repository
from borg_ovirt.repository.writer import ArchiveWriter

SIZE = 64 << 10


def content(vm_id: str, when: datetime) -> bytes:
    """What the disk of that VM held on that night: most of it always the same."""
    night = hashlib.sha256(f"{vm_id} {when.isoformat()}".encode()).digest()
    return night * (SIZE // 64) + bytes(SIZE // 2)


def manifest_of(
    vm_id: str, vm_name: str, when: datetime, *, tags: tuple[str, ...] = (), engine: str = "localhost"
) -> Manifest:
    """That of a backup in full, of one disk."""
    disk_id = vm_id[:-1] + "d"
    disk = DiskRecord(
        id=disk_id, alias="disk", size=SIZE, format="cow", sparse=True, cell=SIZE, path=disk_path(disk_id)
    )
    run = RunRecord(
        tool_version="1",
        host="backup.example",
        engine=engine,
        kind="full",
        way="cold backup",
        consistency_asked="auto",
        consistency="frozen",
        cell=SIZE,
        started=when,
        ended=when,
    )
    return Manifest(mode="image", vm=VmRecord(id=vm_id, name=vm_name, tags=tags), disks=(disk,), run=run)


def fill(writer: ArchiveWriter, manifest: Manifest) -> None:
    """Write it, and commit."""
    writer.add_file(OVF, b"<ovf/>")
    sink = writer.disk(manifest.disks[0].path, SIZE, SIZE)
    sink.store(sink.prepare(memoryview(content(manifest.vm.id, manifest.run.started))))
    sink.close()
    writer.commit(comment_of(manifest), manifest)


def make(
    repository: Repository,
    vm_id: str,
    vm_name: str,
    when: datetime,
    *,
    tags: tuple[str, ...] = (),
    engine: str = "localhost",
) -> str:
    """One archive; returns its name."""
    name = archive_name(vm_name, when, repository.all_names())
    with repository.writer(name, started=when) as writer:
        fill(writer, manifest_of(vm_id, vm_name, when, tags=tags, engine=engine))
    return name


@contextmanager
def new_repository(root: Path) -> Iterator[Repository]:
    """An encrypted one in `root/repo`, open; Borg's own files lie in `root/home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BORG_BASE_DIR", str(root / "home"))
        patch.setenv("BORG_PASSPHRASE", PASSPHRASE)
        repo = str(root / "repo")
        code, _, err = zygote.run("borg", ["init", "-e", "repokey", repo], os.environ)
        assert code == 0, err
        with open_repository(repo, write=True) as opened:
            yield opened
