"""Disk snapshots: the layers of a disk, through the disk or through its storage domain."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response

from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import Fault, not_found
from ovirtbox.model import Disk, Layer, World
from ovirtbox.rest.lists import limit
from ovirtbox.rest.views import disk_snapshot_element
from ovirtbox.xml import API, element, path_id, query_flag, reply

blueprint = Blueprint("disksnapshots", __name__, url_prefix=API)

Found = tuple[Disk, Layer]


def _layers(engine: EngineCore, disk: Disk) -> Iterator[Found]:
    """As the engine lists them: no order to rely on (here: newest first).

    Every row comes once for each unfinished transfer of the disk: the view joins them by the disk.
    """
    active, template = query_flag("include_active"), query_flag("include_template")
    times = max(1, unfinished_transfers(engine.world, disk.id))
    for layer in reversed(disk.layers):
        if layer is not disk.active or active:
            yield from [(disk, layer)] * times
    if template and disk.layers:
        yield from _template_layers(engine, disk)


def unfinished_transfers(world: World, disk_id: str) -> int:
    """How many transfers of any layer of a disk have not reached their last phase."""
    last = ("finished_success", "finished_failure")
    return sum(1 for t in world.transfers.values() if t.disk_id == disk_id and t.phase not in last)


def _template_layers(engine: EngineCore, disk: Disk) -> Iterator[Found]:
    below = disk.layers[0].parent
    for other in engine.world.disks.values():
        if below and other.id != disk.id and (found := other.layer(below)):
            yield other, found


@blueprint.get("/disks/<disk_id>/disksnapshots")
def of_disk(disk_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        disk = engine.world.disks.get(path_id(disk_id))
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
        found = _anywhere(engine, disk_id, image_id)
        if found is None:
            raise Fault(500, None)
        return reply(disk_snapshot_element(engine, *found, ("disks", disk_id)))


@blueprint.get("/storagedomains/<domain_id>/disksnapshots")
def of_domain(domain_id: str) -> Response:
    """Without the layers of floating disks: no VM snapshot knows them."""
    engine = core()
    identifier = path_id(domain_id)
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
        found = _anywhere(engine, domain_id, image_id)
        if found is None:
            raise not_found()
        return reply(disk_snapshot_element(engine, *found, ("storagedomains", domain_id)))


def _anywhere(engine: EngineCore, parent_id: str, image_id: str) -> Found | None:
    """A layer by its image id: which disk or domain the path names is not looked at."""
    path_id(parent_id)
    wanted = path_id(image_id)
    for disk in engine.world.disks.values():
        layer = disk.layer(wanted)
        if layer is not None:
            return disk, layer
    return None
