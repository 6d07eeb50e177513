"""Snapshots of a VM: taken, with the swap of ids, and merged away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ovirtbox import jobs, ovf
from ovirtbox.dataplane import ToolFailed
from ovirtbox.disks import (
    layer_path,
    refuse_busy_snapshots,
    refuse_full_domain,
    refuse_illegal,
    refuse_inactive_domain,
    refuse_locked,
    status_text,
)
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL, WARNING
from ovirtbox.faults import bad, conflict
from ovirtbox.locks import VM, exclusive
from ovirtbox.model import Attachment, Disk, Job, Layer, Snapshot, Vm, new_id

CREATE = "Cannot create Snapshot"
REMOVE = "Cannot remove Snapshot"

Done = Callable[[Exception | None], object]

TAKEN_IN = ("up", "down", "paused", "powering_up", "powering_down", "wait_for_launch", "reboot_in_progress")


@dataclass
class NewLayer:
    """What a client may say of the layer that a snapshot puts on top of a disk."""

    image_id: str | None = None
    initial_size: int | None = None


def snapable(disk: Disk) -> bool:
    return disk.storage_type == "image" and not disk.shareable and bool(disk.layers)


# --- take ------------------------------------------------------------------------------------------


def create(
    engine: EngineCore,
    vm: Vm,
    description: str,
    *,
    wanted: dict[str, NewLayer] | None = None,
    memory: bool = False,
    needs_locking: bool = True,
    checkpoint: str | None = None,
    on_done: Done | None = None,
) -> Snapshot:
    """Take a snapshot of all disks (`wanted` None) or of those listed; it is locked until it is done.

    The new snapshot gets the id that the active one had, the active one a fresh id. `on_done` is called
    at the end, with the world locked. A command that holds the VM's lock itself asks for no locking.
    `checkpoint`: dirty bitmaps of that name begin at the instant of the snapshot.
    """
    world = engine.world
    with world.lock:
        owner = f"create snapshot {new_id()}"
        if needs_locking:
            message = f"Snapshot is currently being created for VM {vm.name}."
            engine.locks.take(owner, CREATE, exclusive(VM, vm.id, message))
        try:
            disks = _check_create(engine, vm, wanted)
        except Exception:
            engine.locks.drop(owner)
            raise
        snapshot, pairs = _stack(engine, vm, description, memory, disks, wanted or {})
        name = f"Snapshot '{description}' creation for VM '{vm.name}'"
        engine.log(45, NORMAL, f"{name} was initiated by {USER}.", vm_id=vm.id)
        job = jobs.start(engine, f"Creating VM Snapshot {description} for VM {vm.name}")

    def done(error: Exception | None) -> None:
        engine.locks.drop(owner)
        jobs.finish(engine, job, error is None)
        about = {"vm_id": vm.id, "correlation_id": job.correlation_id}
        if error is None:
            snapshot.status = "ok"
            for disk, layer in pairs:
                disk.active.status = layer.status = "ok"
                layer.new = False
                disk.layers.append(layer)
            vm.generation += 1
            engine.log(68, NORMAL, f"{name} has been completed.", **about)
        elif on_done is not None:
            _unstack(vm, snapshot, pairs)
            _failed(engine, vm, description, about)
        else:
            _half_made(engine, vm, snapshot, pairs)
            _failed(engine, vm, description, about)
        if on_done is not None:
            on_done(error)

    def take() -> None:
        for disk, layer in pairs:
            size = layer.volume_size or None
            domain = engine.world.domains[disk.domain]
            asked = (wanted or {}).get(disk.id)
            if domain.kind == "file" and asked is not None and asked.initial_size is not None:
                raise ToolFailed("initial size is not supported for file-based volumes")
            if disk.active.lost:
                raise ToolFailed("the volume below is not there")
            engine.data.create_volume(layer, domain, parent=disk.active, initial_size=size)
        engine.data.snapshot(vm, pairs, checkpoint=checkpoint)

    engine.background(1, take, done, "hybrid ready" if checkpoint else "snapshot")
    return snapshot


def _check_create(engine: EngineCore, vm: Vm, wanted: dict[str, NewLayer] | None) -> list[Disk]:
    world = engine.world
    attached = [world.disks[a.disk_id] for a in vm.attachments]
    if wanted:
        unknown = [d for d in wanted if d not in world.disks]
        if unknown:
            ids = ", ".join(unknown)
            raise bad(f"{CREATE}. The following disk(s) ID(s) does not exist: {ids}.")
        unable = [d.alias for d in attached if d.id in wanted and not snapable(d)]
        if unable:
            raise bad(f"{CREATE}. Snapshot is not allowed for the following disk(s): {', '.join(unable)}.")
        mine = {d.id for d in attached}
        strangers = [world.disks[d].alias for d in wanted if d not in mine]
        if strangers:
            aliases = ", ".join(strangers)
            raise bad(f"{CREATE}. The following disk(s) are not attached to the VM {vm.name}: {aliases}.")
    if vm.status not in TAKEN_IN:
        raise conflict(f"{CREATE} because the VM is in {status_text(vm)} status.")
    if any(snapshot.type == "stateless" for snapshot in vm.snapshots):
        raise conflict(
            f"{CREATE}. The VM is running as Stateless. Please try again when VM is not running as Stateless."
        )
    refuse_busy_snapshots(CREATE, vm)
    disks = [d for d in attached if snapable(d) and (wanted is None or d.id in wanted)]
    refuse_locked(CREATE, disks)
    refuse_illegal(CREATE, disks)
    taken = [
        new.image_id
        for disk in disks
        if (new := (wanted or {}).get(disk.id)) and new.image_id and disk.layer(new.image_id)
    ]
    if taken:
        raise conflict(f"{CREATE}. Image IDs \t{', '.join(taken)} are already used by a snapshot.")
    if any(new.image_id and world.layer(new.image_id) for new in (wanted or {}).values()):
        raise bad()
    for disk in disks:
        domain = world.domains[disk.domain]
        refuse_inactive_domain(CREATE, domain)
        new = (wanted or {}).get(disk.id) or NewLayer()
        needed = max(new.initial_size or 0, 1 << 30) if domain.kind == "block" else 0
        refuse_full_domain(engine, CREATE, domain, needed)
    return disks


def _stack(
    engine: EngineCore,
    vm: Vm,
    description: str,
    memory: bool,
    disks: list[Disk],
    wanted: dict[str, NewLayer],
) -> tuple[Snapshot, list[tuple[Disk, Layer]]]:
    """Swap the ids of the snapshots; the layers that go on top are added when they are there."""
    now = engine.clock.now()
    active = vm.active_snapshot
    snapshot = Snapshot(
        id=active.id,
        description=description,
        date=now,
        status="locked",
        memory=memory,
        configuration=ovf.snapshot_configuration(engine, vm, [disk.id for disk in disks]),
        images={disk.id: disk.active.image_id for disk in disks},
    )
    active.id = new_id()
    vm.snapshots.insert(vm.snapshots.index(active), snapshot)
    pairs = []
    for disk in disks:
        new = wanted.get(disk.id) or NewLayer()
        domain = engine.world.domains[disk.domain]
        image_id = new.image_id or new_id()
        layer = Layer(
            image_id=image_id,
            disk_id=disk.id,
            format="cow",
            sparse=True,
            virtual_size=disk.active.virtual_size,
            path=layer_path(domain, disk.id, image_id),
            parent=disk.active.image_id,
            snapshot_id=active.id,
            status="locked",
            new=True,
            volume_size=(new.initial_size or 0) if domain.kind == "block" else 0,
            created=now,
        )
        disk.active.snapshot_id = snapshot.id
        disk.active.status = "locked"
        pairs.append((disk, layer))
    _relabel(engine, vm, snapshot.id, active.id, {disk.id for disk in disks})
    return snapshot, pairs


def _relabel(engine: EngineCore, vm: Vm, before: str, after: str, but: set[str]) -> None:
    """Active layers of disks outside the snapshot now belong to the active snapshot's fresh id."""
    for attachment in vm.attachments:
        disk = engine.world.disks[attachment.disk_id]
        if disk.id not in but and disk.layers and disk.active.snapshot_id == before:
            disk.active.snapshot_id = after


def _failed(engine: EngineCore, vm: Vm, description: str, about: dict[str, str | None]) -> None:
    text = (
        f"Snapshot {description} for VM {vm.name} (User: {USER}), may be inconsistent as there was a failure"
        " during creation."
    )
    engine.log(10774, WARNING, text, **about)
    text = f"Failed to complete snapshot '{description}' creation for VM '{vm.name}'."
    engine.log(69, ERROR, text, **about)


def _half_made(engine: EngineCore, vm: Vm, snapshot: Snapshot, pairs: list[tuple[Disk, Layer]]) -> None:
    """The host could not make the volumes: the snapshot is called ok, its new layers stand on paper."""
    snapshot.status = "ok"
    for disk, layer in pairs:
        layer.lost = not layer.path.exists()
        disk.active.status = layer.status = "ok"
        disk.layers.append(layer)
    vm.generation += 1


def _unstack(vm: Vm, snapshot: Snapshot, pairs: list[tuple[Disk, Layer]]) -> None:
    """The snapshot failed: it vanishes and the active snapshot has its old id again."""
    for disk, _ in pairs:
        disk.active.status = "ok"
    if snapshot in vm.snapshots:
        vm.snapshots.remove(snapshot)
    vm.active_snapshot.id = snapshot.id


# --- merge away ------------------------------------------------------------------------------------


def remove(
    engine: EngineCore,
    vm: Vm,
    snapshot: Snapshot,
    *,
    during_backup: bool = False,
    on_done: Done | None = None,
) -> Job:
    """Merge each layer's child into the layer that the snapshot froze; that layer keeps its image id."""
    with engine.world.lock:
        engine.locks.check(REMOVE, exclusive(VM, vm.id), owner=vm.id if during_backup else "")
        pairs = _check_remove(engine, vm, snapshot, during_backup)
        name = f"Snapshot '{snapshot.description}' deletion for VM '{vm.name}'"
        engine.log(342, NORMAL, f"{name} was initiated by {USER}.", vm_id=vm.id)
        job = jobs.start(engine, f"Removing Snapshot {snapshot.description} from VM {vm.name}")
        snapshot.status = "locked"
        running = vm if engine.data.is_running(vm.id) else None
        # All images of its disks, of a VM that runs too; the OVF is not given meanwhile.
        # [read: RemoveSnapshotCommand.lockSnapshot, 4.5; seen of a VM that was down]
        for disk, _ in pairs:
            for layer in disk.layers:
                layer.status = "locked"

    def merge() -> None:
        engine.faults_injection.merging()
        for disk, layer in pairs:
            engine.data.merge(running, disk, layer)
            with engine.world.lock:
                _absorb(vm, disk, layer)

    def done(error: Exception | None) -> None:
        jobs.finish(engine, job, error is None)
        about = {"vm_id": vm.id, "correlation_id": job.correlation_id}
        for disk, _ in pairs:
            for layer in disk.layers:
                layer.status = "ok"
        if error is None:
            vm.snapshots.remove(snapshot)
            vm.generation += 1
            engine.log(356, NORMAL, f"{name} has been completed.", **about)
        else:
            snapshot.status = "ok"
            text = f"Failed to delete snapshot '{snapshot.description}' for VM '{vm.name}'."
            engine.log(357, ERROR, text, **about)
        if on_done is not None:
            on_done(error)

    step = "hybrid end" if during_backup else "merge"
    engine.background(1, merge, done, step if running else "cold merge")
    return job


def _check_remove(
    engine: EngineCore, vm: Vm, snapshot: Snapshot, during_backup: bool
) -> list[tuple[Disk, Layer]]:
    if not during_backup and is_during_backup(engine, vm):
        raise conflict(f"{REMOVE}. The VM is during a backup operation.")
    refuse_busy_snapshots(REMOVE, vm)
    if snapshot.type != "regular":
        raise conflict(f"{REMOVE}. The operation is only allowed for regular snapshots.")
    if vm.status not in ("up", "down", "paused"):
        raise conflict(f"{REMOVE}. VM {vm.name} must be in status Down, Up or Paused.")
    pairs = []
    for disk_id, image_id in snapshot.images.items():
        disk = engine.world.disks.get(disk_id)
        layer = disk.layer(image_id) if disk else None
        if disk and layer and layer is not disk.active:
            pairs.append((disk, layer))
    touched = [d for d, layer in pairs if "locked" in (layer.status, _child(d, layer).status)]
    if touched:
        aliases = ", ".join(disk.alias for disk in touched)
        raise conflict(
            f"{REMOVE}: The following disks are locked: {aliases}. Please try again in a few minutes."
        )
    if vm.status != "down":
        plugged = {a.disk_id for a in vm.attachments if a.active}
        loose = [disk.alias for disk, _ in pairs if disk.id not in plugged]
        if loose:
            raise conflict(
                f"{REMOVE}. The following disks are either unplugged or unattached: \n {', '.join(loose)}"
            )
    for disk, _ in pairs:
        refuse_inactive_domain(REMOVE, engine.world.domains[disk.domain])
    return pairs


def is_during_backup(engine: EngineCore, vm: Vm) -> bool:
    over = ("succeeded", "failed")
    return any(b.vm_id == vm.id and b.phase not in over for b in engine.world.backups.values())


def _child(disk: Disk, layer: Layer) -> Layer:
    return disk.layers[disk.layers.index(layer) + 1]


def _absorb(vm: Vm, disk: Disk, layer: Layer) -> None:
    """After the merge: the layer stands where its child stood, with the child's size and owner."""
    child = _child(disk, layer)
    disk.layers.remove(child)
    layer.status = child.status
    layer.snapshot_id = child.snapshot_id
    layer.virtual_size = child.virtual_size
    for other in disk.layers:
        if other.parent == child.image_id:
            other.parent = layer.image_id
    for snapshot in vm.snapshots:
        if snapshot.images.get(disk.id) == child.image_id:
            snapshot.images[disk.id] = layer.image_id
            if snapshot.configuration:
                snapshot.configuration = snapshot.configuration.replace(child.image_id, layer.image_id)


def attachment(vm: Vm, disk_id: str) -> Attachment | None:
    return next((a for a in vm.attachments if a.disk_id == disk_id), None)
