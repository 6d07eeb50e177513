"""/vms/{id}/backups."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState

from ovirtbox import backups
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import entity_not_found, mandatory, not_found
from ovirtbox.model import Backup, Vm
from ovirtbox.rest.lists import by_id, limit
from ovirtbox.rest.views import disk_element
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    actions,
    attribute,
    element,
    find,
    guid,
    guid_text,
    href,
    leaf,
    link,
    parse_body,
    path_id,
    query_flag,
    ref,
    ref_id,
    reply,
    text,
)

blueprint = Blueprint("backups", __name__, url_prefix=API)


@blueprint.record_once
def _install(state: BlueprintSetupState) -> None:
    backups.install(state.app.config["engine"])


def _find(engine: EngineCore, vm_id: str, backup_id: str) -> tuple[Vm, Backup]:
    vm = by_id(engine.world.vms, vm_id)
    backup = by_id(engine.world.backups, backup_id)
    if backup.vm_id != vm.id:
        raise not_found()
    return vm, backup


@blueprint.get("/vms/<vm_id>/backups")
def list_backups(vm_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        rows = backups.of_vm(engine, path_id(vm_id))[: limit()]
        return reply(element("backups", [_element(row) for row in rows]))


@blueprint.get("/vms/<vm_id>/backups/<backup_id>")
def get_backup(vm_id: str, backup_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        _, backup = _find(engine, vm_id, backup_id)
        return reply(_element(backup))


@blueprint.post("/vms/<vm_id>/backups")
def add_backup(vm_id: str) -> Response:
    engine = core()
    body = parse_body("backup")
    with engine.world.lock:
        vm = engine.world.vms.get(path_id(vm_id))
    if vm is None:
        raise entity_not_found(path_id(vm_id))
    backup = backups.start(engine, vm, _wanted(body))
    with engine.world.lock:
        return reply(_element(backup, fresh=True), 201)


def _wanted(body: Element) -> backups.Wanted:
    listed = find(body, "disks")
    if listed is None or find(listed, "disk") is None:
        raise mandatory("backup.disks")
    disk_ids = [disk_id for disk in listed.iterfind("disk") if (disk_id := ref_id(disk, "."))]
    own = attribute(body, ".")
    return backups.Wanted(
        disks=list(dict.fromkeys(disk_ids)),
        id=guid(own) if own else None,
        from_checkpoint=guid_text(body, "from_checkpoint_id"),
        description=text(body, "description") or "",
        legacy=query_flag("legacy"),
        require_consistency=query_flag("require_consistency"),
    )


@blueprint.post("/vms/<vm_id>/backups/<backup_id>/finalize")
def finalize_backup(vm_id: str, backup_id: str) -> Response:
    engine = core()
    parse_body("action")
    with engine.world.lock:
        vm, backup = _find(engine, vm_id, backup_id)
        backups.finalize(engine, vm, backup)
    return action_reply()


@blueprint.get("/vms/<vm_id>/backups/<backup_id>/disks")
def backup_disks(vm_id: str, backup_id: str) -> Response:
    """Each with its mode; of a hybrid backup nothing is known before it is ready."""
    engine = core()
    with engine.world.lock:
        _, backup = _find(engine, vm_id, backup_id)
        known = backup.kind != "hybrid" or backup.phase not in ("initializing", "starting")
        rows = [engine.world.disks[d] for d in backup.disks if known and d in engine.world.disks]
        return reply(
            element(
                "disks", [disk_element(engine, disk, backup_mode=backup.modes.get(disk.id)) for disk in rows]
            )
        )


def _first_phase(backup: Backup) -> str:
    """Of a hybrid backup the snapshot is made already when its POST is answered."""
    return "starting" if backup.kind == "hybrid" else "initializing"


def _element(backup: Backup, *, fresh: bool = False) -> Element:
    path = ("vms", backup.vm_id, "backups", backup.id)
    return element(
        "backup",
        actions(("finalize",), *path),
        leaf("creation_date", backup.created),
        leaf("description", backup.description or None),
        leaf("from_checkpoint_id", backup.from_checkpoint),
        leaf("modification_date", backup.modified),
        leaf("phase", _first_phase(backup) if fresh else backup.phase),
        None if fresh else leaf("to_checkpoint_id", backup.to_checkpoint),
        ref("host", backup.host, "hosts"),
        ref("snapshot", backup.snapshot_id),
        ref("vm", backup.vm_id, "vms"),
        link("disks", *path, "disks"),
        id=backup.id,
        href=href(*path),
    )
