"""/tags and the tags of a VM."""

from __future__ import annotations

import re

from flask import Blueprint, Response

from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import bad, conflict, incomplete
from ovirtbox.model import BLANK, Tag, new_id
from ovirtbox.rest.lists import by_id, by_reference
from ovirtbox.tagging import with_children
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    element,
    href,
    leaf,
    parse_body,
    path_id,
    ref,
    reply,
    text,
)

blueprint = Blueprint("tags", __name__, url_prefix=API)

ROOT = Tag(BLANK, "root", description="root")


def _tag(tag: Tag, *parent: str) -> Element:
    return element(
        "tag",
        leaf("name", tag.name),
        leaf("description", tag.description),
        None if tag is ROOT else ref("parent", tag.parent or BLANK, "tags"),
        id=tag.id,
        href=href(*parent, "tags", tag.id),
    )


@blueprint.get("/tags")
def list_tags() -> Response:
    world = core().world
    with world.lock:
        return reply(element("tags", [_tag(tag) for tag in (ROOT, *world.tags.values())]))


@blueprint.post("/tags")
def add_tag() -> Response:
    world = core().world
    body = parse_body("tag")
    name = text(body, "name")
    if not name:
        raise incomplete("Tag", "name")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,50}", name):
        raise bad(
            "Invalid tag name. Only letters, numbers, '-', and '_' are valid characters.",
            "Attribute: _tag.name",
        )
    with world.lock:
        if any(tag.name == name for tag in world.tags.values()):
            raise conflict("The specified Tag name already exists.")
        parent = by_reference({BLANK: ROOT, **world.tags}, body, "parent/tag", "Tag") or by_reference(
            {BLANK: ROOT, **world.tags}, body, "parent", "Tag"
        )
        above = None if parent is None or parent is ROOT else parent.id
        tag = Tag(new_id(), name, above, text(body, "description") or "")
        world.tags[tag.id] = tag
        return reply(_tag(tag), 201)


@blueprint.get("/tags/<identifier>")
def get_tag(identifier: str) -> Response:
    return reply(_tag(by_id({BLANK: ROOT, **core().world.tags}, identifier)))


@blueprint.delete("/tags/<identifier>")
def delete_tag(identifier: str) -> Response:
    world = core().world
    with world.lock:
        tag = by_id(world.tags, identifier)
        gone = with_children(world, tag.name)
        for other in [t for t in world.tags.values() if t.name in gone]:
            del world.tags[other.id]
        for vm in world.vms.values():
            vm.tags = [name for name in vm.tags if name not in gone]
    return action_reply()


def _tags_of(engine: EngineCore, vm_id: str) -> list[Tag]:
    """Of an unknown VM: none."""
    vm = engine.world.vms.get(path_id(vm_id))
    return [] if vm is None else [tag for tag in engine.world.tags.values() if tag.name in vm.tags]


@blueprint.get("/vms/<vm_id>/tags")
def list_vm_tags(vm_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        return reply(element("tags", [_tag(tag, "vms", vm_id) for tag in _tags_of(engine, vm_id)]))


@blueprint.post("/vms/<vm_id>/tags")
def assign_tag(vm_id: str) -> Response:
    engine = core()
    body = parse_body("tag")
    with engine.world.lock:
        vm = engine.world.vms.get(path_id(vm_id))
        if vm is None:
            raise bad("Internal Engine Error")
        identifier, name = body.get("id"), text(body, "name")
        if not identifier and not name:
            raise incomplete("Tag", "id|name")
        tag = engine.world.tags.get(identifier or "") or next(
            (t for t in engine.world.tags.values() if t.name == name), None
        )
        if tag is None:
            raise bad("Internal Engine Error")
        if tag.name not in vm.tags:
            vm.tags.append(tag.name)
        return reply(_tag(tag, "vms", vm_id), 201)


@blueprint.get("/vms/<vm_id>/tags/<identifier>")
def get_vm_tag(vm_id: str, identifier: str) -> Response:
    tags = {tag.id: tag for tag in _tags_of(core(), vm_id)}
    return reply(_tag(by_id(tags, identifier), "vms", vm_id))


@blueprint.delete("/vms/<vm_id>/tags/<identifier>")
def unassign_tag(vm_id: str, identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        tag = by_id({t.id: t for t in _tags_of(engine, vm_id)}, identifier)
        engine.world.vms[path_id(vm_id)].tags.remove(tag.name)
    return action_reply()
