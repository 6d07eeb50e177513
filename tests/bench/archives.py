"""`python -m bench.archives REPO VMS NIGHTS`: years of nights of tiny VMs, in one transaction."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone

import tiny

from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.checkpoint import Rhythm
from borg_ovirt.repository.layout import archive_name
from borg_ovirt.repository.open import open_repository
from borg_ovirt.repository.writer import writing

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
    vm_id, name = str(uuid.UUID(int=16 * vm + 16)), f"vm{vm:04}"
    with writing(session, archive_name(name, when, ()), when, number, Rhythm(vm_id, 0.0)) as writer:
        tiny.fill(writer, tiny.manifest_of(vm_id, name, when))


if __name__ == "__main__":
    main()
