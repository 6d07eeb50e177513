"""What dead runs left in the engine: found in their journals, ended in the right order, and nothing else."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from borg_ovirt.errors import BorgOvirtError, Timeout
from borg_ovirt.ovirt.capture.backups import backup_phase, end_backup, find_backup, read_backup
from borg_ovirt.ovirt.capture.scratch import remove_scratch_disks
from borg_ovirt.ovirt.capture.snapshot import find_snapshot, merge_away, read_snapshot
from borg_ovirt.ovirt.capture.snapshot_method import thaw
from borg_ovirt.ovirt.data.transfers import ask_to_end, end_transfer, find_transfer, phase_of, read_transfer
from borg_ovirt.ovirt.facts.vm import utc
from borg_ovirt.ovirt.make.disks import remove_disk
from borg_ovirt.ovirt.make.machines import attached_disks, find_marked_vm, power_off, remove_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.journal import TAG, DeadRun, Entry, dead_runs

T = TypeVar("T")
Tell = Callable[[], None]

IN_FLIGHT = 150.0
"""A request that was on its way when its run was killed has made its object by then, or never will (s)."""
SECONDS, EACH = 30.0, 8.0
"""What holds nobody up is waited for so long: in all, and each."""
NOT_YET = "nothing is to be seen yet"
"""How a line begins that tells of what may still come to be."""
ORDER = ("freeze", "transfer", "backup", "snapshot", "vm", "disk", "directory")
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
    vm_id: str | None = None
    """The VM that it is in the way of, where it is known."""


def leftovers(directory: Path, engine_id: str | None = None) -> list[Leftover]:
    """What the journals of dead runs leave open (of one engine, or of all), in the order of ending."""
    with dead_runs(directory) as runs:
        return [
            _leftover(run, entry)
            for run in runs
            if engine_id is None or run.engine_id == engine_id
            for entry in _in_order(run.entries)
        ]


def heal(
    engine: Engine,
    directory: Path,
    log: Callable[[str], None] = lambda text: None,
    concerned: Callable[[Entry], bool] = lambda entry: True,
    *,
    only: Callable[[Entry], bool] = lambda entry: True,
    at_most: float | None = None,
    in_flight: float = IN_FLIGHT,
) -> list[str]:
    """End what dead runs left in this engine and tell what was ended; what could not be stays journalled.

    What is not `concerned` holds nobody up: it is asked to end, and waited for for seconds; the rest for
    `at_most` so many seconds each, locks for all of them. `only`: the others are not touched at all.
    `in_flight`: for so long after an intent was written down what it is about may still come to be.
    """
    healing = _Healing(engine, log, in_flight)
    hurry = Hurry(engine, at_most)
    with dead_runs(directory) as runs:
        ours = [run for run in runs if run.engine_id == engine.instance_id or not run.entries]
        for run in ours:
            if run.damaged:
                log(f"warning: {run.damaged} lines of the journal {run.path} cannot be read")
            if not run.entries:
                run.close()
        entries = [(run, entry) for run in ours for entry in _in_order(run.entries) if only(entry)]
        for run, entry in entries:
            if entry.kind == "freeze":
                with hurry.unless(concerned(entry)):
                    healing.end(run, entry)
        for _, entry in entries:
            if entry.kind == "transfer":  # they hold locks of all the rest: none waits for another
                with hurry.unless(False):
                    healing.ask(entry)
        for run, entry in entries:
            if entry.kind != "freeze":
                with hurry.unless(concerned(entry)):
                    healing.end(run, entry)
    return healing.done


_DAMAGED = (KeyError, TypeError, ValueError)
"""What an entry that lacks its facts leads to."""


class _Healing:
    """One healing under way."""

    def __init__(self, engine: Engine, log: Callable[[str], None], in_flight: float) -> None:
        self.done: list[str] = []
        self._engine = engine
        self._log = log
        self._in_flight = in_flight
        self._asked: list[Entry] = []

    def ask(self, entry: Entry) -> None:
        """Ask for the end of a transfer."""
        with suppress(BorgOvirtError, *_DAMAGED):
            found = _transfer_of(self._engine, entry)
            keep = bool(entry.facts.get("keep"))
            name = f"disk {entry.facts['disk']}"
            if found is not None and ask_to_end(self._engine, found, name, keep_disk=keep):
                self._asked.append(entry)

    def end(self, run: DeadRun, entry: Entry) -> None:
        """End what the entry is about, and strike it out; or tell why not."""
        name = _leftover(run, entry).description
        try:
            ended = _END[entry.kind](self._engine, run, entry, lambda: self._log(f"ending {_of_dead(name)}"))
        except Timeout as error:
            self._log(f"could not end {_of_dead(name)} in time: {error.message} The next run goes on.")
            return
        except BorgOvirtError as error:
            self._log(f"could not end {_of_dead(name)}: {error.message}")
            return
        except _DAMAGED as error:
            self._log(f"could not end {_of_dead(name)}: its entry in {run.path} is damaged ({error!r})")
            return
        left = self._in_flight - (time.time() - entry.at)
        if ended is None and left > 0:
            self._log(
                f"{NOT_YET} of {_of_dead(name)}: it was asked for just before, and may still come to be for"
                f" {left:.0f} s. The next run looks again, or `borg-ovirt cleanup` then"
            )
            return
        run.strike(entry)
        if ended or any(entry is asked for asked in self._asked):
            self.done.append(name)
            self._log(f"ended {_of_dead(name)}")


def _of_dead(name: str) -> str:
    return f"the {name} of a run that died"


class Hurry:
    """What is nobody's concern now gets seconds, all of it together."""

    def __init__(self, engine: Engine, at_most: float | None = None) -> None:
        self._engine = engine
        self._at_most = at_most
        self._left = SECONDS

    @contextmanager
    def unless(self, concerned: bool) -> Iterator[None]:
        """Within this context the engine's objects are waited for only briefly, if not `concerned`."""
        each = self._at_most if concerned else max(1.0, min(self._left, EACH))
        if each is None:
            yield
            return
        patience, started = self._engine.patience, time.monotonic()
        kinds = ("lock", "start", "end", "snapshot", "merge", "machine", "unclear", "unwind")
        hurried = replace(patience, **{kind: min(each, getattr(patience, kind)) for kind in kinds})
        if concerned:  # a host that crashed leaves a layer locked for ten minutes [seen]
            hurried = replace(hurried, lock=each)
        try:
            with self._engine.hurried(hurried):
                yield
        finally:
            if not concerned:
                self._left -= time.monotonic() - started


def nobody(entry: Entry) -> bool:
    """What concerns a run that has yet to see whose turn it is."""
    return False


def of_vm(vm_id: str) -> Callable[[Entry], bool]:
    """What concerns the backup of a VM."""
    return lambda entry: entry.facts.get("vm") == vm_id


def of_restores(entry: Entry) -> bool:
    """What concerns a restore: disks and VMs that another one made may have the ids and names it needs."""
    return entry.kind in ("vm", "disk") or entry.facts.get("direction") == "upload"


def heal_for_restore(engine: Engine, directory: Path, log: Callable[[str], None]) -> None:
    """As a restore, rollback or proof begins: a minute for what is in its way, seconds for the rest."""
    heal(engine, directory, log, of_restores, at_most=60.0)


def _in_order(entries: list[Entry]) -> list[Entry]:
    known = [entry for entry in entries if entry.kind in ORDER]
    return sorted(known, key=lambda entry: (ORDER.index(entry.kind), entry.number))


def _leftover(run: DeadRun, entry: Entry) -> Leftover:
    facts = entry.facts
    of = [f"{word} {facts[word]}" for word in ("name", "alias", "disk", "vm", "path") if facts.get(word)]
    kind = facts["direction"] if entry.kind == "transfer" and facts.get("direction") else entry.kind
    text = " ".join(filter(None, (str(kind), entry.id or "", f"({', '.join(of)})" if of else "")))
    return Leftover(run.run_id, run.started, entry.kind, entry.id, text, facts.get("vm"))


# -- one kind each: true if there was something to end, None if it may yet come to be --------------------


def _end_freeze(engine: Engine, run: DeadRun, entry: Entry, tell: Tell) -> bool | None:
    tell()
    thaw(engine, str(entry.facts["vm"]))
    return True


def _transfer_of(engine: Engine, entry: Entry) -> str | None:
    facts = entry.facts
    return entry.id or find_transfer(engine, str(facts["disk"]), str(facts["direction"]), int(facts["mark"]))


def _end_transfer(engine: Engine, run: DeadRun, entry: Entry, tell: Tell) -> bool | None:
    """An upload into a disk that was there before the run is finalized: cancelled, it would take the disk."""
    found = _look(engine, entry, lambda: _transfer_of(engine, entry))
    if found is None:
        return None
    if phase_of(read_transfer(engine, found)).startswith(("finished", "gone")):
        return False
    tell()
    end_transfer(engine, found, f"disk {entry.facts['disk']}", keep_disk=bool(entry.facts.get("keep")))
    return True


def _end_backup(engine: Engine, run: DeadRun, entry: Entry, tell: Tell) -> bool | None:
    """The backup, and the snapshot that the engine made for it, if it stayed."""
    vm_id, facts = str(entry.facts["vm"]), entry.facts
    found = _look(engine, entry, lambda: entry.id or find_backup(engine, vm_id, str(facts["description"])))
    if found is None:
        return None
    backup = read_backup(engine, vm_id, found)
    snapshot = facts.get("snapshot") or (backup.snapshot.id if backup and backup.snapshot else None)
    phase = backup_phase(backup)
    over = phase in ("succeeded", "failed", "gone")
    if not over:
        tell()
        phase = end_backup(engine, vm_id, found, f"VM {vm_id}", attached_disks(engine, vm_id))
    if snapshot is None and phase != "succeeded":
        scratch = remove_scratch_disks(engine, found)
        if scratch:
            raise BorgOvirtError(scratch)
    if snapshot is None or read_snapshot(engine, vm_id, str(snapshot)) is None:
        return not over
    if over:
        tell()
    left = merge_away(engine, vm_id, str(snapshot))
    if left:
        raise BorgOvirtError(left)
    return True


def _end_snapshot(engine: Engine, run: DeadRun, entry: Entry, tell: Tell) -> bool | None:
    vm_id, facts = str(entry.facts["vm"]), entry.facts
    found = _look(engine, entry, lambda: entry.id or find_snapshot(engine, vm_id, str(facts["description"])))
    if found is None:
        return None
    if read_snapshot(engine, vm_id, found) is None:
        return False
    tell()
    left = merge_away(engine, vm_id, found)
    if left:
        raise BorgOvirtError(left)
    return True


def _end_vm(engine: Engine, run: DeadRun, entry: Entry, tell: Tell) -> bool | None:
    """A VM that a restore made; its disks have entries of their own.

    Where the run died before the engine said that it had made the VM, one of that id that is older than the
    run is somebody else's.
    """
    facts = entry.facts
    if entry.id is None and "id" not in facts:  # it was to get its id from the engine
        name, description = str(facts["name"]), str(facts["description"])
        vm_id = _look(engine, entry, lambda: find_marked_vm(engine, name, description))
        if vm_id is None:
            return None
    else:
        vm_id = str(entry.id or facts["id"])
        made = _look(engine, entry, lambda: _made_at(engine, vm_id))
        if made is None:
            return None if entry.id is None else False
        if entry.id is None and not _is_younger(made, run):
            return False
    tell()
    if entry.facts.get("scratch"):
        power_off(engine, vm_id)
    # The engine keeps no disks of a VM with snapshots: they go with it, if they are all the run's own.
    remove_vm(engine, vm_id, keep_disks=not _is_all_ours(engine, vm_id, run))
    return True


def _made_at(engine: Engine, vm_id: str) -> datetime | None:
    try:
        vm = engine.call(f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get())
    except NotFound:
        return None
    return utc(vm.creation_time)


def _is_all_ours(engine: Engine, vm_id: str, run: DeadRun) -> bool:
    made = {str(entry.id or entry.facts["id"]) for entry in run.entries if entry.kind == "disk"}
    attached = attached_disks(engine, vm_id)
    return bool(attached) and attached <= made


def _is_younger(made: datetime, run: DeadRun) -> bool:
    try:
        return made >= datetime.fromisoformat(run.started)
    except (ValueError, TypeError):
        return False


def _end_disk(engine: Engine, run: DeadRun, entry: Entry, tell: Tell) -> bool | None:
    """A disk that a restore made; one that some VM uses by now was not only intended by a run that died."""
    disk_id = str(entry.id or entry.facts["id"])
    used = _look(engine, entry, lambda: _users(engine, disk_id))
    if used is None:
        return None if entry.id is None else False
    if entry.id is None and used:
        return False
    tell()
    remove_disk(engine, disk_id)
    return True


def _end_directory(engine: Engine, run: DeadRun, entry: Entry, tell: Tell) -> bool | None:
    """A directory of this machine with what was only for a while: under a name that nobody else chooses."""
    path = Path(str(entry.facts["path"]))
    if not path.name.startswith(f"{TAG}-") or path.is_symlink() or not path.is_dir():
        return False
    tell()
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        raise BorgOvirtError(f"{path} could not be removed.")
    return True


def _users(engine: Engine, disk_id: str) -> list[str] | None:
    """The VMs (ids) that use a disk; None if there is no such disk."""
    try:
        disk = engine.call(
            f"read the disk {disk_id}",
            lambda s: s.disks_service().disk_service(disk_id).get(query={"all_content": "true"}),
        )
    except NotFound:
        return None
    return [str(vm.id) for vm in disk.vms or ()]


def _look(engine: Engine, entry: Entry, find: Callable[[], T | None]) -> T | None:
    """Find what an entry is about; of one whose id the engine never told, for a while: the request may have
    been on its way when the run died."""
    if entry.id is not None or time.time() - entry.at > IN_FLIGHT:
        return find()
    return engine.patience.look(find)


_END: dict[str, Callable[[Engine, DeadRun, Entry, Tell], bool | None]] = {
    "freeze": _end_freeze,
    "transfer": _end_transfer,
    "backup": _end_backup,
    "snapshot": _end_snapshot,
    "vm": _end_vm,
    "disk": _end_disk,
    "directory": _end_directory,
}
