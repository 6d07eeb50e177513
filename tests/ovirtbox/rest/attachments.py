"""/vms/{id}/diskattachments."""

from __future__ import annotations

from flask import Blueprint, Response

from ovirtbox import attachments as rules
from ovirtbox import disks, snapshots
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import bad, broken, incomplete, not_found
from ovirtbox.model import Attachment, Vm
from ovirtbox.rest.disks import changes, new_disk
from ovirtbox.rest.lists import by_id, limit
from ovirtbox.rest.views import attachment_element
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    boolean,
    choice,
    element,
    find,
    parse_body,
    path_id,
    query_flag,
    ref_id,
    reply,
    text,
)

blueprint = Blueprint("attachments", __name__, url_prefix=API)

INTERFACES = ("ide", "sata", "virtio", "virtio_scsi", "spapr_vscsi")


@blueprint.get("/vms/<vm_id>/diskattachments")
def list_attachments(vm_id: str) -> Response:
    """Of an unknown VM: an empty list."""
    engine = core()
    with engine.world.lock:
        vm = engine.world.vms.get(path_id(vm_id))
        rows = [attachment_element(vm, a) for a in vm.attachments[: limit()]] if vm else []
        return reply(element("disk_attachments", rows))


def _find(engine: EngineCore, vm_id: str, disk_id: str) -> tuple[Vm, Attachment]:
    vm = by_id(engine.world.vms, vm_id)
    found = snapshots.attachment(vm, path_id(disk_id))
    if found is None:
        raise not_found()
    return vm, found


@blueprint.get("/vms/<vm_id>/diskattachments/<disk_id>")
def get_attachment(vm_id: str, disk_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        return reply(attachment_element(*_find(engine, vm_id, disk_id)))


def _wanted(body: Element, disk_id: str) -> Attachment:
    return Attachment(
        disk_id=disk_id,
        interface=choice(body, "interface", INTERFACES) or "virtio_scsi",
        active=bool(boolean(body, "active", False)),
        bootable=bool(boolean(body, "bootable", False)),
        read_only=bool(boolean(body, "read_only", False)),
        pass_discard=bool(boolean(body, "pass_discard", False)),
    )


@blueprint.post("/vms/<vm_id>/diskattachments")
def add_attachment(vm_id: str) -> Response:
    """With a disk id: attach that disk. Without one: make a disk for this VM."""
    engine = core()
    body = parse_body("disk_attachment")
    with engine.world.lock:
        vm = engine.world.vms.get(path_id(vm_id))
        if not len(body) and not body.get("id"):
            raise broken()
        if vm is None:
            raise bad(f"{rules.ATTACH}. VM is not found.")
        disk_id = ref_id(body, "disk") or ref_id(body, ".")
        if disk_id is not None:
            if text(body, "interface") is None:
                raise bad("Interface is required", "Attribute: diskVmElement.diskInterface")
            if disk_id not in engine.world.disks:
                raise bad(f"{rules.ATTACH}. The specified disk does not exist.")
            wanted = _wanted(body, disk_id)
            rules.attach(engine, vm, wanted)
        else:
            wanted = _create(engine, vm, body)
        return reply(attachment_element(vm, wanted), 201)


def _create(engine: EngineCore, vm: Vm, body: Element) -> Attachment:
    described = find(body, "disk")
    absent = [name for name in ("interface", "bootable") if text(body, name) is None]
    if described is None or absent:
        raise incomplete("DiskAttachment", ", ".join(absent) or "disk")
    new = new_disk(engine, described, chosen_ids=False)
    if not new.alias:
        new.alias = f"{vm.name}_Disk{len(vm.attachments) + 1}"
    active = boolean(body, "active", True)
    disk = disks.add(engine, new, vm=vm)
    wanted = _wanted(body, disk.id)
    wanted.active = bool(active) and vm.status == "down"
    rules.attach(engine, vm, wanted, fresh=True)
    if active and vm.status != "down":
        rules.plug_when_ready(engine, vm, wanted)
    return wanted


@blueprint.put("/vms/<vm_id>/diskattachments/<disk_id>")
def put_attachment(vm_id: str, disk_id: str) -> Response:
    engine = core()
    body = parse_body("disk_attachment")
    with engine.world.lock:
        vm, attachment = _find(engine, vm_id, disk_id)
        rules.update(
            engine,
            vm,
            attachment,
            active=boolean(body, "active"),
            bootable=boolean(body, "bootable"),
            interface=choice(body, "interface", INTERFACES),
            read_only=boolean(body, "read_only"),
        )
        described = find(body, "disk")
        if described is not None and len(described):
            disks.update(engine, engine.world.disks[attachment.disk_id], changes(described))
        return reply(attachment_element(vm, attachment))


@blueprint.delete("/vms/<vm_id>/diskattachments/<disk_id>")
def delete_attachment(vm_id: str, disk_id: str) -> Response:
    """The disk stays unless `detach_only=false`."""
    engine = core()
    with engine.world.lock:
        vm, attachment = _find(engine, vm_id, disk_id)
        if query_flag("detach_only", True):
            rules.detach(engine, vm, attachment)
            return action_reply()
        job = disks.remove(engine, engine.world.disks[attachment.disk_id])
    return action_reply(job=job.id)
