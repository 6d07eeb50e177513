"""Who may do what: permits, by roles, on the system, a data center, a cluster, a domain, a VM or a disk.

A command without its permit is 403, before anything else is looked at. Queries are free for users with an
administrative role; others see only what they have a role on, and some queries refuse them. Whoever makes a
disk or a VM owns it. Which permits the product needs was seen on 4.5.8; what else stands here is reasoned
(see CONFORMANCE.md).
"""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from flask import g, has_request_context, request

from ovirtbox.engine import EngineCore
from ovirtbox.faults import conflict, not_allowed, query_not_allowed
from ovirtbox.model import Grant, Role, User, new_id

T = TypeVar("T")
PROVIDER_ID = str(uuid.uuid5(uuid.NAMESPACE_OID, "internal-authz"))
Needed = Iterator[tuple[str, str | None]]
"""Permits, each with the object that it is needed on; None: the system."""

ADMINISTRATIVE_ONLY = {"backup_disk"}
FOR_BACKUPS = ("backup_disk", "edit_disk_properties", "manipulate_vm_snapshots", "configure_vm_storage")
"""On the data center (4.7 and chains: snapshots; freezing: storage of the VM)."""
FOR_BACKUPS_ON_SYSTEM = ("login", "create_disk", "inject_external_events")
FOR_RESTORES = ("create_vm",)
FOR_RESTORES_ON_SYSTEM = ("import_export_vm",)

FOR_RIGHTS = ("manipulate_users", "manipulate_roles", "manipulate_permissions")
"""Of administrators, who make others."""
OTHERS = (
    *("attach_disk", "edit_vm_properties", "delete_vm", "run_vm", "stop_vm", "shut_down_vm"),
    *("delete_disk", "configure_disk_storage", "tag_management"),
)
EVERY_PERMIT = tuple(
    sorted(
        {
            *(*FOR_BACKUPS, *FOR_BACKUPS_ON_SYSTEM, *FOR_RESTORES, *FOR_RESTORES_ON_SYSTEM),
            *(*FOR_RIGHTS, *OTHERS),
        }
    )
)
"""All that anything here asks for; the engine has many more."""


def permit_id(name: str) -> str:
    """A number, as the engine's."""
    return str(EVERY_PERMIT.index(name) + 1)


def permission_id(user: User, grant: Grant) -> str:
    return str(uuid.uuid5(uuid.UUID(user.id), f"{grant.role} {grant.on}"))


def make_role(name: str, permits: Iterable[str], *, administrative: bool = True) -> Role:
    held = frozenset(permits)
    if not administrative and held & ADMINISTRATIVE_ONLY:
        raise conflict("Cannot add administrator's action group to a User Role.")
    return Role(new_id(), name, held, administrative)


# --- asking ----------------------------------------------------------------------------------------


def is_administrator(engine: EngineCore, user: User) -> bool:
    return user.everything or any(engine.roles[grant.role].administrative for grant in user.grants)


def may_log_in(engine: EngineCore, user: User) -> bool:
    return user.everything or any("login" in engine.roles[grant.role].permits for grant in user.grants)


def may(engine: EngineCore, user: User, permit: str, on: str | None) -> bool:
    if user.everything:
        return True
    places = {None, *_above(engine, on)}
    if any(engine.owners.get(place or "") == user.name for place in places):
        return True
    return any(permit in engine.roles[grant.role].permits for grant in user.grants if grant.on in places)


def _above(engine: EngineCore, identifier: str | None) -> set[str]:
    """An object and all that it lies in."""
    world = engine.world
    if identifier is None:
        return set()
    found = {identifier}
    vm, disk = world.vms.get(identifier), world.disks.get(identifier)
    if vm is not None:
        found |= _above(engine, vm.cluster)
    elif disk is not None:
        found |= _above(engine, disk.domain)
        for user in world.vms_of_disk(disk.id):
            found |= _above(engine, user.id)
    elif identifier in world.clusters:
        found.add(world.clusters[identifier].data_center)
    elif identifier in world.domains:
        found.add(world.domains[identifier].data_center)
    return found


def owned_by_maker(engine: EngineCore, identifier: str) -> None:
    """Whoever asks for it now owns it."""
    if has_request_context() and "user" in g:
        engine.owners[identifier] = g.user.name


def visible(engine: EngineCore, rows: Iterable[T]) -> list[T]:
    """Of VMs or disks those that the user may know of."""
    user: User = g.user
    if is_administrator(engine, user):
        return list(rows)
    on = {grant.on for grant in user.grants}
    return [row for row in rows if on & {None, *_above(engine, row.id)}]  # type: ignore[attr-defined]


# --- what each request needs -----------------------------------------------------------------------


def check(engine: EngineCore) -> None:
    """Before a request is served: 403 for a command, 400 for a query."""
    user: User = g.user
    if user.everything:
        return
    endpoint = request.endpoint or ""
    if request.method == "GET":
        if endpoint.split(".")[0] in _ADMINISTRATIVE and not is_administrator(engine, user):
            raise query_not_allowed()
        return
    rule = _RULES.get(endpoint)
    if rule is None:
        return
    with engine.world.lock:
        needed = list(rule(engine, dict(request.view_args or {}), _body()))
        if not all(may(engine, user, permit, on) for permit, on in needed):
            raise not_allowed()


def only_asks(engine: EngineCore) -> bool:
    """Whether a request can only be refused: with such a client proves its rights before it begins."""
    world = engine.world
    if request.endpoint == "transfers.act":
        return _id((request.view_args or {}).get("transfer_id")) not in world.transfers
    if request.endpoint == "transfers.add_transfer":
        backup = _body().find("backup")
        return backup is not None and _id(backup.get("id")) not in world.backups
    if request.endpoint == "vms.add_vm":
        return re.fullmatch(r"[\w.-]{1,255}", _body().findtext("name") or "") is None
    return False


_ADMINISTRATIVE = {"backups", "checkpoints", "tags", "transfers"}
"""Collections whose queries only an administrative role answers."""


def _body() -> ET.Element:
    try:
        return ET.fromstring(request.get_data())
    except ET.ParseError:
        return ET.Element("nothing")


def _id(value: object) -> str:
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return str(value)


Rule = Callable[[EngineCore, dict[str, object], ET.Element], Needed]


def _on_vm(permit: str, key: str = "identifier") -> Rule:
    def rule(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
        yield permit, _id(args[key])

    return rule


def _on_disk(permit: str, key: str = "identifier") -> Rule:
    return _on_vm(permit, key)


def _on_system(permit: str) -> Rule:
    def rule(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
        yield permit, None

    return rule


def _add_disk(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
    domain = body.find("storage_domains/storage_domain")
    yield "create_disk", _id(domain.get("id")) if domain is not None else None


def _add_vm(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
    cluster = body.find("cluster")
    yield "create_vm", _id(cluster.get("id")) if cluster is not None and cluster.get("id") else None
    if body.find("initialization/configuration") is not None:
        yield "import_export_vm", None


def _add_transfer(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
    """Of a layer: on its disk."""
    for tag in ("disk", "image"):
        if (found := body.find(tag)) is not None:
            yield "edit_disk_properties", _id(found.get("id"))
    if (found := body.find("snapshot")) is not None:
        layer = engine.world.layer(_id(found.get("id")))
        yield "edit_disk_properties", layer.disk_id if layer else None


def _add_backup(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
    for disk in body.iterfind("disks/disk"):
        yield "backup_disk", _id(disk.get("id"))
    vm = engine.world.vms.get(_id(args["vm_id"]))
    hybrid = vm is not None and engine.world.vm_level(vm) >= (4, 7)
    if vm is not None and hybrid and request.args.get("legacy") != "true":
        yield "manipulate_vm_snapshots", vm.id


def _of_backup(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
    backup = engine.world.backups.get(_id(args["backup_id"]))
    for disk in backup.disks if backup else ():
        yield "backup_disk", disk


def _attach(engine: EngineCore, args: dict[str, object], body: ET.Element) -> Needed:
    disk = body.find("disk")
    yield "configure_vm_storage", _id(args["vm_id"])
    if disk is not None and disk.get("id"):
        yield "attach_disk", _id(disk.get("id"))


_RULES: dict[str, Rule] = {
    "transfers.add_transfer": _add_transfer,
    "transfers.act": _on_system("create_disk"),
    "backups.add_backup": _add_backup,
    "backups.finalize_backup": _of_backup,
    "checkpoints.remove_checkpoint": _on_vm("backup_disk", "vm_id"),
    "snapshots.add_snapshot": _on_vm("manipulate_vm_snapshots", "vm_id"),
    "snapshots.delete_snapshot": _on_vm("manipulate_vm_snapshots", "vm_id"),
    "snapshots.restore_snapshot": _on_vm("manipulate_vm_snapshots", "vm_id"),
    "vms.freeze": _on_vm("configure_vm_storage"),
    "vms.thaw": _on_vm("configure_vm_storage"),
    "vms.add_vm": _add_vm,
    "vms.put_vm": _on_vm("edit_vm_properties"),
    "vms.delete_vm": _on_vm("delete_vm"),
    "vms.start_vm": _on_vm("run_vm"),
    "vms.stop_vm": _on_vm("stop_vm"),
    "vms.shutdown_vm": _on_vm("shut_down_vm"),
    "disks.add_disk": _add_disk,
    "disks.put_disk": _on_disk("edit_disk_properties"),
    "disks.delete_disk": _on_disk("delete_disk"),
    "disks.move_disk": _on_disk("configure_disk_storage"),
    "attachments.add_attachment": _attach,
    "attachments.put_attachment": _on_vm("configure_vm_storage", "vm_id"),
    "attachments.delete_attachment": _on_vm("configure_vm_storage", "vm_id"),
    "roles.add_user": _on_system("manipulate_users"),
    "roles.add_role": _on_system("manipulate_roles"),
    "roles.add_system_permission": _on_system("manipulate_permissions"),
    "roles.add_center_permission": _on_system("manipulate_permissions"),
    "events.add_event": _on_system("inject_external_events"),
    "tags.add_tag": _on_system("tag_management"),
    "tags.delete_tag": _on_system("tag_management"),
    "tags.assign_tag": _on_system("tag_management"),
    "tags.unassign_tag": _on_system("tag_management"),
}
