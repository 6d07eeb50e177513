"""A VM made from an OVF: its definition is read, its disks are attached if they can be."""

from __future__ import annotations

from dataclasses import dataclass

from ovirtbox import attachments
from ovirtbox.beside import MacPool, mac_text
from ovirtbox.engine import EngineCore
from ovirtbox.events import NORMAL, WARNING
from ovirtbox.faults import Fault, bad, conflict
from ovirtbox.locks import VM_NAME, exclusive
from ovirtbox.model import Attachment, Cluster, Nic, Profile, Snapshot, Vm, new_id
from ovirtbox.ovf_reader import BadOvf, OvfNic, OvfVm, read
from ovirtbox.rights import owned_by_maker

IMPORT = "Cannot import VM"
LONGEST_NAME = 255


@dataclass
class Overrides:
    """What the request says beside the OVF; it wins."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    memory: int | None = None
    cores: int | None = None
    bios_type: str | None = None
    delete_protected: bool | None = None
    level: tuple[int, int] | None = None


def import_vm(
    engine: EngineCore, text: str, cluster: Cluster, over: Overrides, *, regenerate_ids: bool = False
) -> Vm:
    """`text` is read before anything else is looked at; see `parse`."""
    ovf = parse(text)
    with engine.world.lock:
        name = over.name or ovf.name
        check_name(name)
        owner = f"import {new_id()}"
        busy = "The VM name is already in use, please choose a unique name and try again."
        engine.locks.take(owner, IMPORT, exclusive(VM_NAME, name, busy))
        try:
            vm = _define(engine, ovf, cluster, over, name, regenerate_ids)
            engine.world.vms[vm.id] = vm
            owned_by_maker(engine, vm.id)
            # The disks are attached to the id that the OVF has: after new ids, to a VM that is not there.
            target = engine.world.vms.get(ovf.id)
            failed = _attach_disks(engine, target, ovf)
        finally:
            engine.locks.drop(owner)
        _report(engine, vm, ovf.nics, failed)
        return vm


def parse(text: str) -> OvfVm:
    """An OVF as the engine reads it; its complaints come in lower case and without brackets."""
    try:
        return read(text)
    except (BadOvf, ValueError) as error:
        message = f"failed to parse a given ovf configuration {error}".replace("_", " ")
        raise Fault(400, message.lower()) from error


def check_name(name: str) -> None:
    """Before everything else."""
    if not 1 <= len(name) <= LONGEST_NAME:
        raise bad("size must be between 1 and 255", "Attribute: vm.vmStatic.name")
    if not all(sign.isalpha() or sign in "0123456789._-" for sign in name):
        raise bad(
            "Can not import VM. The given name contains special characters. Only lower-case and upper-case"
            " letters, numbers, '_', '-', '.' are allowed.",
            "Attribute: vm.vmStatic.name",
        )


def _define(
    engine: EngineCore, ovf: OvfVm, cluster: Cluster, over: Overrides, name: str, regenerate_ids: bool
) -> Vm:
    world = engine.world
    # Their addresses are looked at before id and name. [seen]
    nics = _nics(engine, ovf.nics, cluster, regenerate_ids, name)
    identifier = new_id() if regenerate_ids else (over.id or ovf.id)
    if identifier in world.vms:
        existing = world.vms[identifier].name
        raise conflict(
            "Import VM failed - VM ID already exists in the system."
            f" Please remove the VM ({existing}) from the system first"
        )
    if any(
        vm.name == name and world.clusters[vm.cluster].data_center == cluster.data_center
        for vm in world.vms.values()
    ):
        raise conflict(
            "Import VM failed - VM Name already exists in the Data Center."
            " Please rename the VM in the Data Center first"
        )
    if not ovf.os:
        raise bad(f"{IMPORT}. The selected VM has undefined architecture")
    now = engine.clock.now()
    return Vm(
        id=identifier,
        name=name,
        cluster=cluster.id,
        description=ovf.description if over.description is None else over.description,
        memory=over.memory or ovf.memory,
        cores=over.cores or ovf.cores,
        bios_type=over.bios_type or ovf.bios_type,
        tpm=ovf.tpm,
        properties=ovf.properties,
        devices=ovf.devices,
        level=over.level or ovf.level,
        delete_protected=ovf.delete_protected if over.delete_protected is None else over.delete_protected,
        created=now,
        nics=nics,
        snapshots=[Snapshot(new_id(), "Active VM", now, type="active")],
    )


def _nics(
    engine: EngineCore, nics: list[OvfNic], cluster: Cluster, regenerate: bool, vm_name: str
) -> list[Nic]:
    taken = _macs_of_pool(engine, cluster)
    pool = engine.world.beside.mac_pools.get(cluster.mac_pool or "")
    unique = pool is None or not pool.allow_duplicates
    clashes = [n for n in nics if unique and not regenerate and n.mac and n.mac.lower() in taken]
    if clashes:
        names = "\t" + ", ".join(nic.name for nic in clashes)
        raise conflict(
            "Cannot import Virtual Machine, because that action would create duplicates in target MAC pool,"
            " which are not allowed. Either allow duplicate MACs in MAC Pool, or allow reassignment of bad"
            f" MACs during import. Problematic NICs are {names}"
        )
    made = []
    for nic in nics:
        mac = free_mac(taken, pool) if regenerate or not nic.mac else nic.mac
        taken.add(mac.lower())
        profile = _profile(engine, nic, cluster)
        made.append(
            Nic(
                id=new_id() if regenerate else nic.id,
                name=nic.name,
                mac=mac,
                network=profile.network if profile else "",
                profile=profile.name if profile else "",
                plugged=nic.plugged and mac.lower() not in engine.world.given_macs,
                linked=nic.linked,
            )
        )
        if mac.lower() in engine.world.given_macs:
            text = (
                f"Network Interface {nic.name} has MAC address {mac} which is in use, therefore it is being"
                f" unplugged from VM {vm_name}."
            )
            engine.log(838, WARNING, text)
    return made


def _macs_of_pool(engine: EngineCore, cluster: Cluster) -> set[str]:
    """The addresses that VMs of all clusters with the same pool have."""
    clusters = engine.world.clusters
    sharing = {c.id for c in clusters.values() if c.mac_pool == cluster.mac_pool}
    vms = [vm for vm in engine.world.vms.values() if vm.cluster in sharing]
    return {nic.mac.lower() for vm in vms for nic in vm.nics}


def _profile(engine: EngineCore, nic: OvfNic, cluster: Cluster) -> Profile | None:
    """The profile of that name; else another one of its network, without a word; else none."""
    if cluster.networks is not None and nic.network not in cluster.networks:
        return None
    known = [p for p in engine.world.profiles.values() if p.network == nic.network]
    return next((p for p in known if p.name == nic.profile), known[0] if known else None)


def free_mac(taken: set[str], pool: MacPool | None = None) -> str:
    """The first address of the pool that nobody has. [read: ImportVmCommand asks for so many; its text]"""
    pool = pool or MacPool("any")
    for number in range(pool.first, pool.last + 1):
        mac = mac_text(number)
        if mac not in taken:
            return mac
    raise conflict(f"{IMPORT}. Not enough MAC addresses left in MAC Address Pool.")


def _attach_disks(engine: EngineCore, vm: Vm | None, ovf: OvfVm) -> list[str]:
    """The aliases of the disks that could not be attached: they do not fail the import."""
    failed = []
    for disk in ovf.disks:
        wanted = Attachment(
            disk_id=disk.id,
            interface=disk.interface,
            bootable=disk.bootable,
            read_only=disk.read_only,
            pass_discard=disk.pass_discard,
        )
        try:
            if vm is None:
                raise conflict(f"{attachments.ATTACH}. VM is not found.")
            attachments.attach(engine, vm, wanted)
        except Fault:
            failed.append(disk.alias or disk.id)
    return failed


def _report(engine: EngineCore, vm: Vm, wanted: list[OvfNic], failed: list[str]) -> None:
    named = {nic.name for nic in wanted if nic.network}
    unknown = [nic.name for nic in vm.nics if not nic.network and nic.name in named]
    if unknown:
        text = (
            f"While importing VM {vm.name}, the Network/s were found to be Non-VM Networks or do not exist in"
            " Cluster or are missing a suitable VM network interface profile."
            f" Network Name was not set in the Interface/s {', '.join(unknown)}."
        )
        engine.log(9600, WARNING, text, vm_id=vm.id)
    if failed:
        text = (
            f"VM {vm.name} has been imported from the given configuration but the following disk(s)"
            f" failed to attach: {', '.join(failed)}."
        )
        engine.log(175, WARNING, text, vm_id=vm.id)
    else:
        text = f"VM {vm.name} has been successfully imported from the given configuration."
        engine.log(174, NORMAL, text, vm_id=vm.id)
