"""/disks: floating and attached disks alike."""

from __future__ import annotations

from flask import Blueprint, Response

from ovirtbox import disks as rules
from ovirtbox import machines, moving, rights
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import Fault, bad, broken, incomplete
from ovirtbox.model import Disk, StorageDomain
from ovirtbox.rest.lists import by_id, by_reference, find_rows, wants_all_content
from ovirtbox.rest.views import disk_element
from ovirtbox.search import Fields
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    boolean,
    choice,
    element,
    find,
    guid_text,
    integer,
    parse_body,
    ref_id,
    reply,
    text,
)

blueprint = Blueprint("disks", __name__, url_prefix=API)


def backup_mode(engine: EngineCore, disk: Disk) -> str | None:
    """`full` or `incremental` while a backup of the disk is under way; after a hybrid one until the next."""
    for backup in reversed(engine.world.backups.values()):
        going_on = backup.phase in ("initializing", "starting", "ready")
        if disk.id in backup.modes and (going_on or backup.kind == "hybrid"):
            return backup.modes[disk.id]
    return None


def show(engine: EngineCore, disk: Disk, *, with_vms: bool = False) -> Element:
    return disk_element(engine, disk, backup_mode=backup_mode(engine, disk), with_vms=with_vms)


def _fields() -> Fields[Disk]:
    world = core().world
    return Fields(
        {
            "alias": lambda d: [d.alias],
            "name": lambda d: [d.alias],
            "id": lambda d: [d.id],
            "description": lambda d: [d.description],
            "status": lambda d: [d.status],
            "disk_type": lambda d: [d.storage_type],
            "disk_content_type": lambda d: [d.content_type],
            "number_of_vms": lambda d: [sum(1 for _ in world.vms_of_disk(d.id))],
            "vm_names": lambda d: [vm.name for vm in world.vms_of_disk(d.id)],
            "provisioned_size": lambda d: [d.virtual_size >> 30],
        },
        text=("alias", "description", "vm_names"),
        cross={
            "vms.name": lambda _: [],
            "storage.name": lambda d: [world.domains[d.domain].name] if d.domain else [],
            "storage": lambda d: [world.domains[d.domain].name] if d.domain else [],
        },
    )


def new_disk(engine: EngineCore, body: Element, *, chosen_ids: bool) -> rules.NewDisk:
    """Read a `<disk>` that is to be made."""
    size = integer(body, "provisioned_size")
    shape = choice(body, "format", ("cow", "raw"))
    missing = [name for name, value in (("provisionedSize", size), ("format", shape)) if value is None]
    if missing:
        raise incomplete("Disk", ", ".join(missing))
    assert size is not None
    assert shape is not None
    domain = by_reference(engine.world.domains, body, "storage_domains/storage_domain", "StorageDomain")
    if domain is None:
        domain = by_reference(engine.world.domains, body, "storage_domain", "StorageDomain")
    if domain is None:
        raise broken()
    sparse = boolean(body, "sparse", True)
    quota = ref_id(body, "quota")
    if quota and quota not in core().world.beside.quotas:
        raise bad("Quota doesn't exist.")
    return rules.NewDisk(
        size=size,
        format=shape,
        sparse=bool(sparse),
        domain=domain,
        id=ref_id(body, ".") if chosen_ids else None,
        image_id=guid_text(body, "image_id"),
        alias=text(body, "alias") or text(body, "name"),
        description=text(body, "description") or "",
        initial_size=integer(body, "initial_size"),
        backup=choice(body, "backup", ("none", "incremental")) or "none",
        content_type=choice(body, "content_type", ("data", "iso")) or "data",
        shareable=bool(boolean(body, "shareable", False)),
        wipe_after_delete=bool(boolean(body, "wipe_after_delete", False)),
        propagate_errors=bool(boolean(body, "propagate_errors", False)),
        quota=quota,
    )


def changes(body: Element) -> rules.Changes:
    return rules.Changes(
        size=integer(body, "provisioned_size"),
        alias=text(body, "alias") or text(body, "name"),
        description=text(body, "description"),
        backup=choice(body, "backup", ("none", "incremental")),
        shareable=boolean(body, "shareable"),
        wipe_after_delete=boolean(body, "wipe_after_delete"),
        propagate_errors=boolean(body, "propagate_errors"),
    )


@blueprint.get("/disks")
def list_disks() -> Response:
    engine = core()
    with engine.world.lock:
        rows = find_rows(rights.visible(engine, engine.world.disks.values()), _fields())
        return reply(element("disks", [show(engine, row) for row in rows]))


@blueprint.post("/disks")
def add_disk() -> Response:
    engine = core()
    body = parse_body("disk")
    if find(body, "lun_storage") is not None:
        raise Fault(400, "This box makes no direct LUN disks over the API", "Operation Failed")
    with engine.world.lock:
        disk = rules.add(engine, new_disk(engine, body, chosen_ids=True))
        return reply(show(engine, disk), 201)


@blueprint.get("/disks/<identifier>")
def get_disk(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        disk = by_id(engine.world.disks, identifier)
        return reply(show(engine, disk, with_vms=wants_all_content()))


@blueprint.put("/disks/<identifier>")
def put_disk(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        disk = by_id(engine.world.disks, identifier)
        rules.update(engine, disk, changes(parse_body("disk")))
        return reply(show(engine, disk))


@blueprint.delete("/disks/<identifier>")
def delete_disk(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        job = rules.remove(engine, by_id(engine.world.disks, identifier))
    return action_reply(job=job.id)


@blueprint.post("/disks/<identifier>/move")
def move_disk(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        disk = by_id(engine.world.disks, identifier)
        body = parse_body("action")
        target: StorageDomain | None = by_reference(
            engine.world.domains, body, "storage_domain", "StorageDomain"
        )
        if target is None:
            raise incomplete("Action", "storageDomain.id|name", "move")
        with machines.as_action():
            job = moving.move(engine, disk, target)
    return action_reply(job=job.id)
