"""Going back to a snapshot: what came after it is gone, and so are the checkpoints."""

from __future__ import annotations

from ovirtbox import jobs
from ovirtbox.disks import layer_path, refuse_busy_snapshots, refuse_illegal, refuse_locked, status_text
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL
from ovirtbox.faults import bad, conflict
from ovirtbox.locks import VM, exclusive
from ovirtbox.model import Disk, Job, Layer, Snapshot, Vm, new_id
from ovirtbox.snapshots import is_during_backup

RESTORE = "Cannot revert to Snapshot"


def restore(engine: EngineCore, vm: Vm, snapshot: Snapshot) -> Job:
    """Preview and commit in one: newer layers are gone, and so are all checkpoints of the VM."""
    with engine.world.lock:
        if vm.status != "down":
            raise conflict(f"{RESTORE} because the VM is in {status_text(vm)} status.")
        if is_during_backup(engine, vm):
            raise conflict(f"{RESTORE}. The VM is during a backup operation.")
        refuse_busy_snapshots(RESTORE, vm)
        if snapshot.type != "regular":
            raise bad(f"{RESTORE}. The operation is only allowed for regular snapshots.")
        disks = [engine.world.disks[d] for d in snapshot.images if d in engine.world.disks]
        refuse_locked(RESTORE, disks)
        refuse_illegal(RESTORE, disks)
        owner = f"restore {vm.id}"
        engine.locks.take(owner, RESTORE, exclusive(VM, vm.id))
        for disk in disks:
            disk.active.status = "locked"
        vm.status = "image_locked"
        engine.log(1190, NORMAL, f"Restoring VM {vm.name} from snapshot started by user {USER}.", vm_id=vm.id)
        job = jobs.start(engine, f"Restoring VM {vm.name} from snapshot {snapshot.description}")
        steps = [_step_back(engine, vm, disk, snapshot.images[disk.id]) for disk in disks]

    def go_back() -> None:
        for disk, kept, fresh in steps:
            domain = engine.world.domains[disk.domain]
            engine.data.create_volume(fresh, domain, parent=kept)
            engine.data.go_back(disk, kept)
            engine.data.discard_layers(disk.layers[disk.layers.index(kept) + 1 :])

    def done(error: Exception | None) -> None:
        engine.locks.drop(owner)
        jobs.finish(engine, job, error is None)
        vm.status = "down"
        vm.generation += 1
        if error is not None:
            for disk in disks:
                disk.active.status = "illegal"
            text = f"Failed to complete restoring from Snapshot of VM {vm.name}."
            engine.log(101, ERROR, text, vm_id=vm.id)
            return
        for disk, kept, fresh in steps:
            del disk.layers[disk.layers.index(kept) + 1 :]
            disk.layers.append(fresh)
            disk.virtual_size = fresh.virtual_size
        _drop_newer(engine, vm, snapshot)
        for call in engine.on_restore:
            call(vm)
        text = f"VM {vm.name} restoring from Snapshot has been completed."
        engine.log(100, NORMAL, text, vm_id=vm.id)

    engine.background(1, go_back, done)
    return job


def _step_back(engine: EngineCore, vm: Vm, disk: Disk, image_id: str) -> tuple[Disk, Layer, Layer]:
    """The layer that is kept, and the fresh active one that goes on top of it."""
    kept = disk.layer(image_id)
    if kept is None:
        raise conflict(f"{RESTORE}. The disk {disk.alias} has no image in this snapshot any more.")
    fresh_id = new_id()
    domain = engine.world.domains[disk.domain]
    fresh = Layer(
        image_id=fresh_id,
        disk_id=disk.id,
        format="cow",
        sparse=True,
        virtual_size=kept.virtual_size,
        path=layer_path(domain, disk.id, fresh_id),
        parent=kept.image_id,
        snapshot_id=vm.active_snapshot.id,
        created=engine.clock.now(),
    )
    return disk, kept, fresh


def _drop_newer(engine: EngineCore, vm: Vm, snapshot: Snapshot) -> None:
    """Newer snapshots lose the images that are gone; one with no image left goes too."""
    newer = vm.snapshots[vm.snapshots.index(snapshot) + 1 :]
    for other in [s for s in newer if s.type == "regular"]:
        other.images = {
            disk_id: image_id
            for disk_id, image_id in other.images.items()
            if disk_id in engine.world.disks and engine.world.disks[disk_id].layer(image_id)
        }
        if not other.images:
            vm.snapshots.remove(other)
