"""/vms/{id}/snapshots."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flask import Blueprint, Response

from ovirtbox import machines, restoring, snapshots
from ovirtbox.disks import GIB
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import Fault, bad, broken, entity_not_found, mandatory
from ovirtbox.model import Disk, Layer, Snapshot, Vm
from ovirtbox.rest.disksnapshots import unfinished_transfers
from ovirtbox.rest.lists import limit, wants_all_content
from ovirtbox.rest.views import disk_element, snapshot_element
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    boolean,
    element,
    find,
    guid_text,
    integer,
    leaf,
    parse_body,
    path_id,
    ref,
    ref_id,
    reply,
    text,
)

LONGEST = 4000
"""Of a description; what is longer breaks the engine (seen with 5000)."""

blueprint = Blueprint("snapshots", __name__, url_prefix=API)


def _find(engine: EngineCore, vm_id: str, snapshot_id: str) -> tuple[Vm, Snapshot]:
    """Unknown: a 404 that has a body, unlike most. The VM of the path is not looked at."""
    identifier = path_id(snapshot_id)
    path_id(vm_id)
    for vm in engine.world.vms.values():
        for snapshot in vm.snapshots:
            if snapshot.id == identifier:
                refuse_duplicate_rows(engine, vm)
                return vm, snapshot
    raise entity_not_found(f"GetSnapshotBySnapshotId: snapshot id={identifier}")


@blueprint.get("/vms/<vm_id>/snapshots")
def list_snapshots(vm_id: str) -> Response:
    engine = core()
    everything = wants_all_content()
    with engine.world.lock:
        vm = engine.world.vms.get(path_id(vm_id))
        if vm is not None:
            refuse_duplicate_rows(engine, vm)
        rows = sorted(vm.snapshots, key=lambda s: (s.type != "active", s.date)) if vm else []
        return reply(
            element(
                "snapshots",
                [
                    snapshot_element(engine, vm, row, all_content=everything)  # type: ignore[arg-type]
                    for row in rows[: limit()]
                ],
            )
        )


@blueprint.get("/vms/<vm_id>/snapshots/<snapshot_id>")
def get_snapshot(vm_id: str, snapshot_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm, snapshot = _find(engine, vm_id, snapshot_id)
        return reply(snapshot_element(engine, vm, snapshot, all_content=wants_all_content()))


@blueprint.post("/vms/<vm_id>/snapshots")
def add_snapshot(vm_id: str) -> Response:
    engine = core()
    body = parse_body("snapshot")
    description = text(body, "description")
    if description is None:
        raise mandatory("snapshot.description")
    if len(description) > LONGEST:
        raise broken()
    with engine.world.lock:
        vm = engine.world.vms.get(path_id(vm_id))
        if vm is None:
            raise bad(f"{snapshots.CREATE}. VM is not found.")
        snapshot = snapshots.create(
            engine,
            vm,
            description,
            wanted=_wanted(body),
            memory=bool(boolean(body, "persist_memorystate", True)) and vm.status == "up",
        )
        return reply(snapshot_element(engine, vm, snapshot, fresh=True), 201)


def _wanted(body: Element) -> dict[str, snapshots.NewLayer] | None:
    """No list: all disks; one attachment that says nothing: none. An empty list breaks the engine."""
    attachments = find(body, "disk_attachments")
    if attachments is None:
        return None
    listed = attachments.findall("disk_attachment")
    if not listed:
        raise broken()
    wanted: dict[str, snapshots.NewLayer] = {}
    for attachment in listed:
        disk_id = ref_id(attachment, "disk") or ref_id(attachment, ".")
        if disk_id is None:
            continue
        if disk_id in wanted:
            raise broken()
        wanted[disk_id] = snapshots.NewLayer(
            guid_text(attachment, "disk/image_id"), integer(attachment, "disk/initial_size")
        )
    return wanted


@blueprint.delete("/vms/<vm_id>/snapshots/<snapshot_id>")
def delete_snapshot(vm_id: str, snapshot_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm, snapshot = _find(engine, vm_id, snapshot_id)
        job = snapshots.remove(engine, vm, snapshot)
    return action_reply(job=job.id)


@blueprint.post("/vms/<vm_id>/snapshots/<snapshot_id>/restore")
def restore_snapshot(vm_id: str, snapshot_id: str) -> Response:
    engine = core()
    parse_body("action")
    with engine.world.lock, machines.as_action():
        vm, snapshot = _find(engine, vm_id, snapshot_id)
        job = restoring.restore(engine, vm, snapshot)
    return action_reply(job=job.id)


@blueprint.get("/vms/<vm_id>/snapshots/<snapshot_id>/disks")
def snapshot_disks(vm_id: str, snapshot_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm, snapshot = _find(engine, vm_id, snapshot_id)
        images = snapshot.images
        if snapshot.type == "active":
            disks = [engine.world.disks[a.disk_id] for a in vm.attachments]
            images = {disk.id: disk.active.image_id for disk in disks if snapshots.snapable(disk)}
        rows = [
            _disk(engine, engine.world.disks.get(disk_id), disk_id, image_id, snapshot)
            for disk_id, image_id in images.items()
        ]
        return reply(element("disks", rows))


@blueprint.get("/vms/<vm_id>/snapshots/<snapshot_id>/nics")
@blueprint.get("/vms/<vm_id>/snapshots/<snapshot_id>/cdroms")
def nothing_of_snapshot(vm_id: str, snapshot_id: str) -> Response:
    _find(core(), vm_id, snapshot_id)
    return reply(ET.Element("nics"))


def refuse_duplicate_rows(engine: EngineCore, vm: Vm) -> None:
    """With two unfinished transfers of one disk its images stand twice in the engine's view of them."""
    for attachment in vm.attachments:
        disk = engine.world.disks[attachment.disk_id]
        if unfinished_transfers(engine.world, disk.id) > 1:
            name = "org.ovirt.engine.core.common.businessentities.storage.diskimage"
            image = disk.active.image_id
            raise Fault(
                400, f"duplicate key {image} (attempted merging values {name}@1a2b3c4d and {name}@1a2b3c4d)"
            )


def whole_gib(size: int) -> int:
    """As the OVF keeps sizes: in GiB, rounded up."""
    return -(-size // GIB) * GIB


def _disk(engine: EngineCore, disk: Disk | None, disk_id: str, image_id: str, snapshot: Snapshot) -> Element:
    """A disk as the snapshot froze it; an image that is gone shows as illegal."""
    layer: Layer | None = disk.layer(image_id) if disk else None
    if disk is None or layer is None:
        return element(
            "disk",
            leaf("image_id", image_id),
            leaf("status", "illegal"),
            element("snapshot", id=snapshot.id),
            id=disk_id,
        )
    shown = disk_element(engine, disk)
    del shown.attrib["href"]
    frozen = {
        "image_id": layer.image_id,
        "actual_size": str(whole_gib(engine.data.actual_size(layer))),
        "provisioned_size": str(whole_gib(layer.virtual_size)),
        "format": layer.format,
        "sparse": "true" if layer.sparse else "false",
        "status": layer.status,
    }
    for name, value in frozen.items():
        found = shown.find(name)
        if found is not None:
            found.text = value
    parent = ref("snapshot", snapshot.id)
    if parent is not None:
        shown.append(parent)
    return shown
