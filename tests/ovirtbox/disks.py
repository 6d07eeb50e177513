"""Disks: added, changed, grown and removed by the engine's rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ovirtbox import jobs
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL, WARNING
from ovirtbox.faults import bad, conflict, internal
from ovirtbox.locks import DISK, VM, exclusive, shared
from ovirtbox.model import Disk, Job, Layer, StorageDomain, Vm, new_id
from ovirtbox.rights import owned_by_maker

GIB = 1 << 30
MAX_BLOCK_SIZE = 8192 * GIB
LONGEST_ALIAS = 255
LONGEST_DESCRIPTION = 4000
"""Longer ones fail in the database (seen with 5000)."""

ADD = "Cannot add Virtual Disk"
REMOVE = "Cannot remove Virtual Disk"
EDIT = "Cannot edit Virtual Disk"

VM_IS_LOCKED = "VM is locked. Please try again in a few minutes."


@dataclass
class NewDisk:
    """What a client asked for."""

    size: int
    format: str
    sparse: bool
    domain: StorageDomain
    id: str | None = None
    image_id: str | None = None
    alias: str | None = None
    description: str = ""
    initial_size: int | None = None
    backup: str = "none"
    content_type: str = "data"
    shareable: bool = False
    wipe_after_delete: bool = False
    propagate_errors: bool = False
    quota: str | None = None


# --- rules that others share -----------------------------------------------------------------------


def refuse_locked(action: str, disks: list[Disk]) -> None:
    locked = [disk.alias for disk in disks if disk.status == "locked"]
    if locked:
        aliases = ", ".join(locked)
        raise conflict(
            f"{action}: The following disks are locked: {aliases}. Please try again in a few minutes."
        )


def refuse_illegal(action: str, disks: list[Disk]) -> None:
    illegal = [disk.alias for disk in disks if disk.status == "illegal"]
    if illegal:
        # The engine has no client-side class for this message: it comes out as a server error.
        raise internal(
            f"[{action}. The following attached disks are in ILLEGAL status: {', '.join(illegal)}"
            " - please remove them and try again.]"
        )


def refuse_inactive_domain(action: str, domain: StorageDomain) -> None:
    if domain.status != "active":
        shown = domain.status.capitalize()
        raise conflict(f"{action}. The relevant Storage Domain's status is {shown}.")


def used(engine: EngineCore, domain: StorageDomain) -> int:
    """Bytes of a domain that are taken: on block by whole volumes, on file by what files hold."""
    layers = [layer for d in engine.world.disks.values() if d.domain == domain.id for layer in d.layers]
    if domain.kind == "block":
        return sum(layer.volume_size or engine.data.actual_size(layer) for layer in layers)
    return sum(engine.data.actual_size(layer) for layer in layers)


def available(engine: EngineCore, domain: StorageDomain) -> int:
    return 0 if domain.full else max(0, domain.capacity - used(engine, domain))


def refuse_full_domain(engine: EngineCore, action: str, domain: StorageDomain, needed: int) -> None:
    if domain.full or available(engine, domain) < max(needed, domain.reserve << 30):
        raise conflict(f"{action}. Low disk space on Storage Domain {domain.name}.")


def layer_path(domain: StorageDomain, disk_id: str, image_id: str) -> Path:
    return domain.path / "images" / disk_id / image_id


# --- add -------------------------------------------------------------------------------------------


def add(engine: EngineCore, new: NewDisk, *, vm: Vm | None = None) -> Disk:
    """A locked disk that becomes ok, or vanishes if it cannot be made."""
    world = engine.world
    with world.lock:
        _check_new(engine, new)
        number = 1 + sum(1 for d in world.disks.values() if d.alias.startswith("disk_"))
        disk = Disk(
            id=new.id or new_id(),
            alias=new.alias or f"disk_{number}",
            domain=new.domain.id,
            virtual_size=new.size,
            format=new.format,
            sparse=new.sparse,
            description=new.description,
            backup=new.backup,
            content_type=new.content_type,
            shareable=new.shareable,
            wipe_after_delete=new.wipe_after_delete,
            propagate_errors=new.propagate_errors,
            quota=new.quota,
        )
        image_id = new.image_id or new_id()
        layer = Layer(
            image_id=image_id,
            disk_id=disk.id,
            format=new.format,
            sparse=new.sparse,
            virtual_size=new.size,
            path=layer_path(new.domain, disk.id, image_id),
            status="locked",
            created=engine.clock.now(),
            new=True,
            snapshot_id=vm.active_snapshot.id if vm else None,
        )
        disk.layers.append(layer)
        engine.locks.take(disk.id, ADD, exclusive(DISK, disk.id))
        world.disks[disk.id] = disk
        owned_by_maker(engine, disk.id)
        engine.log(2020, NORMAL, f"Add-Disk operation of '{disk.alias}' was initiated by {USER}.")
        job = jobs.start(engine, f"Creating Virtual Disk {disk.alias}")

    def make() -> None:
        engine.data.create_volume(layer, new.domain, parent=None, initial_size=new.initial_size)

    def done(error: Exception | None) -> None:
        engine.locks.drop(disk.id)
        jobs.finish(engine, job, error is None)
        if error is None:
            layer.status, layer.new = "ok", False
            text = f"The disk '{disk.alias}' was successfully added."
            engine.log(2021, NORMAL, text, disk_id=disk.id, correlation_id=job.correlation_id)
            return
        forget(engine, disk)
        text = "Add-Disk operation failed to complete."
        engine.log(2022, ERROR, text, correlation_id=job.correlation_id)

    engine.background(1, make, done)
    return disk


def _check_new(engine: EngineCore, new: NewDisk) -> None:
    if len(new.alias or "") > LONGEST_ALIAS or len(new.description) > LONGEST_DESCRIPTION:
        raise bad()
    if new.size == 0:
        raise bad(f"{ADD}. Disk's provisioned size has to be greater than 0.")
    refuse_inactive_domain(ADD, new.domain)
    if not _configuration_allowed(new):
        shape = f"{new.format.upper()} {'Sparse' if new.sparse else 'Preallocated'}"
        raise conflict(
            f"{ADD}. Disk configuration ({shape} backup-{new.backup.capitalize()}) is incompatible with"
            " the storage domain type."
        )
    refuse_full_domain(engine, ADD, new.domain, _needed(new))
    if new.domain.kind == "block" and new.size > MAX_BLOCK_SIZE:
        raise bad(f"Cannot create disk more than {MAX_BLOCK_SIZE // GIB} GiB")
    if new.image_id and engine.world.layer(new.image_id):
        raise conflict(f"{ADD}. One of the Template Images already exists.")
    existing = engine.world.disks.get(new.id or "")
    if existing:
        raise conflict(
            f"{ADD}. The selected disk ID: {existing.id} is already used by the following"
            f" existing disk: {existing.alias}."
        )


def _configuration_allowed(new: NewDisk) -> bool:
    incremental = new.backup == "incremental"
    if new.format == "cow":
        return new.sparse or incremental
    return not incremental and not (new.sparse and new.domain.kind == "block")


def _needed(new: NewDisk) -> int:
    if not new.sparse:
        return new.size
    if new.domain.kind == "block":
        return max(new.initial_size or 0, min(GIB, new.size))
    return 0


# --- change ----------------------------------------------------------------------------------------


@dataclass
class Changes:
    """Fields of a disk to change; None leaves a field alone."""

    size: int | None = None
    alias: str | None = None
    description: str | None = None
    backup: str | None = None
    shareable: bool | None = None
    wipe_after_delete: bool | None = None
    propagate_errors: bool | None = None


def update(engine: EngineCore, disk: Disk, changes: Changes) -> None:
    """Plain fields change at once; a grown disk is locked until it has its new size."""
    world = engine.world
    with world.lock:
        vms = list(world.vms_of_disk(disk.id))
        if changes.alias is not None and not re.fullmatch(r"[\w.-]*", changes.alias):
            raise bad(
                'Disk alias name must be formed of alpha-numeric characters or "-_.",'
                " Attribute: diskInfo.diskAlias"
            )
        refuse_locked(EDIT, [disk])
        if engine.locks.held(DISK, disk.id) and f"edit {disk.id}" in {who for who, _ in engine.locks.all()}:
            raise conflict(
                f"{EDIT}: The following disks are locked: ${{diskAliases}}."
                " Please try again in a few minutes."
            )
        grow = changes.size is not None and changes.size != disk.virtual_size
        if grow and disk.storage_type == "image":
            assert changes.size is not None
            _check_growth(engine, disk, vms, changes.size)
        if changes.backup == "incremental" and disk.backup != "incremental" and disk.format == "raw":
            raise bad(f"{EDIT}. Incremental backup is not supported for RAW format disks.")
        wants = [shared(VM, vm.id, VM_IS_LOCKED) for vm in vms]
        engine.locks.take(f"edit {disk.id}", EDIT, exclusive(DISK, disk.id), *wants)
        for name in (
            "alias",
            "description",
            "backup",
            "shareable",
            "wipe_after_delete",
            "propagate_errors",
        ):
            value = getattr(changes, name)
            if value is not None:
                setattr(disk, name, value)
        for vm in vms:
            vm.generation += 1
        if not grow:  # the lock is let go of a moment after the answer
            engine.clock.after(1, lambda: engine.locks.drop(f"edit {disk.id}"))
            return
        assert changes.size is not None
        _grow(engine, disk, changes.size)


def _check_growth(engine: EngineCore, disk: Disk, vms: list[Vm], size: int) -> None:
    if size < disk.virtual_size:
        raise bad(f"{EDIT}. New disk size must be larger than the current disk size.")
    for vm in vms:
        if vm.status not in ("up", "down", "paused"):
            raise conflict(f"{EDIT} because the VM is in {status_text(vm)} status.")
    domain = engine.world.domains[disk.domain]
    refuse_inactive_domain(EDIT, domain)
    refuse_full_domain(engine, EDIT, domain, 0 if disk.active.sparse else size - disk.virtual_size)


def _grow(engine: EngineCore, disk: Disk, size: int) -> None:
    layer = disk.active
    layer.status = "locked"
    text = f"Extending disk '{disk.alias}' to {size // GIB} GB was initiated by {USER}."
    engine.log(1005, NORMAL, text, disk_id=disk.id)
    job = jobs.start(engine, f"Extending disk {disk.alias}")

    def done(error: Exception | None) -> None:
        engine.locks.drop(f"edit {disk.id}")
        jobs.finish(engine, job, error is None)
        layer.status = "ok"
        if error is None:
            layer.virtual_size = disk.virtual_size = size
            text = f"Size of the disk '{disk.alias}' was successfully updated to {size // GIB} GB by {USER}."
            engine.log(371, NORMAL, text, disk_id=disk.id)
        else:
            text = f"Failed to extend size of the disk '{disk.alias}' to {size // GIB} GB, User: {USER}."
            engine.log(370, ERROR, text, disk_id=disk.id)

    engine.background(1, lambda: engine.data.resize(disk, size), done)


# --- remove ----------------------------------------------------------------------------------------


def remove(engine: EngineCore, disk: Disk) -> Job:
    world = engine.world
    with world.lock:
        vms = list(world.vms_of_disk(disk.id))
        for vm in vms:
            plugged = any(a.disk_id == disk.id and a.active for a in vm.attachments)
            if plugged and vm.status != "down":
                raise conflict(f"{REMOVE}. At least one of the VMs is not down.")
        refuse_locked(REMOVE, [disk])
        for vm in vms:
            refuse_busy_snapshots(REMOVE, vm)
        if disk.is_template:
            raise conflict(f"{REMOVE}. The disk belongs to a template.")
        busy = f"Disk {disk.alias} is being removed."
        wants = [shared(VM, vm.id, VM_IS_LOCKED) for vm in vms]
        engine.locks.take(f"remove {disk.id}", REMOVE, exclusive(DISK, disk.id, busy), *wants)
        text = f"Removal of Disk {disk.alias} was initiated by {USER}."
        engine.log(2038, NORMAL, text, disk_id=disk.id)
        return destroy(engine, disk)


def refuse_busy_snapshots(action: str, vm: Vm) -> None:
    if any(snapshot.status == "locked" for snapshot in vm.snapshots):
        raise conflict(
            f"{action}. The VM is performing an operation on a Snapshot."
            " Please wait for the operation to finish, and try again."
        )
    if vm.preview:
        raise conflict(f"{action}. VM is previewing a Snapshot.")


def destroy(engine: EngineCore, disk: Disk) -> Job:
    """Remove a disk with all its layers, with no questions: also after an upload that failed."""
    with engine.world.lock:
        for layer in disk.layers:
            layer.status = "locked"
        job = jobs.start(engine, f"Removing Disk {disk.alias}")
    domain = engine.world.domains[disk.domain]

    def done(error: Exception | None) -> None:
        engine.locks.drop(f"remove {disk.id}")
        jobs.finish(engine, job, error is None)
        if error is None:
            forget(engine, disk)
            text = f"Disk {disk.alias} was successfully removed from domain {domain.name} (User {USER})."
            engine.log(2014, NORMAL, text)
        else:
            for layer in disk.layers:
                layer.status = "illegal"
            text = f"Failed to remove disk {disk.alias} from storage domain {domain.name} (User: {USER})."
            engine.log(2015, WARNING, text)

    slow = (lambda: None) if not disk.layers else (lambda: engine.data.remove_disk(disk, domain))
    engine.background(1, slow, done)
    return job


def forget(engine: EngineCore, disk: Disk) -> None:
    """Strike a disk from the world: from its VMs, their snapshots and the list of disks."""
    world = engine.world
    with world.lock:
        for vm in list(world.vms_of_disk(disk.id)):
            vm.attachments = [a for a in vm.attachments if a.disk_id != disk.id]
            vm.generation += 1
            for snapshot in vm.snapshots:
                snapshot.images.pop(disk.id, None)
            for call in engine.on_disk_detached:
                call(vm, disk)
        world.disks.pop(disk.id, None)


_STATUS_TEXTS = {
    "wait_for_launch": "Wait for Launch",
    "reboot_in_progress": "Reboot in Progress",
    "not_responding": "Not Responding",
}


def status_text(vm: Vm) -> str:
    """A VM status as the engine's messages spell it."""
    return _STATUS_TEXTS.get(vm.status, vm.status.replace("_", " ").title())
