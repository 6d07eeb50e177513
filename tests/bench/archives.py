"""`python -m bench.archives REPO VMS NIGHTS`: years of nights of tiny VMs, in one transaction."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.checkpoint import Rhythm
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
from borg_ovirt.repository.open import open_repository
from borg_ovirt.repository.writer import writing

SIZE = 64 << 10
FIRST = datetime(2020, 1, 1, 1, tzinfo=timezone.utc)


def main() -> None:
    location, vms, nights = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with open_repository(location, write=True) as repository:
        session = repository._session
        start = max((info.comment.number or 0 for info in repository.archives()), default=0)
        with _one_commit(session):
            for night in range(nights):
                for vm in range(vms):
                    number = start + night * vms + vm + 1
                    _make(session, vm, FIRST + timedelta(days=start // vms + night, seconds=vm), number)


@contextmanager
def _one_commit(session: Session) -> Iterator[None]:
    """Ten thousand commits would take an hour, and are not what is measured."""
    owners = {session._manifest: "write", session._repository: "commit", session._cache: "commit"}
    for owner, name in owners.items():
        setattr(owner, name, lambda *_, **__: None)
    yield
    for owner, name in owners.items():
        delattr(owner, name)
    session._manifest.write()
    session._repository.commit(compact=False)
    assert session._cache is not None
    session._cache.commit()


def _make(session: Session, vm: int, when: datetime, number: int) -> None:
    vm_id, disk_id = str(uuid.UUID(int=vm + 1)), str(uuid.UUID(int=(1 << 64) + vm))
    disk = DiskRecord(
        id=disk_id, alias="disk", size=SIZE, format="cow", sparse=True, cell=SIZE, path=disk_path(disk_id)
    )
    run = RunRecord(
        tool_version="1",
        host="backup.example",
        engine="engine.example",
        kind="full",
        way="cold backup",
        consistency_asked="auto",
        consistency="frozen",
        cell=SIZE,
        started=when,
        ended=when,
    )
    name = f"vm{vm:04}"
    manifest = Manifest(mode="image", vm=VmRecord(id=vm_id, name=name), disks=(disk,), run=run)
    with writing(session, archive_name(name, when, ()), when, number, Rhythm(vm_id, 0.0)) as writer:
        writer.add_file(OVF, b"<ovf/>")
        sink = writer.disk(disk.path, SIZE, SIZE)
        sink.store(sink.prepare(memoryview(f"{vm:8}{number:8}".encode() * (SIZE // 16))))
        writer.commit(comment_of(manifest), manifest)


if __name__ == "__main__":
    main()
