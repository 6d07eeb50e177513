"""Objects in the engine whose descriptions bear our tag, though no journal of this machine knows them.

They are a run's of ours on another machine, alive or dead, or of a machine that lost its journals. Who asks
for their removal has to know which.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.capture.backup import backup_phase, end_backup
from borg_ovirt.ovirt.capture.snapshot import remove_snapshot, wait_merged
from borg_ovirt.ovirt.data.transfer import end_transfer, phase_of
from borg_ovirt.ovirt.facts.vm import list_vms, read_snapshots, utc
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.journal import TAG

_MARK = re.compile(rf"^{TAG} .*\[(?P<run>[0-9a-f]{{12}})(\.\d+)?\]$", re.DOTALL)


@dataclass(frozen=True)
class Tagged:
    """A backup or a snapshot of ours."""

    kind: str
    """`backup` or `snapshot`."""
    id: str
    vm_id: str
    vm_name: str
    run_id: str
    created: datetime
    description: str

    def __str__(self) -> str:
        return f"{self.kind} {self.id} of VM {self.vm_name} (run {self.run_id})"


def run_of(description: str | None) -> str | None:
    """The run that a description of ours names; None for anybody else's."""
    match = _MARK.match(description or "")
    return match["run"] if match else None


def find_tagged(engine: Engine, known_runs: Collection[str]) -> list[Tagged]:
    """Unfinished backups and snapshots that bear our tag and are of none of the known runs."""
    found: list[Tagged] = []
    for vm in list_vms(engine):
        found += [t for t in _of_vm(engine, vm.id, vm.name) if t.run_id not in known_runs]
    return found


def _of_vm(engine: Engine, vm_id: str, name: str) -> Iterator[Tagged]:
    for backup in _backups(engine, vm_id):
        run = run_of(backup.description)
        if run and backup_phase(backup) not in ("succeeded", "failed"):
            yield Tagged("backup", backup.id, vm_id, name, run, utc(backup.creation_date), backup.description)
    for snapshot in read_snapshots(engine, vm_id):
        run = run_of(snapshot.description)
        if run:
            yield Tagged("snapshot", snapshot.id, vm_id, name, run, snapshot.date, snapshot.description)


def _backups(engine: Engine, vm_id: str) -> list[Any]:
    try:
        found = engine.call(
            f"list the backups of VM {vm_id}",
            lambda s: s.vms_service().vm_service(vm_id).backups_service().list(),
        )
    except NotFound:
        return []
    return list(found or ())


def remove_tagged(engine: Engine, tagged: Tagged) -> None:
    """End a backup, its transfers first; or merge a snapshot away."""
    if tagged.kind == "backup":
        for transfer in engine.call("list the transfers", lambda s: s.image_transfers_service().list()) or ():
            tracked = transfer.backup is not None and transfer.backup.id == tagged.id
            if tracked and not phase_of(transfer).startswith("finished"):
                end_transfer(engine, transfer.id, f"a disk of VM {tagged.vm_name}")
        end_backup(engine, tagged.vm_id, tagged.id, f"VM {tagged.vm_name}")
        return
    remove_snapshot(engine, tagged.vm_id, tagged.id)
    left = wait_merged(engine, tagged.vm_id, tagged.id)
    if left:
        raise BorgOvirtError(left)
