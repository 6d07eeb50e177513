"""Backups of a VM: live, cold and hybrid; full and incremental; and the phases they go through."""

from __future__ import annotations

from dataclasses import dataclass, field

from ovirtbox import checkpoints, snapshots
from ovirtbox.dataplane import MissingBitmap, ToolFailed
from ovirtbox.disks import refuse_locked
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL, WARNING
from ovirtbox.faults import Fault, bad, conflict, internal
from ovirtbox.locks import DISK, VM, exclusive
from ovirtbox.model import Backup, Disk, Transfer, Vm, new_id

ADD = "Cannot backup VM"
STOP = "Cannot stop VM backup"
OVER = ("succeeded", "failed")
DURING_BACKUP = "The VM is during a backup operation."
VM_BACKUP = "vm backup"
SNAPSHOT = "Auto-generated for Backup VM"
KEEP_SUCCESS, KEEP_FAILURE = 15 * 60, 30 * 60
_LONGEST_DESCRIPTION = 1024


@dataclass
class Wanted:
    """What a client asked for."""

    disks: list[str] = field(default_factory=list)
    id: str | None = None
    from_checkpoint: str | None = None
    description: str = ""
    legacy: bool = False
    require_consistency: bool = False


def install(engine: EngineCore) -> None:
    engine.clock.every_tick(lambda: tick(engine))
    engine.on_restart.append(lambda: restarted(engine))
    engine.on_vm_down.append(lambda vm: vm_went_down(engine, vm))


def of_vm(engine: EngineCore, vm_id: str) -> list[Backup]:
    return [backup for backup in engine.world.backups.values() if backup.vm_id == vm_id]


def locks_image(engine: EngineCore, transfer: Transfer) -> bool:
    """A transfer that ends unlocks the disk of a live or cold backup early, as the engine does."""
    backup = engine.world.backups.get(transfer.backup_id or "")
    return backup is not None and backup.kind != "hybrid"


# --- start -----------------------------------------------------------------------------------------


def start(engine: EngineCore, vm: Vm, wanted: Wanted) -> Backup:
    world = engine.world
    with world.lock:
        kind = _kind(engine, vm, wanted)
        owner = wanted.id or new_id()
        backup = Backup(
            id=owner,
            vm_id=vm.id,
            disks=wanted.disks,
            kind=kind,
            description=wanted.description,
            created=engine.clock.now(),
            modified=engine.clock.now(),
            from_checkpoint=wanted.from_checkpoint,
            own_id=wanted.id is not None,
            host=_host(engine, vm, kind),
            require_consistency=wanted.require_consistency and kind == "live",
            updated=engine.clock.monotonic(),
            busy=True,
        )
        lock = f"backup {new_id()}" if owner in world.backups else owner
        disks = _lock_and_check(engine, vm, wanted, backup, lock)
        _begin(engine, vm, backup, disks)
        if kind == "hybrid":
            _start_hybrid(engine, vm, backup, disks)
            return backup
    if kind == "live":
        _redefine(engine, vm, backup)
    backup.busy = False
    return backup


def _host(engine: EngineCore, vm: Vm, kind: str) -> str | None:
    """Cold backups have one too; hybrid ones none."""
    if kind == "hybrid":
        return None
    up = (h.id for h in engine.world.hosts.values() if h.status == "up")
    return vm.host if kind == "live" else next(up, None)


def _kind(engine: EngineCore, vm: Vm, wanted: Wanted) -> str:
    if engine.world.vm_level(vm) >= (4, 7) and not wanted.legacy:
        return "hybrid"
    return "cold" if vm.status == "down" else "live"


def _lock_and_check(engine: EngineCore, vm: Vm, wanted: Wanted, backup: Backup, lock: str) -> list[Disk]:
    if backup.kind == "hybrid":
        busy = "Disk is locked. Please try again later."
        # All image disks of the VM, those that are not plugged in too. [seen]
        wants = [exclusive(VM_BACKUP, vm.id, busy)]
        mine = [d for a in vm.attachments if (d := engine.world.disks[a.disk_id]).layers]
        wants += [exclusive(DISK, disk.id, busy) for disk in mine]
    else:
        wants = [exclusive(VM, vm.id, DURING_BACKUP), exclusive(VM_BACKUP, vm.id, DURING_BACKUP)]
    engine.locks.take(lock, ADD, *wants)
    try:
        return _validate(engine, vm, wanted, backup)
    except Exception:
        engine.locks.drop(lock)
        raise


def _validate(engine: EngineCore, vm: Vm, wanted: Wanted, backup: Backup) -> list[Disk]:
    world = engine.world
    if vm.origin == "hosted_engine":
        raise conflict(f"{ADD}. Hosted Engine VM cannot be backed up.")
    missing = [disk_id for disk_id in wanted.disks if disk_id not in world.disks]
    if missing:
        raise bad(f"{ADD}. The following disk(s) ID(s) does not exist: {', '.join(missing)}.")
    disks = [world.disks[disk_id] for disk_id in wanted.disks]
    if backup.kind != "hybrid":  # there the snapshot is refused, and nobody says why
        refuse_locked(ADD, [disk for disk in disks if disk.layers])
    _check_plugged(vm, disks)
    _check_checkpoint(engine, vm, wanted)
    level = world.clusters[vm.cluster].level
    if level < (4, 5):
        _check_old_level(engine, vm, wanted, disks)
    if vm.status not in ("up", "down"):
        raise conflict(f"{ADD}. The Virtual Machine should be in Up or Down status.")
    if vm.preview:
        raise conflict(f"{ADD}. VM is previewing a Snapshot.")
    if any(other.phase not in OVER for other in of_vm(engine, vm.id)):
        raise conflict(f"{ADD}. {DURING_BACKUP}")
    if len(wanted.description) > _LONGEST_DESCRIPTION:
        raise bad(
            f"{ADD}. The VM backup description shouldn't contain more than {_LONGEST_DESCRIPTION} characters."
        )
    if wanted.id is not None and wanted.id in world.backups:
        raise bad(f"{ADD}. The specified VM backup ID {wanted.id} already exists.")
    return disks


def _check_plugged(vm: Vm, disks: list[Disk]) -> None:
    plugged = {a.disk_id: a.active for a in vm.attachments}
    if any(disk.id not in plugged for disk in disks):
        raise internal("[General command validation failure.]")
    inactive = [disk.id for disk in disks if not plugged[disk.id]]
    if inactive:
        ids = ", ".join(inactive)
        raise conflict(f"{ADD}. The following disks are not active on VM {vm.name}: {ids}")
    if any(not disk.layers or disk.shareable for disk in disks):
        raise conflict(f"{ADD}. The disk does not support backup.")


def _check_checkpoint(engine: EngineCore, vm: Vm, wanted: Wanted) -> None:
    if wanted.from_checkpoint is None:
        return
    found = checkpoints.find(engine, vm.id, wanted.from_checkpoint)
    if found is None:
        raise bad(f"{ADD}. Checkpoint ID {wanted.from_checkpoint} doesn't exist.")
    if found.state == "invalid":
        raise bad(f"{ADD}. Checkpoint ID {found.id} is invalid and should be removed.")


def _check_old_level(engine: EngineCore, vm: Vm, wanted: Wanted, disks: list[Disk]) -> None:
    """Before 4.5: running VMs only, every disk enabled, and none mixed into an incremental backup."""
    disabled = [disk.id for disk in disks if disk.backup != "incremental"]
    if disabled:
        ids = ", ".join(disabled)
        raise conflict(f"{ADD}. Incremental backup is disabled for the following disks: {ids}.")
    if wanted.from_checkpoint is not None:
        known = checkpoints.find(engine, vm.id, wanted.from_checkpoint)
        outside = [disk.id for disk in disks if known and disk.id not in known.disks]
        if outside:
            ids = ", ".join(outside)
            raise bad(
                f"{ADD}. The following disks are not included in the previous VM backup: [{ids}]\n"
                "Please use a full VM backup for all the VM disks."
            )
    if vm.status == "down":
        raise conflict(f"{ADD}. The Virtual Machine should be in Up status.")


def _begin(engine: EngineCore, vm: Vm, backup: Backup, disks: list[Disk]) -> None:
    engine.world.backups[backup.id] = backup
    if backup.kind != "hybrid":
        backup.modes = _modes(engine, backup, disks)
        for disk in disks:
            for layer in disk.layers:
                layer.status = "locked"
    text = f"Backup {backup.id} for VM {vm.name} started (User: {USER})."
    engine.log(10790, NORMAL, text, vm_id=vm.id)


def _redefine(engine: EngineCore, vm: Vm, backup: Backup) -> None:
    """The host takes over the from-checkpoint; where that fails, so does the POST, with no message."""
    since = backup.from_checkpoint
    try:
        lost = checkpoints.is_lost(engine, vm, checkpoints.find(engine, vm.id, since) if since else None)
    except ToolFailed:
        lost = True
    if lost:
        with engine.world.lock:
            checkpoints.full_backup_needed(engine, vm, backup.id)
            fail(engine, backup, "checkpoints are missing on the host")
            backup.busy = False
        raise bad()


def _modes(engine: EngineCore, backup: Backup, disks: list[Disk]) -> dict[str, str]:
    since = backup.from_checkpoint
    known = checkpoints.find(engine, backup.vm_id, since) if since else None
    covered = set(known.disks) if known else set()
    return {
        disk.id: "incremental" if disk.id in covered and disk.active.format == "cow" else "full"
        for disk in disks
    }


# --- the state machine -----------------------------------------------------------------------------


def tick(engine: EngineCore) -> None:
    with engine.world.lock:
        for backup in list(engine.world.backups.values()):
            if backup.phase in OVER:
                keep = KEEP_SUCCESS if backup.phase == "succeeded" else KEEP_FAILURE
                if engine.clock.aged(backup.updated, keep):
                    del engine.world.backups[backup.id]
            elif not backup.busy:
                _step(engine, backup)


def _step(engine: EngineCore, backup: Backup) -> None:
    vm = engine.world.vms.get(backup.vm_id)
    if vm is None:
        fail(engine, backup, "the VM is gone")
        return
    disks = [engine.world.disks[d] for d in backup.disks if d in engine.world.disks]
    if backup.phase == "initializing":
        if backup.kind == "cold":
            _start_cold(engine, vm, backup, disks)
        else:
            _enter(engine, backup, "starting")
    elif backup.phase == "starting":
        _start_live(engine, vm, backup, disks)
    elif backup.phase == "ready" and backup.stopped:
        _enter(engine, backup, "finalizing")
    elif backup.phase == "finalizing":
        end_it = _end_hybrid if backup.kind == "hybrid" else _end_plain
        end_it(engine, vm, backup, disks)


def _enter(engine: EngineCore, backup: Backup, phase: str) -> None:
    backup.phase = phase
    backup.modified = engine.clock.now()
    backup.updated = engine.clock.monotonic()


def _start_live(engine: EngineCore, vm: Vm, backup: Backup, disks: list[Disk]) -> None:
    modes = _modes(engine, backup, disks)
    checkpoint = new_id() if any(disk.active.format == "cow" for disk in disks) else None
    since = {d: backup.from_checkpoint for d, mode in modes.items() if mode == "incremental"}
    full = any(engine.world.domains[disk.domain].full for disk in disks)
    backup.busy = True

    def begin() -> None:
        if backup.require_consistency and not vm.agent:
            raise ToolFailed("the guest's file systems could not be frozen")
        engine.data.start_live_backup(
            backup,
            vm.id,
            disks,
            checkpoint=checkpoint,
            since={disk_id: name for disk_id, name in since.items() if name},
            full_domain=full,
        )

    def done(error: Exception | None) -> None:
        backup.busy = False
        if isinstance(error, MissingBitmap) and backup.from_checkpoint:
            checkpoints.full_backup_needed(engine, vm, backup.id)
        if full:
            engine.log(10799, ERROR, f"Failed to create scratch disks of VM {vm.name}.", vm_id=vm.id)
        if error is not None:
            fail(engine, backup, str(error))
            return
        _ready(engine, vm, backup, disks, modes, checkpoint)

    engine.background(0, begin, done, "live ready")


def _start_cold(engine: EngineCore, vm: Vm, backup: Backup, disks: list[Disk]) -> None:
    states = {engine.world.domains[disk.domain].status for disk in disks}
    if "unknown" in states:  # it was restarted, and learns them first [reasoned: seen of a maintenance alone]
        return
    modes = _modes(engine, backup, disks)
    marked = [disk for disk in disks if disk.active.format == "cow"]
    checkpoint = new_id() if marked else None
    backup.busy = True
    if states != {"active"}:
        # It goes there unasked and never leaves: the disks stay locked until somebody edits the database.
        _enter(engine, backup, "finalizing")
        return

    def begin() -> None:
        engine.data.freeze_truth(backup.id, disks)
        if checkpoint is not None:
            engine.data.add_bitmaps(marked, checkpoint)

    def done(error: Exception | None) -> None:
        backup.busy = False
        if error is not None:
            fail(engine, backup, str(error))
        else:
            _ready(engine, vm, backup, disks, modes, checkpoint)

    engine.background(0, begin, done, "cold ready")


def _start_hybrid(engine: EngineCore, vm: Vm, backup: Backup, disks: list[Disk]) -> None:
    """The snapshot is asked for within the POST; where it is refused, the answer has no words. [seen]"""
    modes = _modes(engine, backup, disks)
    checkpoint = new_id()
    frozen = {disk.id: disk.active.image_id for disk in disks}
    backup.phase = "starting"

    def done(error: Exception | None) -> None:
        backup.busy = False
        if error is not None:
            backup.snapshot_id = None
            fail(engine, backup, str(error))
            return
        for disk_id, image_id in frozen.items():
            engine.data.truth.also_as(disk_id, image_id, backup.id)
        _ready(engine, vm, backup, disks, modes, checkpoint)

    try:
        snapshot = snapshots.create(
            engine,
            vm,
            SNAPSHOT,
            wanted={disk.id: snapshots.NewLayer() for disk in disks},
            checkpoint=checkpoint,
            on_done=done,
        )
    except Fault as fault:
        text = f"Failed to create Snapshot {SNAPSHOT} for VM {vm.name} (User: {USER})."
        engine.log(117, ERROR, text, vm_id=vm.id)
        backup.busy = False
        fail(engine, backup, str(fault))
        raise bad() from fault
    backup.snapshot_id = snapshot.id


def _ready(
    engine: EngineCore,
    vm: Vm,
    backup: Backup,
    disks: list[Disk],
    modes: dict[str, str],
    checkpoint: str | None,
) -> None:
    backup.modes = modes
    backup.to_checkpoint = checkpoint
    if backup.phase in OVER or (
        backup.stopped and backup.kind != "hybrid"
    ):  # somebody ended it while it was being started
        _abort(engine, backup, "premature backup stop")
        return
    if checkpoint is not None:
        marked = [disk.id for disk in disks if _keeps_bitmaps(backup, disk)]
        checkpoints.add(engine, vm, checkpoint, marked, backup.description)
    _enter(engine, backup, "ready")


def _keeps_bitmaps(backup: Backup, disk: Disk) -> bool:
    """Hybrid: the layer that stays after the merge must be qcow2."""
    layer = disk.layers[-2] if backup.kind == "hybrid" else disk.active
    return layer.format == "cow"


# --- end -------------------------------------------------------------------------------------------


def finalize(engine: EngineCore, vm: Vm, backup: Backup) -> None:
    with engine.world.lock:
        named = f"vm '{vm.id}' backup '{backup.id}'"
        if backup.stopped and backup.phase in ("starting", "ready"):  # hybrid [seen]
            raise bad(f"{named} is already stopped, no need to stop the backup again")
        if backup.phase in ("finalizing", *OVER):
            raise bad(f"{named} is already in '{backup.phase}' phase, no need to stop the backup again")
        if backup.phase != "ready" and backup.kind == "hybrid":  # it goes on to ready and then ends [seen]
            backup.stopped = True
            return
        if backup.phase != "ready":
            backup.stopped = True
            if not backup.busy:
                _abort(engine, backup, "premature backup stop")
            raise bad(
                f"backup '{backup.id}' is in 'creating scratch disks' phase, premature backup stop was"
                " initiated."
            )
        active = [
            t
            for t in engine.world.transfers.values()
            if t.backup_id == backup.id and t.phase not in ("finished_success", "finished_failure")
        ]
        if active:
            raise conflict(f"{STOP}. There is an active image transfer for VM backup")
        if backup.kind == "hybrid":
            backup.stopped = True
            text = f"Backup {backup.id} for VM {vm.name} was stopped."
            engine.log(10796, NORMAL, text, vm_id=vm.id)
        else:
            _enter(engine, backup, "finalizing")
        text = f"Backup {backup.id} for VM {vm.name} finalized (User: {USER})."
        engine.log(10794, NORMAL, text, vm_id=vm.id)


def _end_plain(engine: EngineCore, vm: Vm, backup: Backup, disks: list[Disk]) -> None:
    backup.busy = True

    def stop() -> None:
        if backup.kind == "live":
            engine.data.stop_live_backup(vm.id, backup.id)

    def done(error: Exception | None) -> None:
        backup.busy = False
        if backup.phase in OVER:  # it failed meanwhile
            return
        _release(engine, backup)
        if error is not None:
            text = f"Failed to finalize backup {backup.id} for VM {vm.name}."
            engine.log(10795, ERROR, text, vm_id=vm.id)
        _succeed(engine, vm, backup)

    engine.background(0, stop, done, "backup end")


def _end_hybrid(engine: EngineCore, vm: Vm, backup: Backup, disks: list[Disk]) -> None:
    """Merge the snapshot away; a VM that is just being started or stopped is waited for."""
    snapshot = next((s for s in vm.snapshots if s.id == backup.snapshot_id), None)

    def done(error: Exception | None) -> None:
        backup.busy = False
        if error is not None:
            _leftover(engine, vm)
        _release(engine, backup)
        _succeed(engine, vm, backup)

    if snapshot is None:
        done(None)
        return
    another = vm.snapshots.index(snapshot) + 2 < len(vm.snapshots)
    if another or vm.status == "unknown":  # it is not even tried [seen]; its host is gone
        done(Fault(409))
        return
    try:
        backup.busy = True
        snapshots.remove(engine, vm, snapshot, during_backup=True, on_done=done)
    except Fault as fault:
        backup.busy = False
        if fault.status != 409 or vm.status in ("up", "down"):
            done(fault)


def _leftover(engine: EngineCore, vm: Vm) -> None:
    text = (
        "Possible failure while removing a snapshot that was generated automatically during backup of VM"
        f" '{vm.name}'. The snapshot may be removed manually"
    )
    engine.log(10813, WARNING, text, vm_id=vm.id)


def _succeed(engine: EngineCore, vm: Vm, backup: Backup) -> None:
    if backup.kind != "hybrid":  # there they stay [seen]
        backup.modes = {}
    _enter(engine, backup, "succeeded")
    text = f"Backup {backup.id} for VM {vm.name} completed successfully."
    engine.log(10793, NORMAL, text, vm_id=vm.id)


def _abort(engine: EngineCore, backup: Backup, reason: str) -> None:
    """Whatever was begun is undone on the host, away from the engine's threads."""
    vm_id, snapshot_id = backup.vm_id, backup.snapshot_id
    if backup.kind == "live":
        engine.clock.work(lambda: engine.data.stop_live_backup(vm_id, backup.id))
    vm = engine.world.vms.get(vm_id)
    snapshot = next((s for s in vm.snapshots if s.id == snapshot_id), None) if vm else None
    fail(engine, backup, reason)
    if vm is not None and snapshot is not None and snapshot.status == "ok":
        try:
            snapshots.remove(engine, vm, snapshot, during_backup=True)
        except Fault:
            _leftover(engine, vm)


def fail(engine: EngineCore, backup: Backup, reason: str) -> None:
    vm = engine.world.vms.get(backup.vm_id)
    if backup.to_checkpoint is not None:
        checkpoints.drop(engine, backup.vm_id, backup.to_checkpoint)
        backup.to_checkpoint = None
    _release(engine, backup)
    backup.modes = {}
    _enter(engine, backup, "failed")
    name = vm.name if vm else backup.vm_id
    text = f"Backup {backup.id} for VM {name} failed (User: {USER}): {reason}."
    engine.log(10792, ERROR, text, vm_id=backup.vm_id)


def _release(engine: EngineCore, backup: Backup) -> None:
    """Unlock the disks, except layers that somebody else has locked meanwhile."""
    engine.locks.drop(backup.id)
    if backup.kind == "hybrid":
        return
    moving = {
        t.image_id
        for t in engine.world.transfers.values()
        if t.backup_id is None and not t.phase.startswith("finished")
    }
    for disk_id in backup.disks:
        disk = engine.world.disks.get(disk_id)
        for layer in disk.layers if disk else []:
            if layer.status == "locked" and layer.image_id not in moving:
                layer.status = "ok"


# --- from outside ----------------------------------------------------------------------------------


def vm_went_down(engine: EngineCore, vm: Vm) -> None:
    """QEMU is gone, and the point in time with it."""
    for backup in of_vm(engine, vm.id):
        if backup.kind == "live" and backup.phase not in OVER:
            fail(engine, backup, "the VM is down")


def give_up(engine: EngineCore, backup: Backup) -> None:
    backup.busy = False
    fail(engine, backup, "it was ended in the database")


def restarted(engine: EngineCore) -> None:
    """A restarted engine takes up its own commands again; a backup whose id a client chose is lost."""
    for backup in list(engine.world.backups.values()):
        if backup.own_id and backup.phase not in OVER:
            _abort(engine, backup, "the backup is no longer monitored")
            text = f"Backup {backup.id} is no longer monitored by the engine."
            engine.log(10814, WARNING, text, vm_id=backup.vm_id)
