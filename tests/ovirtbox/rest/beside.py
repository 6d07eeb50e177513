"""What VMs have beside their OVF: labels, groups, quotas, permissions, NUMA nodes, CD."""

from __future__ import annotations

from flask import Blueprint, Response

from ovirtbox.beside import AffinityGroup, AffinityLabel, NumaNode, Permission, mac_text
from ovirtbox.engine import core
from ovirtbox.faults import bad, conflict, entity_not_found, incomplete
from ovirtbox.model import Vm
from ovirtbox.rest.lists import by_id
from ovirtbox.xml import (
    API,
    Element,
    attribute,
    element,
    find,
    href,
    integer,
    leaf,
    link,
    parse_body,
    path_id,
    ref,
    reply,
    text,
)

blueprint = Blueprint("beside", __name__, url_prefix=API)


# --- affinity --------------------------------------------------------------------------------------


def _label(label: AffinityLabel) -> Element:
    path = ("affinitylabels", label.id)
    return element("affinity_label", leaf("name", label.name), id=label.id, href=href(*path))


@blueprint.get("/affinitylabels")
def labels() -> Response:
    return reply(element("affinity_labels", [_label(row) for row in core().world.beside.labels.values()]))


@blueprint.get("/vms/<identifier>/affinitylabels")
def vm_labels(identifier: str) -> Response:
    vm_id = path_id(identifier)
    rows = [row for row in core().world.beside.labels.values() if vm_id in row.vms]
    return reply(element("affinity_labels", [_label(row) for row in rows]))


@blueprint.post("/vms/<identifier>/affinitylabels")
def assign_label(identifier: str) -> Response:
    body = parse_body("affinity_label")
    vm = by_id(core().world.vms, identifier)
    label = core().world.beside.labels.get(attribute(body, ".") or "")
    if label is None:
        raise bad("Cannot edit Affinity Label. The affinity label does not exist.")
    if vm.id not in label.vms:
        label.vms.append(vm.id)
    return reply(_label(label), 201)


def _group(group: AffinityGroup) -> Element:
    path = ("clusters", group.cluster, "affinitygroups", group.id)
    return element(
        "affinity_group",
        leaf("name", group.name),
        link("vms", *path, "vms"),
        ref("cluster", group.cluster, "clusters"),
        id=group.id,
        href=href(*path),
    )


@blueprint.get("/clusters/<identifier>/affinitygroups")
def groups(identifier: str) -> Response:
    cluster = by_id(core().world.clusters, identifier)
    rows = [row for row in core().world.beside.groups.values() if row.cluster == cluster.id]
    return reply(element("affinity_groups", [_group(row) for row in rows]))


@blueprint.get("/clusters/<identifier>/affinitygroups/<group_id>/vms")
def group_vms(identifier: str, group_id: str) -> Response:
    group = by_id(core().world.beside.groups, group_id)
    vms = [core().world.vms[vm] for vm in group.vms if vm in core().world.vms]
    return reply(element("vms", [_member(vm) for vm in vms]))


def _member(vm: Vm) -> Element:
    return element("vm", leaf("name", vm.name), id=vm.id, href=href("vms", vm.id))


@blueprint.post("/clusters/<identifier>/affinitygroups/<group_id>/vms")
def add_to_group(identifier: str, group_id: str) -> Response:
    """A VM of another cluster is refused."""
    group = by_id(core().world.beside.groups, group_id)
    vm = core().world.vms.get(attribute(parse_body("vm"), ".") or "")
    if vm is None or vm.cluster != group.cluster:
        raise bad("Cannot edit Affinity Group. The VM's cluster is not the affinity group's.")
    if vm.id in group.vms:
        raise conflict("Cannot edit Affinity Group. Duplicate VM.")
    group.vms.append(vm.id)
    return reply(_member(vm), 201)


# --- quotas, MAC pools -----------------------------------------------------------------------------


@blueprint.get("/datacenters/<identifier>/quotas")
def quotas(identifier: str) -> Response:
    rows = core().world.beside.quotas.values()
    return reply(
        element(
            "quotas",
            [
                element(
                    "quota",
                    leaf("name", row.name),
                    id=row.id,
                    href=href("datacenters", identifier, "quotas", row.id),
                )
                for row in rows
            ],
        )
    )


@blueprint.get("/macpools")
def mac_pools() -> Response:
    return reply(
        element(
            "mac_pools",
            [
                element(
                    "mac_pool",
                    leaf("name", pool.name),
                    leaf("allow_duplicates", pool.allow_duplicates),
                    element(
                        "ranges",
                        [
                            element(
                                "range",
                                leaf("from", mac_text(pool.first)),
                                leaf("to", mac_text(pool.last)),
                            )
                        ],
                    ),
                    id=pool.id,
                    href=href("macpools", pool.id),
                )
                for pool in core().world.beside.mac_pools.values()
            ],
        )
    )


# --- permissions of VMs ------------------------------------------------------------------------------


def _permission(vm_id: str, row: Permission) -> Element:
    return element(
        "permission",
        ref("role", row.role, "roles"),
        ref("user", row.user, "users"),
        ref("vm", vm_id, "vms"),
        id=row.id,
        href=href("vms", vm_id, "permissions", row.id),
    )


@blueprint.get("/vms/<identifier>/permissions")
def permissions(identifier: str) -> Response:
    vm_id = path_id(identifier)
    rows = core().world.beside.of(vm_id).permissions
    return reply(element("permissions", [_permission(vm_id, row) for row in rows]))


@blueprint.post("/vms/<identifier>/permissions")
def add_permission(identifier: str) -> Response:
    engine = core()
    body = parse_body("permission")
    vm = by_id(engine.world.vms, identifier)
    role, user = attribute(body, "role"), attribute(body, "user")
    if role is None or user is None:
        raise incomplete("Permission", "role.id, user.id")
    if role not in engine.roles:
        raise entity_not_found(role)
    if all(user != known.id for known in engine.users.values()):
        raise entity_not_found(user)
    row = Permission(user, role)
    held = engine.world.beside.of(vm.id).permissions
    if all((row.user, row.role) != (other.user, other.role) for other in held):
        held.append(row)
    return reply(_permission(vm.id, row), 201)


@blueprint.get("/disks/<identifier>/permissions")
def disk_permissions(identifier: str) -> Response:
    path_id(identifier)
    return reply(element("permissions"))


# --- NUMA, CD --------------------------------------------------------------------------------------


def _node(vm_id: str, node: NumaNode) -> Element:
    pins = [element("numa_node_pin", leaf("index", pin), leaf("pinned", True)) for pin in node.pins]
    return element(
        "vm_numa_node",
        element("cpu", element("cores", [element("core", leaf("index", core_)) for core_ in node.cores])),
        leaf("index", node.index),
        leaf("memory", node.memory),
        element("numa_node_pins", pins),
        leaf("numa_tune_mode", node.tune),
        id=node.id,
        href=href("vms", vm_id, "numanodes", node.id),
    )


@blueprint.get("/vms/<identifier>/numanodes")
def numa_nodes(identifier: str) -> Response:
    vm_id = path_id(identifier)
    return reply(element("vm_numa_nodes", [_node(vm_id, n) for n in core().world.beside.of(vm_id).numa]))


@blueprint.post("/vms/<identifier>/numanodes")
def add_numa_node(identifier: str) -> Response:
    body = parse_body("vm_numa_node")
    vm = by_id(core().world.vms, identifier)
    index, memory = integer(body, "index"), integer(body, "memory")
    if index is None or memory is None:
        raise incomplete("VirtualNumaNode", "index, memory")
    nodes = core().world.beside.of(vm.id).numa
    if any(node.index == index for node in nodes):
        raise bad(f"Cannot add NUMA nodes to VM. NUMA node with index {index} exists at least twice.")
    node = NumaNode(
        index,
        memory,
        [int(c.text or 0) for c in body.iterfind("cpu/cores/core/index")],
        [int(p.text or 0) for p in body.iterfind("numa_node_pins/numa_node_pin/index")],
        text(body, "numa_tune_mode"),
    )
    nodes.append(node)
    return reply(_node(vm.id, node), 201)


_DRIVE = "00000000-0000-0000-0000-000000000000"
"""The one CD drive of a VM."""


def _drive(vm_id: str, file: str | None) -> Element:
    held = element("file", id=file) if file else None
    return element(
        "cdrom", held, ref("vm", vm_id, "vms"), id=_DRIVE, href=href("vms", vm_id, "cdroms", _DRIVE)
    )


@blueprint.get("/vms/<identifier>/cdroms")
def cdroms(identifier: str) -> Response:
    vm = by_id(core().world.vms, identifier)
    return reply(element("cdroms", _drive(vm.id, core().world.beside.of(vm.id).cdrom)))


@blueprint.put("/vms/<identifier>/cdroms/<drive>")
def change_cd(identifier: str, drive: str) -> Response:
    body = parse_body("cdrom")
    vm = by_id(core().world.vms, identifier)
    file = attribute(body, "file") if find(body, "file") is not None else None
    core().world.beside.of(vm.id).cdrom = file or None
    return reply(_drive(vm.id, file))
