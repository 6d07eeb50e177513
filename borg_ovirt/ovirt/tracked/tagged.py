"""Objects in the engine whose descriptions bear our tag, though no journal of this machine knows them.

They are a run's of ours on another machine, alive or dead, or of a machine that lost its journals. Who asks
for their removal has to know which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.capture.backups import backup_phase, end_backup
from borg_ovirt.ovirt.capture.scratch import scratch_disks
from borg_ovirt.ovirt.capture.snapshot import merge_away
from borg_ovirt.ovirt.data.transfers import end_transfers_of
from borg_ovirt.ovirt.facts.vm import list_vms, read_snapshots, utc
from borg_ovirt.ovirt.make.disks import remove_disk
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.journal import TAG

AUTOMATIC = "Auto-generated for Backup VM"
"""The description of the snapshot that the engine makes for a hybrid backup. [seen]"""
_OVER = ("succeeded", "failed")
_MARK = re.compile(rf"^{TAG} .*\[(?P<run>[0-9a-f]{{12}})(\.\d+)?\]$", re.DOTALL)


@dataclass(frozen=True)
class Tagged:
    """A backup or a snapshot that bears our tag, or what the engine made for a backup and did not remove."""

    kind: str
    """`backup`, `snapshot`, or `scratch disk` of a live backup."""
    id: str
    vm_id: str
    vm_name: str
    run_id: str
    """Empty for what bears no tag: whose it is cannot be told."""
    created: datetime
    description: str

    def __str__(self) -> str:
        of = f"run {self.run_id}" if self.run_id else self.description
        return f"{self.kind} {self.id} of VM {self.vm_name} ({of})"


def run_of(description: str | None) -> str | None:
    """The run that a description of ours names; None for anybody else's."""
    match = _MARK.match(description or "")
    return match["run"] if match else None


def find_tagged(
    engine: Engine, known_runs: Collection[str], log: Callable[[str], None] = lambda text: None
) -> list[Tagged]:
    """Unfinished backups and snapshots that bear our tag and are of none of the known runs, and what the
    engine itself left of backups that are over. A VM that cannot be looked at is told and passed over."""
    found: list[Tagged] = []
    lasting: set[str] = set()
    runs: dict[str, str] = {}
    for vm in list_vms(engine):
        try:
            backups = _backups(engine, vm.id)
            lasting |= {b.id for b in backups if backup_phase(b) not in _OVER}
            runs |= {b.id: run for b in backups if (run := run_of(b.description))}
            found += [t for t in _of_vm(engine, vm.id, vm.name, backups) if t.run_id not in known_runs]
        except BorgOvirtError as error:
            log(f"VM {vm.name} cannot be looked at: {error.message}")
    return [*found, *(t for t in _scratch_disks(engine, lasting, runs) if t.run_id not in known_runs)]


def _of_vm(engine: Engine, vm_id: str, name: str, backups: Iterable[Any]) -> Iterator[Tagged]:
    lasting = [backup for backup in backups if backup_phase(backup) not in _OVER]
    made_for = {b.snapshot.id: run_of(b.description) for b in backups if b.snapshot}
    for backup in lasting:
        run = run_of(backup.description)
        if run:
            yield Tagged("backup", backup.id, vm_id, name, run, utc(backup.creation_date), backup.description)
    for snapshot in read_snapshots(engine, vm_id):
        automatic = snapshot.description == AUTOMATIC and not lasting
        run = run_of(snapshot.description) or (made_for.get(snapshot.id) if automatic else None)
        if run or automatic:
            yield Tagged("snapshot", snapshot.id, vm_id, name, run or "", snapshot.date, snapshot.description)


def _scratch_disks(engine: Engine, lasting: Collection[str], runs: Mapping[str, str]) -> Iterator[Tagged]:
    """Scratch disks of live backups that are over: a host that crashed leaves them. [seen] Whose a backup was
    is known while the engine lists it, for half an hour."""
    for disk in scratch_disks(engine):
        if disk.backup_id not in lasting:
            text = f"of backup {disk.backup_id}, which is over"
            run = runs.get(disk.backup_id, "")
            yield Tagged("scratch disk", disk.id, "", disk.vm_name, run, utc(None), text)


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
    """End a backup, its transfers first; merge a snapshot away; or remove a scratch disk.

    The engine never tells of a transfer which backup it belongs to; while the backup lasts nobody else can
    have one of its disks.
    """
    if tagged.kind == "backup":
        disks = _disks_of(engine, tagged)
        end_transfers_of(engine, disks)
        end_backup(engine, tagged.vm_id, tagged.id, f"VM {tagged.vm_name}", disks)
        return
    if tagged.kind == "scratch disk":
        remove_disk(engine, tagged.id)
        return
    left = merge_away(engine, tagged.vm_id, tagged.id)
    if left:
        raise BorgOvirtError(left)


def _disks_of(engine: Engine, tagged: Tagged) -> set[str]:
    disks = engine.call(
        f"list the disks of the backup {tagged.id}",
        lambda s: (
            s.vms_service()
            .vm_service(tagged.vm_id)
            .backups_service()
            .backup_service(tagged.id)
            .disks_service()
            .list()
        ),
    )
    return {str(disk.id) for disk in disks or ()}
