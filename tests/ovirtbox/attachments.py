"""Disk attachments: a disk joins a VM, is plugged or unplugged, and leaves it again."""

from __future__ import annotations

from ovirtbox.disks import VM_IS_LOCKED, refuse_inactive_domain, refuse_locked, status_text
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import NORMAL
from ovirtbox.faults import conflict, internal
from ovirtbox.locks import DISK, VM, exclusive, shared
from ovirtbox.model import Attachment, Disk, Vm

ATTACH = "Cannot attach Virtual Disk"
DETACH = "Cannot detach Virtual Disk"
PLUG = "Cannot activate Virtual Disk"
EDIT = "Cannot edit Virtual Disk"


def attach(engine: EngineCore, vm: Vm, wanted: Attachment, *, fresh: bool = False) -> None:
    """Attach a disk by the engine's rules; a running VM gets an active one plugged at once.

    `fresh`: the disk is just being made for this VM, and locked for that reason.
    """
    world = engine.world
    with world.lock:
        disk = world.disks.get(wanted.disk_id)
        if disk is None:
            raise conflict(f"{ATTACH}. The specified disk does not exist.")
        if not fresh:
            _check(engine, vm, disk, wanted)
            engine.locks.check(ATTACH, exclusive(DISK, disk.id))
        vm.attachments.append(wanted)
        vm.generation += 1
        if disk.layers and not disk.shareable:
            disk.active.snapshot_id = vm.active_snapshot.id
        if wanted.active and not fresh and engine.data.is_running(vm.id):
            try:
                engine.data.plug(vm.id, disk)
            except Exception:
                vm.attachments.remove(wanted)
                raise
        text = f"Disk {disk.alias} was successfully attached to VM {vm.name} by {USER}."
        engine.log(2016, NORMAL, text, vm_id=vm.id, disk_id=disk.id)


def _check(engine: EngineCore, vm: Vm, disk: Disk, wanted: Attachment) -> None:
    world = engine.world
    if disk.status == "illegal":
        raise internal(
            f"[{ATTACH}. Disk is in an illegal state. Disks in an illegal state can only be deleted.]"
        )
    refuse_locked(ATTACH, [disk])
    if vm.status not in ("up", "paused", "down"):
        raise conflict(f"{ATTACH} because the VM is in {status_text(vm)} status.")
    if wanted.bootable:
        for other in vm.attachments:
            if other.bootable:
                alias = world.disks[other.disk_id].alias
                raise conflict(f"{ATTACH}. Disk {alias} in VM {vm.name} is already marked as boot.")
    if any(a.disk_id == disk.id for a in vm.attachments):
        raise conflict(f"{ATTACH}. The disk is already attached to VM.")
    if not disk.shareable and next(world.vms_of_disk(disk.id), None) is not None:
        raise conflict(f"{ATTACH}. The disk is not shareable and is already attached to a VM.")
    if disk.is_template:
        raise conflict(f"{ATTACH}. The disk belongs to a template.")
    if disk.storage_type == "image":
        domain = world.domains[disk.domain]
        refuse_inactive_domain(ATTACH, domain)
        if domain.data_center != world.clusters[vm.cluster].data_center:
            raise conflict(f"{ATTACH}. The target Data Center does not contain the Virtual Disk.")
        if domain.backup and vm.status != "down":
            raise conflict(f"{ATTACH}. The disk is on a backup Storage Domain.")
        if domain.status != "active":
            raise conflict(f"{ATTACH}. The relevant Storage Domain's status is {domain.status.capitalize()}.")


def update(
    engine: EngineCore,
    vm: Vm,
    attachment: Attachment,
    *,
    active: bool | None = None,
    bootable: bool | None = None,
    interface: str | None = None,
    read_only: bool | None = None,
) -> None:
    with engine.world.lock:
        disk = engine.world.disks[attachment.disk_id]
        running = engine.data.is_running(vm.id)
        changes_shape = (interface not in (None, attachment.interface)) or (
            read_only not in (None, attachment.read_only)
        )
        if changes_shape and vm.status != "down":
            raise conflict(f"{EDIT}. At least one of the VMs is not down.")
        if active is not None and active != attachment.active:
            refuse_locked(PLUG if active else PLUG.replace("activate", "deactivate"), [disk])
            engine.locks.check(PLUG, shared(VM, vm.id, VM_IS_LOCKED), exclusive(DISK, disk.id))
            if running and active:
                engine.data.plug(vm.id, disk)
            elif running:
                engine.data.unplug(vm.id, disk.id)
            attachment.active = active
        if bootable is not None:
            attachment.bootable = bootable
        if interface is not None:
            attachment.interface = interface
        if read_only is not None:
            attachment.read_only = read_only
        vm.generation += 1


def detach(engine: EngineCore, vm: Vm, attachment: Attachment) -> None:
    with engine.world.lock:
        disk = engine.world.disks[attachment.disk_id]
        if vm.status not in ("up", "down"):
            raise conflict(f"{DETACH} because the VM is in {status_text(vm)} status.")
        if len(disk.layers) > 1:
            raise conflict(
                f"{DETACH}. The disk is already configured in a snapshot."
                " In order to detach it, remove the disk's snapshots."
            )
        refuse_locked(DETACH, [disk])
        engine.locks.check(DETACH, shared(VM, vm.id, VM_IS_LOCKED), exclusive(DISK, disk.id))
        if attachment.active and engine.data.is_running(vm.id):
            engine.data.unplug(vm.id, disk.id)
        vm.attachments.remove(attachment)
        vm.generation += 1
        if disk.layers and not disk.shareable:
            disk.active.snapshot_id = None
        for call in engine.on_disk_detached:
            call(vm, disk)
        text = f"Disk {disk.alias} was successfully detached from VM {vm.name} by {USER}."
        engine.log(2018, NORMAL, text, vm_id=vm.id, disk_id=disk.id)


def plug_when_ready(engine: EngineCore, vm: Vm, attachment: Attachment) -> None:
    """A disk made for a running VM is plugged once it exists."""

    def look() -> bool:
        with engine.world.lock:
            disk = engine.world.disks.get(attachment.disk_id)
            if disk is None:
                return False
            if disk.status == "locked":
                return True
            if attachment in vm.attachments and engine.data.is_running(vm.id):
                engine.data.plug(vm.id, disk)
                attachment.active = True
            return False

    engine.clock.every_tick(look)
