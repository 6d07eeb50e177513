"""What dead runs left in the engine: found in their journals, ended in the right order, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.capture.backup import backup_phase, end_backup, find_backup, read_backup
from borg_ovirt.ovirt.capture.snapshot import (
    find_snapshot,
    read_snapshot,
    remove_snapshot,
    wait_merged,
)
from borg_ovirt.ovirt.capture.snapshot_method import thaw
from borg_ovirt.ovirt.data.transfer import end_transfer, find_transfer, phase_of, read_transfer
from borg_ovirt.ovirt.facts.vm import utc
from borg_ovirt.ovirt.make.disks import remove_disk
from borg_ovirt.ovirt.make.machines import attached_disks, remove_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.journal import DeadRun, Entry, dead_runs

ORDER = ("freeze", "transfer", "backup", "snapshot", "vm", "disk")
"""A guest is thawed at once; then what holds locks goes before what is locked."""


@dataclass(frozen=True)
class Leftover:
    """Something a dead run made and did not remove."""

    run_id: str
    started: str
    kind: str
    id: str | None
    """None: the run died before the engine told it; it is looked for by its mark."""
    description: str
    """For people: what it is, and of which VM or disk."""


def leftovers(directory: Path, engine_id: str | None = None) -> list[Leftover]:
    """What the journals of dead runs leave open (of one engine, or of all), in the order of ending."""
    with dead_runs(directory) as runs:
        return [
            _leftover(run, entry)
            for run in runs
            if engine_id is None or run.engine_id == engine_id
            for entry in _in_order(run.entries)
        ]


def heal(engine: Engine, directory: Path, log: Callable[[str], None] = lambda text: None) -> list[str]:
    """End what dead runs left in this engine and tell what was ended; what could not be stays journalled."""
    done: list[str] = []
    with dead_runs(directory) as runs:
        for run in runs:
            if run.entries and run.engine_id != engine.instance_id:
                continue
            if _heal_run(engine, run, done, log):
                run.path.unlink(missing_ok=True)
    return done


def _heal_run(engine: Engine, run: DeadRun, done: list[str], log: Callable[[str], None]) -> bool:
    """True when nothing of the run is left."""
    whole = True
    for entry in _in_order(run.entries):
        name = _leftover(run, entry).description
        try:
            ended = _END[entry.kind](engine, run, entry)
        except BorgOvirtError as error:
            log(f"could not end the {name} of a run that died: {error.message}")
            whole = False
            continue
        if ended:
            done.append(name)
            log(f"ended the {name} of a run that died")
    return whole


def _in_order(entries: list[Entry]) -> list[Entry]:
    known = [entry for entry in entries if entry.kind in ORDER]
    return sorted(known, key=lambda entry: (ORDER.index(entry.kind), entry.number))


def _leftover(run: DeadRun, entry: Entry) -> Leftover:
    facts = entry.facts
    of = [f"{word} {facts[word]}" for word in ("name", "alias", "disk", "vm") if facts.get(word)]
    kind = facts["direction"] if entry.kind == "transfer" and facts.get("direction") else entry.kind
    text = " ".join(filter(None, (str(kind), entry.id or "", f"({', '.join(of)})" if of else "")))
    return Leftover(run.run_id, run.started, entry.kind, entry.id, text)


# -- one kind each: true if there was something to end ------------------------------------------------------


def _end_freeze(engine: Engine, run: DeadRun, entry: Entry) -> bool:
    thaw(engine, str(entry.facts["vm"]))
    return True


def _end_transfer(engine: Engine, run: DeadRun, entry: Entry) -> bool:
    facts = entry.facts
    found = entry.id or find_transfer(engine, str(facts["disk"]), str(facts["direction"]), int(facts["mark"]))
    if found is None or phase_of(read_transfer(engine, found)).startswith(("finished", "gone")):
        return False
    end_transfer(engine, found, f"disk {facts['disk']}", keep=bool(facts.get("keep")))
    return True


def _end_backup(engine: Engine, run: DeadRun, entry: Entry) -> bool:
    vm_id = str(entry.facts["vm"])
    found = entry.id or find_backup(engine, vm_id, str(entry.facts["description"]))
    if found is None:
        return False
    if backup_phase(read_backup(engine, vm_id, found)) in ("succeeded", "failed", "gone"):
        return False
    end_backup(engine, vm_id, found, f"VM {vm_id}")
    return True


def _end_snapshot(engine: Engine, run: DeadRun, entry: Entry) -> bool:
    vm_id = str(entry.facts["vm"])
    found = entry.id or find_snapshot(engine, vm_id, str(entry.facts["description"]))
    if found is None or read_snapshot(engine, vm_id, found) is None:
        return False
    remove_snapshot(engine, vm_id, found)
    left = wait_merged(engine, vm_id, found)
    if left:
        raise BorgOvirtError(left)
    return True


def _end_vm(engine: Engine, run: DeadRun, entry: Entry) -> bool:
    """A VM that a restore made; its disks have entries of their own.

    Where the run died before the engine said that it had made the VM, one of that id that is older than the
    run is somebody else's.
    """
    vm_id = str(entry.id or entry.facts["id"])
    try:
        vm = engine.call(f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get())
    except NotFound:
        return False
    if entry.id is None and not _is_younger(utc(vm.creation_time), run):
        return False
    # The engine keeps no disks of a VM with snapshots: they go with it, if they are all the run's own.
    remove_vm(engine, vm_id, keep_disks=not _is_all_ours(engine, vm_id, run))
    return True


def _is_all_ours(engine: Engine, vm_id: str, run: DeadRun) -> bool:
    made = {str(entry.id or entry.facts["id"]) for entry in run.entries if entry.kind == "disk"}
    attached = attached_disks(engine, vm_id)
    return bool(attached) and attached <= made


def _is_younger(made: datetime, run: DeadRun) -> bool:
    try:
        return made >= datetime.fromisoformat(run.started)
    except (ValueError, TypeError):
        return False


def _end_disk(engine: Engine, run: DeadRun, entry: Entry) -> bool:
    """A disk that a restore made; one that some VM uses by now was not only intended by a run that died."""
    disk_id = str(entry.id or entry.facts["id"])
    try:
        disk = engine.call(
            f"read the disk {disk_id}",
            lambda s: s.disks_service().disk_service(disk_id).get(query={"all_content": "true"}),
        )
    except NotFound:
        return False
    if entry.id is None and disk.vms:
        return False
    remove_disk(engine, disk_id)
    return True


_END: dict[str, Callable[[Engine, DeadRun, Entry], bool]] = {
    "freeze": _end_freeze,
    "transfer": _end_transfer,
    "backup": _end_backup,
    "snapshot": _end_snapshot,
    "vm": _end_vm,
    "disk": _end_disk,
}
