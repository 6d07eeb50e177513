"""Asking the engine about VMs: find them, list them, read their disks, snapshots and OVF."""

from __future__ import annotations

import logging
import re
import uuid
from datetime import datetime, timezone
from typing import Any

from borg_ovirt.errors import Timeout, VmNotFound, VmNotSuitable
from borg_ovirt.ovirt.facts.model import BLANK_TEMPLATE, DiskFacts, SnapshotFacts, VmFacts, VmSummary
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.session.sense import size, told

log = logging.getLogger(__name__)

__all__ = [
    "DiskFacts",
    "SnapshotFacts",
    "VmFacts",
    "VmSummary",
    "fetch_ovf",
    "find_vm",
    "list_vms",
    "look_up",
    "read_disk",
    "read_disks",
    "read_snapshots",
    "read_vm",
    "running_since",
    "vm_status",
]

_PAGE = 100


def find_vm(engine: Engine, name_or_id: str) -> VmFacts:
    """The one VM of exactly that name or id, with its disks and snapshots."""
    vm_id = name_or_id.lower() if _is_id(name_or_id) else look_up(engine, name_or_id).id
    try:
        return read_vm(engine, vm_id)
    except NotFound:
        raise _unknown(engine, vm_id) from None


def look_up(engine: Engine, name_or_id: str) -> VmSummary:
    """Which VM that is, in one request."""
    if _is_id(name_or_id):
        vm_id = name_or_id.lower()
        try:
            return _summary(
                engine.call(f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get())
            )
        except NotFound:
            raise _unknown(engine, vm_id) from None
    found = [vm for vm in _named(engine, name_or_id) if vm.name == name_or_id]
    if not found:
        raise VmNotFound(
            f"The engine at {engine.host} has no VM named {name_or_id}.",
            "Names are exact and case-sensitive; `borg-ovirt vms` lists them.",
        )
    if len(found) > 1:
        ids = ", ".join(vm.id for vm in found)
        raise VmNotFound(f"{len(found)} VMs are named {name_or_id}: {ids}.", "Name it by its id.")
    return _summary(found[0])


def _unknown(engine: Engine, vm_id: str) -> VmNotFound:
    return VmNotFound(f"The engine at {engine.host} has no VM with id {vm_id}.")


def _named(engine: Engine, name: str) -> list[Any]:
    """Candidates of that name. A search that the engine cannot parse gives an empty list, not an error."""
    what = f"look for the VM {name}"
    if re.fullmatch(r"[\w.-]+", name):
        search = f'name="{name}"'
        return list(
            engine.call(what, lambda s: s.vms_service().list(search=search, case_sensitive=True)) or ()
        )
    return list(engine.call(what, lambda s: s.vms_service().list()) or ())


def list_vms(engine: Engine, search: str | None = None) -> list[VmSummary]:
    """Every VM, or those that the engine's own search grammar selects, by name."""
    # Without the right to see tags, `follow` of them is a 500 like that of an engine that restarts.
    engine.call("list the tags", lambda s: s.tags_service().list())
    if not search:
        found = engine.call("list the VMs", lambda s: s.vms_service().list(follow="tags"))
        return sorted((_summary(vm) for vm in found or ()), key=lambda vm: (vm.name, vm.id))
    summaries: dict[str, VmSummary] = {}
    ordered = in_order(search)
    for page in range(1, 1_000_000) if ordered else ():
        found = _found(engine, f"{ordered} page {page}", _PAGE)
        fresh = [_summary(vm) for vm in found if vm.id not in summaries]
        summaries.update((vm.id, vm) for vm in fresh)
        if len(found) < _PAGE or not fresh:
            break
    if not summaries:  # an empty list may also mean that our words do not fit behind the user's
        summaries = {vm.id: _summary(vm) for vm in _found(engine, search, None)}
    return sorted(summaries.values(), key=lambda vm: (vm.name, vm.id))


def in_order(search: str) -> str | None:
    """A search to which `page N` can be appended; None where it has to be asked as it is.

    Pages need an order, and the engine understands `page` only at the very end and behind `sortby FIELD
    DIRECTION`; of anything else it makes an empty list (seen on 4.5.8).
    """
    words = re.sub(r'"[^"]*"', '""', search).lower()
    if re.search(r"\bpage\b", words):
        return None
    if "sortby" not in words:
        return f"{search} sortby name asc"
    ending = re.search(r"\bsortby\s+\S+(\s+(?:asc|desc))?\s*$", words)
    if ending is None:
        return None
    return search if ending[1] else f"{search} asc"


def _found(engine: Engine, search: str, most: int | None) -> list[Any]:
    return list(
        engine.call("list the VMs", lambda s: s.vms_service().list(search=search, max=most, follow="tags"))
        or ()
    )


def read_vm(engine: Engine, vm_id: str) -> VmFacts:
    """The facts of one VM; `NotFound` if there is none."""
    vm = engine.call(
        f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get(all_content=True)
    )
    cluster_id = told(vm.cluster, f"cluster of VM {vm.name}").id
    cluster = engine.call(
        f"read the cluster of {vm.name}",
        lambda s: s.clusters_service().cluster_service(cluster_id).get(),
    )
    level = vm.custom_compatibility_version or cluster.version
    return VmFacts(
        id=vm.id,
        name=vm.name,
        status=_text(vm.status) or "unknown",
        cluster_id=cluster.id,
        cluster_name=cluster.name or "",
        level=(level.major or 0, level.minor or 0) if level is not None else (0, 0),
        data_center_id=cluster.data_center.id if cluster.data_center else None,
        description=vm.description or "",
        host_id=vm.host.id if vm.host else None,
        origin=vm.origin or "",
        bios_type=_text(vm.bios.type) if vm.bios and vm.bios.type else "",
        has_tpm=bool(vm.tpm_enabled),
        template_id=vm.template.id if vm.template else BLANK_TEMPLATE,
        next_run=bool(vm.next_run_configuration_exists),
        quota=vm.quota.id if vm.quota else None,
        guest_agent=any((vm.guest_operating_system, vm.guest_time_zone, vm.fqdn)),  # it alone knows them
        tags=_tags(engine, vm_id),
        disks=read_disks(engine, vm_id),
        snapshots=read_snapshots(engine, vm_id),
    )


def vm_status(engine: Engine, vm_id: str) -> str:
    """The VM's status now."""
    vm = engine.call(f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get())
    return _text(vm.status) or "unknown"


def guest_agent(engine: Engine, vm_id: str) -> str | None:
    """What a guest agent told of the system it runs in; None as long as none spoke.

    The engine shows `fqdn` and `guest_operating_system` of VMs that run, where an agent reported them
    (VmMapper.java).
    """
    vm = engine.call(f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get())
    system = vm.guest_operating_system
    told = [vm.fqdn, system.distribution if system else None, system.codename if system else None]
    return " ".join(word for word in told if word) or ("a system" if system else None)


def running_since(engine: Engine, vm_id: str) -> datetime | None:
    """When the VM was started; None if it is down, the end of time where the engine does not tell."""
    vm = engine.call(f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get())
    if _text(vm.status) == "down":
        return None
    return utc(vm.start_time) if vm.start_time else datetime.max.replace(tzinfo=timezone.utc)


def _tags(engine: Engine, vm_id: str) -> tuple[str, ...]:
    tags = engine.call(
        f"read the tags of VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).tags_service().list()
    )
    return tuple(sorted(tag.name for tag in tags or () if tag.name))


def read_disks(engine: Engine, vm_id: str) -> tuple[DiskFacts, ...]:
    """The disks attached to a VM, the bootable one first."""
    attachments = engine.call(
        f"list the disks of VM {vm_id}",
        lambda s: s.vms_service().vm_service(vm_id).disk_attachments_service().list(),
    )
    disks = [_attached(read_disk_object(engine, told(a.disk, "disk").id), a) for a in attachments or ()]
    return tuple(sorted(disks, key=lambda d: (not d.bootable, d.alias, d.id)))


def read_disk(engine: Engine, disk_id: str) -> DiskFacts:
    """A disk by itself; `NotFound` if there is none."""
    return _attached(read_disk_object(engine, disk_id), None)


def read_disk_object(engine: Engine, disk_id: str) -> Any:
    return engine.call(f"read the disk {disk_id}", lambda s: s.disks_service().disk_service(disk_id).get())


def read_snapshots(engine: Engine, vm_id: str) -> tuple[SnapshotFacts, ...]:
    """The snapshots of a VM, oldest first, the active one among them."""
    snapshots = engine.call(
        f"list the snapshots of VM {vm_id}",
        lambda s: s.vms_service().vm_service(vm_id).snapshots_service().list(),
    )
    return tuple(_snapshot(s) for s in snapshots or ())


def fetch_ovf(engine: Engine, vm_id: str) -> bytes:
    """The VM's OVF as the engine writes it.

    The engine leaves it out without a word while a disk is locked (a snapshot is made or merged cold, a
    backup starts) or the VM changes under its hands: locks are waited for as everywhere, and told.
    """
    vm, data = _with_ovf(engine, vm_id)
    if data is not None:
        return data
    busy = _not_ok(engine, vm_id)
    log.warning("VM %s: the engine gives no OVF yet (%s); waiting", vm.name, busy or "the VM is changing")
    seconds = engine.patience.lock if busy else engine.patience.ovf
    try:
        return engine.patience.wait("", lambda: _with_ovf(engine, vm_id)[1], seconds)
    except Timeout:
        raise VmNotSuitable(
            f"The engine gives no OVF of VM {vm.name}: {_not_ok(engine, vm_id) or 'the VM is changing'}, for"
            f" {seconds:.0f} s now.",
            "Wait until nothing works on its disks.",
        ) from None


def _with_ovf(engine: Engine, vm_id: str) -> tuple[Any, bytes | None]:
    """The VM, and its OVF where the engine gives it."""
    vm = engine.call(
        f"fetch the OVF of VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get(all_content=True)
    )
    configuration = vm.initialization.configuration if vm.initialization else None
    data = configuration.data if configuration else None
    return vm, data.encode("utf-8") if data and data.strip() else None


def _not_ok(engine: Engine, vm_id: str) -> str:
    names = [
        f"{d.alias or d.id} is {d.status}" for d in read_disks(engine, vm_id) if d.status not in ("ok", None)
    ]
    return f"disk {', '.join(names)}" if names else ""


def _summary(vm: Any) -> VmSummary:
    tags = tuple(sorted(tag.name for tag in vm.tags or () if tag.name))
    return VmSummary(vm.id, vm.name, _text(vm.status) or "unknown", vm.cluster.id if vm.cluster else "", tags)


def _attached(disk: Any, attachment: Any) -> DiskFacts:
    domains = disk.storage_domains or ()
    at = attachment
    lun = disk.lun_storage is not None
    return DiskFacts(
        id=disk.id,
        alias=disk.alias or disk.name or "",
        size=size(disk.provisioned_size),
        format=_text(disk.format),
        sparse=bool(disk.sparse),
        storage_type=_text(disk.storage_type) or ("lun" if lun else "image"),
        description=disk.description or "",
        image_id=disk.image_id,
        actual_size=disk.actual_size,
        total_size=disk.total_size,
        storage_domain=next((domain.id for domain in domains), None),
        content_type=_text(disk.content_type) or "data",
        backup=_text(disk.backup) or "none",
        qcow_version=_text(disk.qcow_version) or None,
        status=_text(disk.status) or None,
        shareable=bool(disk.shareable),
        wipe_after_delete=bool(disk.wipe_after_delete),
        propagate_errors=bool(disk.propagate_errors),
        disk_profile=disk.disk_profile.id if disk.disk_profile else None,
        quota=disk.quota.id if disk.quota else None,
        interface=(_text(at.interface) or None) if at else None,
        bootable=bool(at and at.bootable),
        active=bool(at and at.active),
        read_only=bool(at and at.read_only),
        pass_discard=bool(at and at.pass_discard),
        uses_scsi_reservation=bool(at and at.uses_scsi_reservation),
    )


def _snapshot(snapshot: Any) -> SnapshotFacts:
    return SnapshotFacts(
        id=snapshot.id,
        description=snapshot.description or "",
        date=utc(snapshot.date),
        type=_text(snapshot.snapshot_type) or "regular",
        status=_text(snapshot.snapshot_status) or "ok",
        memory=bool(snapshot.persist_memorystate),
    )


def utc(when: Any) -> datetime:
    """A time of the engine in UTC; the epoch where it told none, or one that is none in UTC."""
    try:
        if isinstance(when, datetime):
            return when.replace(tzinfo=timezone.utc) if when.tzinfo is None else when.astimezone(timezone.utc)
    except OverflowError:  # in the first or the last hours that there are
        pass
    return datetime.fromtimestamp(0, timezone.utc)


def _text(value: Any) -> str:
    """The wire text of one of the SDK's enumerations; empty where the engine told none."""
    return str(getattr(value, "value", value) or "")


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False
