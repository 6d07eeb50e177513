"""Checkpoints of a VM: the chain that the engine keeps, over QEMU's dirty bitmaps of the same names."""

from __future__ import annotations

from ovirtbox import jobs
from ovirtbox.disks import refuse_locked
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL
from ovirtbox.faults import bad, conflict
from ovirtbox.locks import VM, exclusive
from ovirtbox.model import Checkpoint, Disk, Vm

REMOVE = "Cannot remove checkpoint"
REMOVING = "The VM is during a checkpoint removal operation."
"""What others are told meanwhile. [read: DeleteVmCheckpointCommand, 4.5]"""


def install(engine: EngineCore) -> None:
    engine.on_disk_detached.append(lambda vm, disk: disk_left(engine, vm, disk))
    engine.on_restore.append(lambda vm: invalidate_all(engine, vm))


def chain(engine: EngineCore, vm_id: str) -> list[Checkpoint]:
    """Root to leaf."""
    return engine.world.checkpoints.setdefault(vm_id, [])


def find(engine: EngineCore, vm_id: str, checkpoint_id: str) -> Checkpoint | None:
    return next((c for c in chain(engine, vm_id) if c.id == checkpoint_id), None)


def add(engine: EngineCore, vm: Vm, checkpoint_id: str, disks: list[str], description: str) -> None:
    """The parent is the leaf, whatever the backup started from."""
    known = chain(engine, vm.id)
    parent = known[-1].id if known else None
    known.append(Checkpoint(checkpoint_id, vm.id, parent, disks, description, engine.clock.now()))


def drop(engine: EngineCore, vm_id: str, checkpoint_id: str) -> None:
    """Out of the chain: its child hangs on its parent from now on."""
    known = chain(engine, vm_id)
    gone = find(engine, vm_id, checkpoint_id)
    if gone is None:
        return
    known.remove(gone)
    for other in known:
        if other.parent == gone.id:
            other.parent = gone.parent


def remove(engine: EngineCore, vm: Vm, checkpoint: Checkpoint) -> None:
    """Invalid at once; gone when the bitmaps are removed from all layers."""
    with engine.world.lock:
        unfinished = [
            b
            for b in engine.world.backups.values()
            if b.vm_id == vm.id and b.phase not in ("succeeded", "failed")
        ]
        if unfinished:
            raise conflict(f"{REMOVE}. The VM is during a backup operation.")
        refuse_locked(REMOVE, _with_bitmaps(engine, checkpoint.disks))  # [read: DeleteVmCheckpointCommand]
        owner = f"remove checkpoint {checkpoint.id}"
        engine.locks.take(owner, REMOVE, exclusive(VM, vm.id, REMOVING))
        if vm.status != "down" and is_lost(engine, vm, checkpoint):
            _lose_with(engine, vm, checkpoint, owner)
        checkpoint.state = "invalid"
        disks = _with_bitmaps(engine, checkpoint.disks)
        job = jobs.start(engine, f"Removing checkpoint {checkpoint.id} of VM {vm.name}")

    def done(error: Exception | None) -> None:
        engine.locks.drop(owner)
        jobs.finish(engine, job, error is None)
        if error is None:
            drop(engine, vm.id, checkpoint.id)
            text = f"Checkpoint {checkpoint.id} of VM {vm.name} was removed by {USER}."
            engine.log(10797, NORMAL, text, vm_id=vm.id)
        else:
            text = f"Failed to remove checkpoint {checkpoint.id} of VM {vm.name}."
            engine.log(10798, ERROR, text, vm_id=vm.id)

    engine.background(1, lambda: _remove_bitmaps(engine, disks, [checkpoint.id]), done, "checkpoint removed")


def is_lost(engine: EngineCore, vm: Vm, checkpoint: Checkpoint | None) -> bool:
    """Whether the host of a running VM cannot define it again: a record is missing, or a disk that it covers
    and that the VM still has is not plugged in [seen]. From level 4.6 on it alone is defined, below the whole
    chain, for a backup from none too [RedefineVmCheckpointCommand].
    """
    single = engine.world.clusters[vm.cluster].level >= (4, 6)
    defined = ([checkpoint] if checkpoint else []) if single else chain(engine, vm.id)
    plugged = {a.disk_id: a.active for a in vm.attachments}
    return any(
        not plugged[disk.id] or not engine.data.has_bitmap(disk.active, one.id)
        for one in defined
        for disk in _with_bitmaps(engine, one.disks)
        if disk.id in plugged
    )


def _lose_with(engine: EngineCore, vm: Vm, checkpoint: Checkpoint, owner: str) -> None:
    """A running VM: the engine defines the checkpoints again first, and when that fails removes them all,
    those of others too; the answer has no words. [seen]
    """
    engine.locks.drop(owner)
    text = f"Failed to remove checkpoint {checkpoint.id} of VM {vm.name}."
    engine.log(10798, ERROR, text, vm_id=vm.id)
    lose_all(engine, vm)
    raise bad()


def lose_all(engine: EngineCore, vm: Vm) -> None:
    """The chain cannot be trusted any more: every checkpoint of the VM is deleted."""
    with engine.world.lock:
        gone = chain(engine, vm.id)[:]
        engine.world.checkpoints[vm.id] = []
        disks = _with_bitmaps(engine, {d for c in gone for d in c.disks})
    if gone:
        engine.clock.work(lambda: _remove_bitmaps(engine, disks, [c.id for c in gone]))


def invalidate_all(engine: EngineCore, vm: Vm) -> None:
    """After a commit of a snapshot they stay in the list, good for nothing. [seen; a bug of the engine]"""
    with engine.world.lock:
        known = chain(engine, vm.id)[:]
        for checkpoint in known:
            checkpoint.state = "invalid"
        disks = _with_bitmaps(engine, {d for c in known for d in c.disks})
    if known:
        engine.clock.work(lambda: _remove_bitmaps(engine, disks, [c.id for c in known]))


def full_backup_needed(engine: EngineCore, vm: Vm, backup_id: str) -> None:
    """A live backup found that a checkpoint is broken."""
    text = (
        f"Incremental backup {backup_id} for VM {vm.name} failed. Full backup is now needed (User: {USER})."
    )
    engine.log(10791, ERROR, text, vm_id=vm.id)
    lose_all(engine, vm)


def disk_left(engine: EngineCore, vm: Vm, disk: Disk) -> None:
    """A detached disk is in no checkpoint; a checkpoint without disks is none."""
    for checkpoint in chain(engine, vm.id)[:]:
        if disk.id in checkpoint.disks:
            checkpoint.disks.remove(disk.id)
            if not checkpoint.disks:
                drop(engine, vm.id, checkpoint.id)


def _with_bitmaps(engine: EngineCore, disk_ids: list[str] | set[str]) -> list[Disk]:
    found = (engine.world.disks.get(disk_id) for disk_id in disk_ids)
    return [disk for disk in found if disk is not None and disk.layers]


def _remove_bitmaps(engine: EngineCore, disks: list[Disk], names: list[str]) -> None:
    for disk in disks:
        for name in names:
            engine.data.remove_bitmap(disk, name)
