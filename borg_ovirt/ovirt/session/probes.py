"""Questions that show whether the user has the rights a job needs, and leave everything as it is.

Each asks for something that the engine can only refuse: without the right it says 403 before it looks at
anything else, with it it complains of what we left wrong on purpose. Seen on 4.5.8: both answers to the end
of an unknown transfer, and each complaint; that the 403 comes first everywhere was not tried one by one.
"""

from __future__ import annotations

import logging
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from borg_ovirt.errors import BorgOvirtError, EngineRefused, NotAuthorized
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.session import rights
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import Unclear
from borg_ovirt.ovirt.session.rights import Right

log = logging.getLogger(__name__)

_READS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("VMs", lambda s: s.vms_service()),
    ("disks", lambda s: s.disks_service()),
    ("clusters", lambda s: s.clusters_service()),
    ("data centers", lambda s: s.data_centers_service()),
    ("storage domains", lambda s: s.storage_domains_service()),
    ("tags", lambda s: s.tags_service()),
    ("image transfers", lambda s: s.image_transfers_service()),
)
_OVF = (
    '<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1/"'
    ' xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><References/>'
    '<Section xsi:type="ovf:DiskSection_Type"><Info/></Section>'
    '<Content ovf:id="out" xsi:type="ovf:VirtualSystem_Type"><Name>x</Name>'
    '<Section ovf:id="{id}" xsi:type="ovf:OperatingSystemSection_Type"><Description>other</Description>'
    "</Section>"
    '<Section xsi:type="ovf:VirtualHardwareSection_Type"><Info/></Section></Content></ovf:Envelope>'
)
_NO_NAME = "no name for a VM: borg-ovirt asks for its rights"
"""Blanks are refused in the name of an imported VM."""
_TOO_LONG = "x" * 256

_proven: weakref.WeakKeyDictionary[Engine, set[str]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Proof:
    """One right on one object."""

    right: Right
    on: str
    """The object that it was asked for on: "System", "VM web01" ..."""
    held: bool | None
    """None where it could not be asked."""
    note: str = ""


def read_rights(engine: Engine) -> Iterator[tuple[str, int | None, str]]:
    """Each collection that a backup reads: name, how many the user sees (None: refused), the refusal."""
    for name, service in _READS:
        try:
            found = engine.call(f"list the {name}", lambda s, of=service: of(s).list())  # type: ignore[misc]
        except BorgOvirtError as error:
            yield name, None, str(error)
        else:
            yield name, len(found or ()), ""


def newest_event(engine: Engine) -> str | None:
    """Whether events can be read: None, or what refuses it. One is asked for: there may be millions."""
    try:
        engine.call("read the newest event", lambda s: s.events_service().list(max=1))
    except BorgOvirtError as error:
        return str(error)
    return None


def backup_rights(engine: Engine, vm_id: str) -> str | None:
    """Whether backups and checkpoints of a VM can be read: None, or what refuses it."""
    for name in ("backups", "checkpoints"):
        try:
            engine.call(
                f"list the {name} of a VM",
                lambda s, of=name: getattr(s.vms_service().vm_service(vm_id), f"{of}_service")().list(),  # type: ignore[misc]
            )
        except BorgOvirtError as error:
            if isinstance(error, EngineRefused) and error.status == 404:
                return f"this engine has no {name}: it is older than 4.4"
            return str(error)
    return None


# -- before the first lock -------------------------------------------------------------------------------


def prove_ending(engine: Engine) -> None:
    """`NotAuthorized` where transfers could be started and not ended: disks would be locked for hours."""
    _prove(engine, rights.END_TRANSFERS, "System", _end_nothing, "end transfers")


def prove_reading(engine: Engine, disks: Iterable[tuple[str, str]]) -> None:
    """`NotAuthorized` where disks (ids and names) could not be read, or their transfers not be ended."""
    prove_ending(engine)
    for disk_id, name in disks:
        _prove(engine, rights.TRANSFER, disk_id, partial(_read_nothing, disk_id=disk_id), f"read disk {name}")


def prove_restoring(engine: Engine, cluster_id: str) -> None:
    """`NotAuthorized` where disks could be filled but no VM be made of them."""
    prove_ending(engine)
    for right, ask in ((rights.CREATE_VM, _make_nothing), (rights.IMPORT, _import_nothing)):
        _prove(engine, right, cluster_id, partial(ask, cluster_id=cluster_id), "make a VM of the archive")


def _prove(engine: Engine, right: Right, on: str, ask: Callable[[Any], Any], what: str) -> None:
    known = _proven.setdefault(engine, set())
    key = f"{right.permit} {on}"
    if key not in known:
        if not _held(engine, right, ask):
            raise NotAuthorized(f"The user must not {what}: nothing was begun.", right.hint)
        known.add(key)


# -- all of them -----------------------------------------------------------------------------------------


def prove_all(engine: Engine, vms: Iterable[VmFacts]) -> Iterator[Proof]:
    """Every right: those on the system, then those on each of these VMs, its disks and its cluster."""
    yield Proof(rights.END_TRANSFERS, "System", _held(engine, rights.END_TRANSFERS, _end_nothing))
    yield Proof(rights.EVENTS, "System", _held(engine, rights.EVENTS, _tell_nothing))
    for vm in vms:
        yield from _on_vm(engine, vm)


def _on_vm(engine: Engine, vm: VmFacts) -> Iterator[Proof]:
    on = f"VM {vm.name}"
    disk = next((d for d in vm.disks if d.skip_reason is None), None)
    if disk is None:
        for right in (rights.TRANSFER, rights.BACK_UP):
            yield Proof(right, on, None, "it has no disk that could be asked about")
    else:
        of_disk = f"disk {disk.alias or disk.id} of {on}"
        held = _held(engine, rights.TRANSFER, lambda s: _read_nothing(s, disk.id))
        yield Proof(rights.TRANSFER, of_disk, held)
        held = _held(engine, rights.BACK_UP, lambda s: _back_up_nothing(s, vm.id, disk.id))
        yield Proof(rights.BACK_UP, of_disk, held)
    yield Proof(rights.SNAPSHOT, on, _held(engine, rights.SNAPSHOT, lambda s: _snapshot_nothing(s, vm.id)))
    if vm.status == "down":
        yield Proof(rights.FREEZE, on, _held(engine, rights.FREEZE, lambda s: _thaw_nothing(s, vm.id)))
    else:
        yield Proof(rights.FREEZE, on, None, "asked about VMs that are down only")
    cluster = f"cluster {vm.cluster_name}"
    held = _held(engine, rights.CREATE_VM, lambda s: _make_nothing(s, vm.cluster_id))
    yield Proof(rights.CREATE_VM, cluster, held)
    if held:
        held = _held(engine, rights.IMPORT, lambda s: _import_nothing(s, vm.cluster_id))
        yield Proof(rights.IMPORT, "System", held)
    else:
        yield Proof(rights.IMPORT, "System", None, f"cannot be asked about without {rights.CREATE_VM.permit}")


def _held(engine: Engine, right: Right, ask: Callable[[Any], Any]) -> bool:
    """Ask once; an answer that was lost is asked for again after a look that nothing came of it."""
    started = time.monotonic()
    for pause in engine.patience.pauses():
        try:
            made = engine.call(f"ask about the right {right.permit}", ask, once=True)
        except NotAuthorized:
            return False
        except Unclear:
            _take_back(engine)
            if time.monotonic() - started + pause > engine.patience.engine:
                raise
            time.sleep(pause)
            continue
        except EngineRefused:
            return True
        if made is not None:
            _take_back(engine)
        return True
    raise AssertionError("pauses never end")


def _take_back(engine: Engine) -> None:
    """Remove VMs that an engine made though it can only refuse them; their names are like nobody else's."""
    for vm in engine.call("list the VMs", lambda s: s.vms_service().list()) or ():
        if vm.name in (_TOO_LONG, _NO_NAME):
            log.warning("the engine made a VM %s that it should have refused: removing it", vm.id)
            engine.call(
                f"remove the VM {vm.id}",
                lambda s, vm_id=vm.id: s.vms_service().vm_service(vm_id).remove(),  # type: ignore[misc]
                wait_for_locks=engine.patience.lock,
            )


def _end_nothing(system: Any) -> None:
    """The engine says 200 to any id: 403 is all that can come instead."""
    system.image_transfers_service().image_transfer_service(str(uuid.uuid4())).finalize()


def _read_nothing(system: Any, disk_id: str) -> None:
    """Of a backup that does not exist: no transfer can come of it."""
    t = types()
    system.image_transfers_service().add(
        t.ImageTransfer(
            disk=t.Disk(id=disk_id),
            backup=t.Backup(id=str(uuid.uuid4())),
            direction=t.ImageTransferDirection.DOWNLOAD,
            format=t.DiskFormat.RAW,
        )
    )


def _back_up_nothing(system: Any, vm_id: str, disk_id: str) -> None:
    """From a checkpoint that does not exist."""
    t = types()
    backup = t.Backup(disks=[t.Disk(id=disk_id)], from_checkpoint_id=str(uuid.uuid4()))
    system.vms_service().vm_service(vm_id).backups_service().add(backup, query={"legacy": "true"})


def _snapshot_nothing(system: Any, vm_id: str) -> None:
    """Of a disk that does not exist."""
    t = types()
    snapshot = t.Snapshot(
        description="borg-ovirt asks for its rights",
        persist_memorystate=False,
        disk_attachments=[t.DiskAttachment(disk=t.Disk(id=str(uuid.uuid4())))],
    )
    system.vms_service().vm_service(vm_id).snapshots_service().add(snapshot)


def _thaw_nothing(system: Any, vm_id: str) -> None:
    """Of a VM that is down; should it be started this very moment, nothing of it is frozen."""
    system.vms_service().vm_service(vm_id).thaw_filesystems()


def _tell_nothing(system: Any) -> None:
    """As the engine itself, which it refuses."""
    t = types()
    event = t.Event(origin="oVirt", severity=t.LogSeverity.NORMAL, custom_id=1, description="a probe")
    system.events_service().add(event)


def _make_nothing(system: Any, cluster_id: str) -> Any:
    """With a name that is too long."""
    t = types()
    vm = t.Vm(name=_TOO_LONG, cluster=t.Cluster(id=cluster_id), template=t.Template(name="Blank"))
    return system.vms_service().add(vm)


def _import_nothing(system: Any, cluster_id: str) -> Any:
    """With a name that no VM may have."""
    t = types()
    configuration = t.Configuration(type=t.ConfigurationType.OVF, data=_OVF.format(id=uuid.uuid4()))
    vm = t.Vm(
        name=_NO_NAME,
        cluster=t.Cluster(id=cluster_id),
        initialization=t.Initialization(configuration=configuration),
    )
    return system.vms_service().add(vm)
