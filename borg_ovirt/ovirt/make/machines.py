"""VMs that a restore makes: imported from an OVF, checked, started, removed when it fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from borg_ovirt.errors import EngineRefused
from borg_ovirt.ovirt.facts.ovf import OvfNic
from borg_ovirt.ovirt.facts.vm import read_vm, vm_status
from borg_ovirt.ovirt.make.made import Made
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import NotFound, Unclear
from borg_ovirt.ovirt.session.sense import told
from borg_ovirt.ovirt.tracked.journal import Journal

_BLANK = "00000000-0000-0000-0000-000000000000"
"""The empty template: a VM made from it has neither disks nor network cards."""
_MEMORY = 256 << 20


class MadeVm(Made):
    """A VM imported from an OVF that carries its id.

    The engine attaches the OVF's disks by their ids and reports those that did not attach only as an event:
    check with `missing_disks` afterwards.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        ovf: bytes,
        *,
        vm_id: str,
        name: str,
        cluster_id: str,
        fresh: bool = True,
        scratch: bool = False,
    ) -> None:
        super().__init__(engine, journal, "vm", vm_id, f"VM {name}", fresh=fresh)
        self._scratch = scratch
        self._ovf = ovf
        self._vm_name = name
        self._cluster_id = cluster_id

    def make(self) -> None:
        """Import it and wait until it is whole."""
        t, engine = types(), self._engine
        configuration = t.Configuration(type=t.ConfigurationType.OVF, data=self._ovf.decode("utf-8"))
        vm = t.Vm(
            name=self._vm_name,
            cluster=t.Cluster(id=self._cluster_id),
            initialization=t.Initialization(configuration=configuration),
        )
        self._request(f"import the {self.name}", lambda s: s.vms_service().add(vm), **self._facts())
        engine.patience.wait(
            f"the {self.name} to be imported",
            lambda: None if self._status() == "image_locked" else True,
            engine.patience.machine,
        )

    def _facts(self) -> dict[str, Any]:
        """For the journal. A scratch VM may be running when somebody removes it for us."""
        return {"name": self._vm_name, **({"scratch": True} if self._scratch else {})}

    def exists(self) -> bool:
        return self._status() is not None

    def _status(self) -> str | None:
        try:
            return vm_status(self._engine, self.id)
        except NotFound:
            return None

    def remove_alone(self) -> None:
        """Take it away and keep its disks; it must have no snapshots."""
        remove_vm(self._engine, self.id, keep_disks=True)
        self._tracked.gone()

    def _remove(self) -> None:
        if self._scratch:
            power_off(self._engine, self.id)
        remove_vm(self._engine, self.id)


class ScratchVm(Made):
    """An empty VM of ours, without disks and network cards, to be removed again by whoever made it."""

    def __init__(
        self, engine: Engine, journal: Journal, name: str, cluster_id: str, bios: str | None
    ) -> None:
        super().__init__(engine, journal, "vm", "", f"VM {name}", fresh=True)
        self._vm_name = name
        self._cluster_id = cluster_id
        self._bios = bios

    def make(self) -> None:
        """Make it from the empty template and wait until it is down. The engine chooses the id."""
        engine, t = self._engine, types()
        facts = self._tracked.intend(name=self._vm_name, description=self._vm_name)
        vm = t.Vm(
            name=self._vm_name,
            description=facts["description"],
            cluster=t.Cluster(id=self._cluster_id),
            template=t.Template(id=_BLANK),
            memory=_MEMORY,
            memory_policy=t.MemoryPolicy(guaranteed=_MEMORY),
            bios=t.Bios(type=t.BiosType(self._bios)) if self._bios else None,
        )
        self._tracked.make(
            f"make the {self.name}",
            lambda s: s.vms_service().add(vm),
            lambda: find_marked_vm(engine, self._vm_name, facts["description"]),
        )
        self.id = self._tracked.id
        engine.patience.wait(
            f"the {self.name} to be made",
            lambda: True if vm_status(engine, self.id) == "down" else None,
            engine.patience.machine,
        )

    def exists(self) -> bool:
        try:
            return bool(self.id and vm_status(self._engine, self.id))
        except NotFound:
            return False

    def remove_alone(self) -> None:
        """Take it away and keep the disks that it has."""
        if self._tracked.there():
            remove_vm(self._engine, self._tracked.id, keep_disks=True)
            self._tracked.gone()

    def _remove(self) -> None:
        remove_vm(self._engine, self._tracked.id)


def find_marked_vm(engine: Engine, name: str, description: str) -> str | None:
    """The id of the VM of that name with exactly that description; None where there is none."""
    found = _vms_named(engine, name)
    return next((str(vm.id) for vm in found if vm.description == description), None)


def _vms_named(engine: Engine, name: str) -> list[Any]:
    found = engine.call(f"look for the VM {name}", lambda s: s.vms_service().list(search=f'name="{name}"'))
    return [vm for vm in found or () if vm.name == name]


def attached_disks(engine: Engine, vm_id: str) -> set[str]:
    """The ids of the disks attached to a VM; the disks themselves are not asked, so they may go meanwhile."""
    attachments = engine.call(
        f"list the disks of VM {vm_id}",
        lambda s: s.vms_service().vm_service(vm_id).disk_attachments_service().list(),
    )
    return {str(told(a.disk, "disk").id) for a in attachments or ()}


def missing_disks(engine: Engine, vm_id: str, expected: Iterable[str]) -> list[str]:
    """The disks (ids) that should be attached to the VM and are not."""
    attached = attached_disks(engine, vm_id)
    return [disk_id for disk_id in expected if disk_id not in attached]


def nic_warnings(engine: Engine, vm_id: str, wanted: Iterable[OvfNic]) -> list[str]:
    """How the network cards of an imported VM differ from those of its OVF. The engine changes them and says
    201: a MAC address that somebody else was given leaves a card unplugged (event 838), a profile that went
    is replaced by another of its network or by none.
    """
    found = engine.call(
        f"list the network cards of VM {vm_id}",
        lambda s: s.vms_service().vm_service(vm_id).nics_service().list(),
    )
    there = {nic.name: nic for nic in found or ()}
    profiles = engine.call("list the vNIC profiles", lambda s: s.vnic_profiles_service().list()) or ()
    names = {profile.id: profile.name or "" for profile in profiles}
    return [line for nic in wanted for line in _nic_warnings(nic, there.get(nic.name), names)]


def _nic_warnings(wanted: OvfNic, found: Any, profiles: Mapping[str, str]) -> list[str]:
    if found is None:
        return [f"network card {wanted.name} is not there"]
    unlike = []
    mac = found.mac.address if found.mac else None
    if bool(found.plugged) != wanted.plugged:
        state, why = (
            ("plugged", "") if found.plugged else ("unplugged", ": another one may have its MAC address")
        )
        unlike.append(f"network card {wanted.name} came back {state}{why}")
    if wanted.mac and (mac or "").lower() != wanted.mac.lower():
        unlike.append(f"network card {wanted.name} has the MAC address {mac or 'none'}, not {wanted.mac}")
    profile = profiles.get(found.vnic_profile.id, "") if found.vnic_profile else ""
    if profile != wanted.profile and (profile or wanted.network):
        unlike.append(
            f"network card {wanted.name} has {f'the vNIC profile {profile}' if profile else 'no network'}, "
            f"not {wanted.profile or 'none'} (network {wanted.network or 'none'})"
        )
    return unlike


def protect_vm(engine: Engine, vm_id: str, name: str) -> None:
    """Let nobody delete a VM until this is lifted."""
    t = types()
    engine.call(
        f"set the delete protection of VM {name}",
        lambda s: s.vms_service().vm_service(vm_id).update(t.Vm(delete_protected=True)),
        wait_for_locks=engine.patience.lock,
    )


def attach_disk(engine: Engine, vm_id: str, disk_id: str, how: Mapping[str, Any]) -> None:
    """Attach a disk to a VM that is there, never as the one to boot from; `how`: fields of the attachment."""
    t = types()
    wanted = t.DiskAttachment(
        disk=t.Disk(id=disk_id),
        interface=t.DiskInterface(how["interface"]),
        bootable=False,
        active=how["active"],
        read_only=how["read_only"],
        pass_discard=how["pass_discard"],
    )
    try:
        engine.call(
            f"attach the disk {disk_id}",
            lambda s: s.vms_service().vm_service(vm_id).disk_attachments_service().add(wanted),
            once=True,
            wait_for_locks=engine.patience.lock,
        )
    except Unclear:
        if disk_id not in attached_disks(engine, vm_id):
            raise


def deactivate_disk(engine: Engine, vm_id: str, disk_id: str) -> None:
    """Unplug a disk of a VM that is down."""
    t = types()
    engine.call(
        f"deactivate the disk {disk_id}",
        lambda s: (
            s.vms_service()
            .vm_service(vm_id)
            .disk_attachments_service()
            .attachment_service(disk_id)
            .update(t.DiskAttachment(active=False))
        ),
        wait_for_locks=engine.patience.lock,
    )


def start_vm(engine: Engine, vm_id: str, name: str) -> None:
    """Start a VM and wait until it runs."""
    try:
        engine.call(
            f"start the VM {name}",
            lambda s: s.vms_service().vm_service(vm_id).start(),
            wait_for_locks=engine.patience.lock,
        )
    except EngineRefused:
        if vm_status(engine, vm_id) == "down":
            raise
        # An answer was lost: it runs already, so it was refused the second time.

    def probe() -> bool | None:
        status = vm_status(engine, vm_id)
        if status == "down":
            raise EngineRefused(f"The VM {name} did not start.", "The engine's events tell why.")
        return True if status in ("up", "powering_up") else None

    engine.patience.wait(f"the VM {name} to start", probe, engine.patience.machine)


def power_off(engine: Engine, vm_id: str) -> None:
    """Take a VM's power away, whatever its guest does; one that is down, or not there, is fine."""
    try:
        engine.call(
            f"power off the VM {vm_id}",
            lambda s: s.vms_service().vm_service(vm_id).stop(),
            wait_for_locks=engine.patience.lock,
        )
        engine.patience.wait(
            f"the VM {vm_id} to be down",
            lambda: True if vm_status(engine, vm_id) == "down" else None,
            engine.patience.machine,
        )
    except NotFound:
        return


def remove_vm(engine: Engine, vm_id: str, *, keep_disks: bool = False) -> None:
    """Remove a VM (down) and its disks unless `keep_disks`; a VM that is not there is fine."""
    try:
        engine.call(
            f"remove the VM {vm_id}",
            lambda s: s.vms_service().vm_service(vm_id).remove(detach_only=keep_disks),
            wait_for_locks=engine.patience.lock,
        )
    except NotFound:
        return

    def probe() -> bool | None:
        try:
            vm_status(engine, vm_id)
        except NotFound:
            return True
        return None

    engine.patience.wait(f"the VM {vm_id} to be removed", probe, engine.patience.machine)


def vms_in_clusters(engine: Engine) -> dict[str, tuple[str, str]]:
    """Id -> name and cluster id of every VM."""
    found = engine.call("list the VMs", lambda s: s.vms_service().list()) or ()
    return {vm.id: (vm.name, vm.cluster.id if vm.cluster else "") for vm in found}


def vms_of_disk(engine: Engine, disk_id: str) -> list[tuple[str, str]]:
    """Name and status of each VM that a disk is attached to."""
    disk = engine.call(
        f"read the disk {disk_id}", lambda s: s.disks_service().disk_service(disk_id).get(all_content=True)
    )
    facts = [read_vm(engine, vm.id) for vm in disk.vms or ()]
    return [(vm.name, vm.status) for vm in facts]
