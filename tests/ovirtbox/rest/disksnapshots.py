"""Disk snapshots: the layers of a disk, through the disk or through its storage domain."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response

from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import Fault, not_found
from ovirtbox.model import Disk, Layer
from ovirtbox.rest.lists import limit
from ovirtbox.rest.views import disk_snapshot_element
from ovirtbox.xml import API, element, guid, query_flag, reply

blueprint = Blueprint("disksnapshots", __name__, url_prefix=API)

Found = tuple[Disk, Layer]


def _layers(engine: EngineCore, disk: Disk) -> Iterator[Found]:
    """As the engine lists them: no order to rely on (here: newest first)."""
    active, template = query_flag("include_active"), query_flag("include_template")
    for layer in reversed(disk.layers):
        if layer is not disk.active or active:
            yield disk, layer
    if template and disk.layers:
        yield from _template_layers(engine, disk)


def _template_layers(engine: EngineCore, disk: Disk) -> Iterator[Found]:
    below = disk.layers[0].parent
    for other in engine.world.disks.values():
        if below and other.id != disk.id and (found := other.layer(below)):
            yield other, found


@blueprint.get("/disks/<disk_id>/disksnapshots")
def of_disk(disk_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        disk = engine.world.disks.get(guid(disk_id))
        rows = list(_layers(engine, disk)) if disk else []
        collection = ("disks", disk_id)
        return reply(
            element(
                "disk_snapshots",
                [disk_snapshot_element(engine, *row, collection) for row in rows[: limit()]],
            )
        )


@blueprint.get("/disks/<disk_id>/disksnapshots/<image_id>")
def one_of_disk(disk_id: str, image_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        disk = engine.world.disks.get(guid(disk_id))
        layer = disk.layer(guid(image_id)) if disk else None
        if disk is None or layer is None:
            raise Fault(500, "HTTP 500 Internal Server Error")
        return reply(disk_snapshot_element(engine, disk, layer, ("disks", disk_id)))


@blueprint.get("/storagedomains/<domain_id>/disksnapshots")
def of_domain(domain_id: str) -> Response:
    """Without the layers of floating disks: no VM snapshot knows them."""
    engine = core()
    identifier = guid(domain_id)
    with engine.world.lock:
        rows: list[Found] = []
        for disk in engine.world.disks.values():
            if disk.domain == identifier and not disk.is_template:
                rows += [row for row in _layers(engine, disk) if row[1].snapshot_id or row[0].is_template]
        collection = ("storagedomains", domain_id)
        return reply(
            element(
                "disk_snapshots",
                [disk_snapshot_element(engine, *row, collection) for row in rows[: limit()]],
            )
        )


@blueprint.get("/storagedomains/<domain_id>/disksnapshots/<image_id>")
def one_of_domain(domain_id: str, image_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        for disk in engine.world.disks.values():
            layer = disk.layer(guid(image_id))
            if layer is not None and disk.domain == guid(domain_id):
                return reply(disk_snapshot_element(engine, disk, layer, ("storagedomains", domain_id)))
    raise not_found()
