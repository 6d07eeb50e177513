"""Tiny archives of ours, made without an engine: years of nights in seconds."""

from __future__ import annotations

import hashlib
from datetime import datetime

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
from borg_ovirt.repository.open import Repository

SIZE = 64 << 10


def content(vm_id: str, when: datetime) -> bytes:
    """What the disk of that VM held on that night: most of it always the same."""
    night = hashlib.sha256(f"{vm_id} {when.isoformat()}".encode()).digest()
    return night * (SIZE // 64) + bytes(SIZE // 2)


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
    manifest = Manifest(mode="image", vm=VmRecord(id=vm_id, name=vm_name, tags=tags), disks=(disk,), run=run)
    name = archive_name(vm_name, when, repository.all_names())
    with repository.writer(name, started=when) as writer:
        writer.add_file(OVF, b"<ovf/>")
        sink = writer.disk(disk.path, SIZE, SIZE)
        sink.store(sink.prepare(memoryview(content(vm_id, when))))
        sink.close()
        writer.commit(comment_of(manifest), manifest)
    return name
