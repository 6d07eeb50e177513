"""/vms/{id}/checkpoints."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.blueprints import BlueprintSetupState

from ovirtbox import checkpoints
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import not_found
from ovirtbox.model import Checkpoint, Vm
from ovirtbox.rest.lists import by_id, limit
from ovirtbox.rest.views import disk_element
from ovirtbox.xml import API, Element, action_reply, element, href, leaf, link, path_id, ref, reply

blueprint = Blueprint("checkpoints", __name__, url_prefix=API)


@blueprint.record_once
def _install(state: BlueprintSetupState) -> None:
    checkpoints.install(state.app.config["engine"])


def _find(engine: EngineCore, vm_id: str, checkpoint_id: str) -> tuple[Vm, Checkpoint]:
    vm = by_id(engine.world.vms, vm_id)
    found = checkpoints.find(engine, vm.id, path_id(checkpoint_id))
    if found is None:
        raise not_found()
    return vm, found


@blueprint.get("/vms/<vm_id>/checkpoints")
def list_checkpoints(vm_id: str) -> Response:
    """Root to leaf."""
    engine = core()
    with engine.world.lock:
        rows = checkpoints.chain(engine, path_id(vm_id))[: limit()]
        return reply(element("checkpoints", [_element(row) for row in rows]))


@blueprint.get("/vms/<vm_id>/checkpoints/<checkpoint_id>")
def get_checkpoint(vm_id: str, checkpoint_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        _, found = _find(engine, vm_id, checkpoint_id)
        return reply(_element(found))


@blueprint.delete("/vms/<vm_id>/checkpoints/<checkpoint_id>")
def remove_checkpoint(vm_id: str, checkpoint_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm, found = _find(engine, vm_id, checkpoint_id)
        checkpoints.remove(engine, vm, found)
    return action_reply()


@blueprint.get("/vms/<vm_id>/checkpoints/<checkpoint_id>/disks")
def checkpoint_disks(vm_id: str, checkpoint_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        _, found = _find(engine, vm_id, checkpoint_id)
        rows = [engine.world.disks[d] for d in found.disks if d in engine.world.disks]
        return reply(element("disks", [disk_element(engine, disk) for disk in rows]))


def _element(checkpoint: Checkpoint) -> Element:
    path = ("vms", checkpoint.vm_id, "checkpoints", checkpoint.id)
    return element(
        "checkpoint",
        leaf("creation_date", checkpoint.created),
        leaf("description", checkpoint.description),
        leaf("parent_id", checkpoint.parent),
        leaf("state", checkpoint.state),
        ref("vm", checkpoint.vm_id, "vms"),
        link("disks", *path, "disks"),
        id=checkpoint.id,
        href=href(*path),
    )
