"""/vms/{id}/snapshots."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flask import Blueprint, Response

from ovirtbox import machines, restoring, snapshots
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import Fault, entity_not_found, incomplete
from ovirtbox.model import Disk, Layer, Snapshot, Vm
from ovirtbox.rest.lists import limit, wants_all_content
from ovirtbox.rest.views import disk_element, snapshot_element
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    boolean,
    element,
    find,
    guid,
    guid_text,
    href,
    integer,
    leaf,
    parse_body,
    ref,
    ref_id,
    reply,
    text,
)

blueprint = Blueprint("snapshots", __name__, url_prefix=API)


def _find(engine: EngineCore, vm_id: str, snapshot_id: str) -> tuple[Vm, Snapshot]:
    """Unknown: a 404 that has a body, unlike most."""
    identifier = guid(snapshot_id)
    vm = engine.world.vms.get(guid(vm_id))
    for snapshot in vm.snapshots if vm else []:
        if snapshot.id == identifier:
            assert vm is not None
            return vm, snapshot
    raise entity_not_found(f"GetSnapshotBySnapshotId: snapshot id={identifier}")


@blueprint.get("/vms/<vm_id>/snapshots")
def list_snapshots(vm_id: str) -> Response:
    engine = core()
    everything = wants_all_content()
    with engine.world.lock:
        vm = engine.world.vms.get(guid(vm_id))
        rows = sorted(vm.snapshots, key=lambda s: s.date) if vm else []
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
        raise incomplete("Snapshot", "description")
    with engine.world.lock:
        vm = engine.world.vms.get(guid(vm_id))
        if vm is None:
            raise entity_not_found(f"Vm: id={vm_id}")
        snapshot = snapshots.create(
            engine,
            vm,
            description,
            wanted=_wanted(body),
            memory=bool(boolean(body, "persist_memorystate", True)) and vm.status == "up",
        )
        return reply(snapshot_element(engine, vm, snapshot), 201)


def _wanted(body: Element) -> dict[str, snapshots.NewLayer] | None:
    """No list: all disks; an empty one: none."""
    attachments = find(body, "disk_attachments")
    if attachments is None:
        return None
    wanted: dict[str, snapshots.NewLayer] = {}
    for attachment in attachments.iterfind("disk_attachment"):
        disk_id = ref_id(attachment, "disk") or ref_id(attachment, ".")
        if disk_id is None:
            raise incomplete("DiskAttachment", "disk.id")
        if disk_id in wanted:
            raise Fault(500, f"Duplicate key {disk_id}")
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
        _, snapshot = _find(engine, vm_id, snapshot_id)
        rows = []
        if snapshot.type != "active":
            for disk_id, image_id in snapshot.images.items():
                disk = engine.world.disks.get(disk_id)
                rows.append(_disk(engine, disk, disk_id, image_id, snapshot))
        return reply(element("disks", rows))


@blueprint.get("/vms/<vm_id>/snapshots/<snapshot_id>/nics")
@blueprint.get("/vms/<vm_id>/snapshots/<snapshot_id>/cdroms")
def nothing_of_snapshot(vm_id: str, snapshot_id: str) -> Response:
    _find(core(), vm_id, snapshot_id)
    return reply(ET.Element("nics"))


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
            href=href("disks", disk_id),
        )
    shown = disk_element(engine, disk)
    frozen = {
        "image_id": layer.image_id,
        "actual_size": str(engine.data.actual_size(layer)),
        "provisioned_size": str(layer.virtual_size),
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
