"""/vms: listed, searched, made from an OVF or a template, changed, started, stopped, removed."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import tostring

from flask import Blueprint, Response

from ovirtbox import imports, machines, rights, tagging, templates
from ovirtbox.disks import VM_IS_LOCKED
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import bad, conflict, entity_not_found, incomplete
from ovirtbox.locks import VM, shared
from ovirtbox.model import BLANK, Cluster, Job, Nic, Vm
from ovirtbox.ovf import BIOS_TYPES
from ovirtbox.rest.lists import by_id, by_reference, find_rows, wants_all_content
from ovirtbox.rest.views import vm_element
from ovirtbox.search import Fields
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    attribute,
    boolean,
    choice,
    element,
    find,
    href,
    integer,
    leaf,
    parse_body,
    path_id,
    query_flag,
    ref,
    ref_id,
    reply,
    text,
)

blueprint = Blueprint("vms", __name__, url_prefix=API)

EDIT = "Cannot edit VM"


def _fields() -> Fields[Vm]:
    world = core().world

    def domains(vm: Vm) -> list[str]:
        disks = [world.disks[a.disk_id] for a in vm.attachments]
        return [world.domains[d.domain].name for d in disks if d.domain in world.domains]

    def center(vm: Vm) -> list[str]:
        return [world.data_centers[world.clusters[vm.cluster].data_center].name]

    return Fields(
        {
            "name": lambda vm: [vm.name],
            "id": lambda vm: [vm.id],
            "status": lambda vm: [vm.status.replace("_", "")],
            "description": lambda vm: [vm.description],
            "comment": lambda _: [""],
            "type": lambda _: ["server"],
            "os": lambda _: ["rhel_8x64"],
            "tag": lambda vm: tagging.searched_as(world, vm),
            "cluster": lambda vm: [world.clusters[vm.cluster].name],
            "datacenter": center,
        },
        text=("name", "description", "cluster", "datacenter"),
        cross={
            "storage.name": domains,
            "storage": domains,
            "cluster.name": lambda vm: [world.clusters[vm.cluster].name],
            "datacenter.name": center,
            "host": lambda vm: [world.hosts[vm.host].name] if vm.host else [],
            "hosts.name": lambda vm: [world.hosts[vm.host].name] if vm.host else [],
        },
        sensitive=frozenset({"tag"}),
        ids=frozenset({"id"}),
    )


# --- read ------------------------------------------------------------------------------------------


@blueprint.get("/vms")
def list_vms() -> Response:
    engine = core()
    with engine.world.lock:
        rows = find_rows(rights.visible(engine, engine.world.vms.values()), _fields())
        everything = wants_all_content()
        return reply(element("vms", [vm_element(engine, vm, all_content=everything) for vm in rows]))


@blueprint.get("/vms/<identifier>")
def get_vm(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm = by_id(engine.world.vms, identifier)
        return reply(vm_element(engine, vm, all_content=wants_all_content()))


@blueprint.get("/vms/<identifier>/nics")
def list_nics(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm = engine.world.vms.get(path_id(identifier))
        return reply(element("nics", [_nic(vm, nic) for nic in vm.nics] if vm else None))


@blueprint.get("/vms/<identifier>/nics/<nic_id>")
def get_nic(identifier: str, nic_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm = by_id(engine.world.vms, identifier)
        return reply(_nic(vm, by_id({nic.id: nic for nic in vm.nics}, nic_id)))


def _nic(vm: Vm, nic: Nic) -> Element:
    return element(
        "nic",
        leaf("name", nic.name),
        leaf("interface", "virtio"),
        leaf("linked", nic.linked),
        leaf("plugged", nic.plugged),
        element("mac", leaf("address", nic.mac)),
        ref("vnic_profile", _profile_id(nic), "vnicprofiles"),
        ref("vm", vm.id, "vms"),
        id=nic.id,
        href=href("vms", vm.id, "nics", nic.id),
    )


def _profile_id(nic: Nic) -> str | None:
    profiles = core().world.profiles.values()
    return next((p.id for p in profiles if (p.name, p.network) == (nic.profile, nic.network)), None)


@blueprint.get("/vms/<identifier>/reporteddevices")
def reported_devices(identifier: str) -> Response:
    """What a guest agent tells of its network: nothing here."""
    path_id(identifier)
    return reply(element("reported_devices"))


# --- make ------------------------------------------------------------------------------------------


@blueprint.post("/vms")
def add_vm() -> Response:
    engine = core()
    body = parse_body("vm")
    with engine.world.lock:
        if find(body, "initialization/configuration") is not None:
            vm = _import(engine, body)
        else:
            vm = _create(engine, body)
        return reply(vm_element(engine, vm), 201)


def _import(engine: EngineCore, body: Element) -> Vm:
    kind = text(body, "initialization/configuration/type")
    data = text(body, "initialization/configuration/data")
    missing = [name for name, value in (("type", kind), ("data", data)) if not value]
    if missing:
        wanted = ", ".join(f"initialization.configuration.{name}" for name in missing)
        raise incomplete("Vm", wanted)
    choice(body, "initialization/configuration/type", ("ovf", "ova"))
    if not (attribute(body, "cluster") or text(body, "cluster/name")):
        raise incomplete("Vm", "cluster.id|name")
    imports.parse(data or "")
    cluster = _cluster(engine, body)
    over = imports.Overrides(
        id=ref_id(body, "."),
        name=text(body, "name") or None,
        description=text(body, "description"),
        memory=integer(body, "memory"),
        cores=integer(body, "cpu/topology/cores"),
        bios_type=choice(body, "bios/type", BIOS_TYPES),
        delete_protected=boolean(body, "delete_protected"),
        level=_level(body),
    )
    regenerate = bool(boolean(body, "initialization/regenerate_ids", False))
    return imports.import_vm(engine, data or "", cluster, over, regenerate_ids=regenerate)


def _cluster(engine: EngineCore, body: Element) -> Cluster:
    cluster: Cluster | None = by_reference(engine.world.clusters, body, "cluster", "Cluster")
    if cluster is None:
        raise incomplete("Vm", "cluster.id|name")
    return cluster


def _level(body: Element) -> tuple[int, int] | None:
    major = integer(body, "custom_compatibility_version/major")
    minor = integer(body, "custom_compatibility_version/minor")
    return None if major is None or minor is None else (major, minor)


def _create(engine: EngineCore, body: Element) -> Vm:
    """A VM from a template (Blank: an empty one)."""
    name = text(body, "name")
    if not name:
        raise incomplete("Vm", "name")
    cluster = _cluster(engine, body)
    template_id = ref_id(body, "template") or _template_named(engine, text(body, "template/name"))
    if template_id is None:
        raise incomplete("Vm", "template.id|name")
    bios_type = choice(body, "bios/type", BIOS_TYPES)
    vm = templates.instantiate(
        engine,
        template_id,
        name,
        cluster,
        memory=integer(body, "memory") or 1 << 30,
        description=text(body, "description") or "",
    )
    vm.bios_type = bios_type or vm.bios_type
    return vm


def _template_named(engine: EngineCore, name: str | None) -> str | None:
    if name is None:
        return None
    if name == "Blank":
        return BLANK
    for template in engine.world.templates.values():
        if template.name == name:
            return template.id
    raise entity_not_found(name)


# --- change ----------------------------------------------------------------------------------------


@blueprint.put("/vms/<identifier>")
def put_vm(identifier: str) -> Response:
    engine = core()
    world = engine.world
    body = parse_body("vm")
    with world.lock:
        vm = by_id(world.vms, identifier)
        engine.locks.check(EDIT, shared(VM, vm.id, VM_IS_LOCKED))
        name = text(body, "name")
        if name and any(other.name == name and other is not vm for other in world.vms.values()):
            raise conflict(
                f"{EDIT}. The VM name is already in use, please choose a unique name and try again."
            )
        vm.name = name or vm.name
        description = text(body, "description")
        vm.description = vm.description if description is None else description
        vm.memory = integer(body, "memory") or vm.memory
        vm.cores = integer(body, "cpu/topology/cores") or vm.cores
        vm.bios_type = choice(body, "bios/type", BIOS_TYPES) or vm.bios_type
        protected = boolean(body, "delete_protected")
        vm.delete_protected = vm.delete_protected if protected is None else protected
        vm.level = _level(body) or vm.level
        _put_beside(engine, vm, body)
        vm.generation += 1
        return reply(vm_element(engine, vm))


def _put_beside(engine: EngineCore, vm: Vm, body: Element) -> None:
    beside = engine.world.beside.of(vm.id)
    quota, lease = attribute(body, "quota"), attribute(body, "lease/storage_domain")
    if quota and quota not in engine.world.beside.quotas:
        raise bad("Quota doesn't exist.")
    beside.quota = quota or beside.quota
    if lease:
        vm.properties["LeaseDomainId"] = lease
    init = find(body, "initialization")
    if init is not None:
        beside.initialization = tostring(init, "unicode")


@blueprint.delete("/vms/<identifier>")
def delete_vm(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        vm = by_id(engine.world.vms, identifier)
        job = machines.remove(engine, vm, detach_only=query_flag("detach_only"))
    return action_reply(job=job.id)


def _act(identifier: str, act: Callable[[EngineCore, Vm], Job | None]) -> Response:
    engine = core()
    parse_body("action")
    with engine.world.lock, machines.as_action():
        vm = by_id(engine.world.vms, identifier)
        job = act(engine, vm)
        body = vm_element(engine, vm) if job else None
    return action_reply(body, job=job.id if job else None)


@blueprint.post("/vms/<identifier>/start")
def start_vm(identifier: str) -> Response:
    return _act(identifier, machines.start)


@blueprint.post("/vms/<identifier>/stop")
def stop_vm(identifier: str) -> Response:
    force = boolean(parse_body("action"), "force", False) or query_flag("force")
    return _act(identifier, lambda engine, vm: machines.stop(engine, vm, force=bool(force)))


@blueprint.post("/vms/<identifier>/shutdown")
def shutdown_vm(identifier: str) -> Response:
    force = boolean(parse_body("action"), "force", False) or query_flag("force")
    return _act(identifier, lambda engine, vm: machines.stop(engine, vm, gently=True, force=bool(force)))


@blueprint.post("/vms/<identifier>/freezefilesystems")
def freeze(identifier: str) -> Response:
    return _act(identifier, machines.freeze)


@blueprint.post("/vms/<identifier>/thawfilesystems")
def thaw(identifier: str) -> Response:
    return _act(identifier, lambda engine, vm: machines.freeze(engine, vm, thaw=True))
