"""Gives a restored VM back what no import brings: tags, affinity, quota, cloud-init, NUMA, rights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from borg_ovirt.errors import EngineRefused
from borg_ovirt.ovirt.session.engine import Engine, types


class VmSettings:
    """The settings of one VM. Each method raises what the engine refuses."""

    def __init__(self, engine: Engine, vm_id: str, name: str) -> None:
        self._engine = engine
        self._id = vm_id
        self._name = name

    def _call(self, what: str, ask: Callable[[Any], Any]) -> Any:
        return self._engine.call(
            f"{what} of VM {self._name}",
            lambda s: ask(s.vms_service().vm_service(self._id)),
            wait_for_locks=self._engine.patience.lock,
        )

    def _update(self, what: str, **values: Any) -> None:
        t = types()
        self._call(what, lambda s: s.update(t.Vm(**values)))

    def tag(self, name: str, *, new: bool) -> None:
        """Assign a tag; `new`: make it first, unless somebody did meanwhile."""
        t = types()
        if new:
            try:
                self._engine.call(f"make the tag {name}", lambda s: s.tags_service().add(t.Tag(name=name)))
            except EngineRefused as error:
                if error.status != 409:  # it exists
                    raise
        self._call(f"set the tag {name}", lambda s: s.tags_service().add(t.Tag(name=name)))

    def label(self, label_id: str) -> None:
        """Assign an affinity label."""
        t = types()
        self._call(
            "set the affinity label", lambda s: s.affinity_labels_service().add(t.AffinityLabel(id=label_id))
        )

    def join_group(self, cluster_id: str, group_id: str) -> None:
        """Enter an affinity group of the VM's cluster."""
        t, what = types(), f"add VM {self._name} to an affinity group"

        def members(system: Any) -> Any:
            groups = system.clusters_service().cluster_service(cluster_id).affinity_groups_service()
            return groups.group_service(group_id).vms_service()

        def is_member() -> bool:
            return self._id in {vm.id for vm in self._engine.call(what, lambda s: members(s).list()) or ()}

        with self._unless(is_member):
            self._engine.call(what, lambda s: members(s).add(t.Vm(id=self._id)))

    @contextmanager
    def _unless(self, done: Callable[[], bool]) -> Iterator[None]:
        """A refusal counts only where it is not done: asked again after a lost answer, it may be."""
        try:
            yield
        except EngineRefused:
            if not done():
                raise

    def quota(self, quota_id: str) -> None:
        """Count the VM against a quota."""
        self._update("set the quota", quota=types().Quota(id=quota_id))

    def lease(self, domain_id: str) -> None:
        """Keep the VM's lease on a storage domain."""
        t = types()
        self._update(
            "set the lease", lease=t.StorageDomainLease(storage_domain=t.StorageDomain(id=domain_id))
        )

    def has_lease(self, domain_id: str) -> bool:
        """Whether the import brought the lease."""
        lease = self._call("read the lease", lambda s: s.get()).lease
        return lease is not None and lease.storage_domain is not None and lease.storage_domain.id == domain_id

    def cloud_init(self, fields: Mapping[str, Any], nics: Iterable[Mapping[str, Any]]) -> None:
        """Set cloud-init (or sysprep) up as it was, without any password."""
        t = types()
        setups = [
            t.NicConfiguration(
                name=nic["name"],
                boot_protocol=t.BootProtocol(nic["boot_protocol"]) if nic["boot_protocol"] else None,
                on_boot=nic["on_boot"],
                ip=t.Ip(address=nic["address"], netmask=nic["netmask"], gateway=nic["gateway"])
                if nic["address"]
                else None,
            )
            for nic in nics
        ]
        self._update(
            "set cloud-init", initialization=t.Initialization(**fields, nic_configurations=setups or None)
        )

    def numa(self, nodes: Iterable[Mapping[str, Any]]) -> None:
        """Make the virtual NUMA nodes that are not there."""
        t = types()

        def there() -> set[int]:
            listed = self._call("list the NUMA nodes", lambda s: s.numa_nodes_service().list())
            return {node.index for node in listed or ()}

        known = there()
        for node in nodes:
            if node["index"] in known:
                continue
            made = t.VirtualNumaNode(
                index=node["index"],
                memory=node["memory"],
                cpu=t.Cpu(cores=[t.Core(index=index) for index in node["cores"]]),
                numa_node_pins=[t.NumaNodePin(index=pin, pinned=True) for pin in node["pins"]] or None,
                numa_tune_mode=t.NumaTuneMode(node["tune"]) if node["tune"] else None,
            )
            with self._unless(lambda index=node["index"]: index in there()):  # type: ignore[misc]
                self._call("make a NUMA node", lambda s, n=made: s.numa_nodes_service().add(n))  # type: ignore[misc]

    def permit(self, principal_id: str, role_id: str, *, group: bool) -> None:
        """Give a user or a group a role on the VM."""
        t = types()
        who = {"group": t.Group(id=principal_id)} if group else {"user": t.User(id=principal_id)}
        permission = t.Permission(role=t.Role(id=role_id), **who)
        self._call("set a permission", lambda s: s.permissions_service().add(permission))

    def insert_cd(self, file_id: str) -> None:
        """Put an image into the drive."""
        t = types()
        drives = self._call("list the CD drives", lambda s: s.cdroms_service().list())
        for drive in list(drives or ())[:1]:
            self._call(
                "insert the CD",
                lambda s, d=drive: (
                    s.cdroms_service().cdrom_service(d.id).update(t.Cdrom(file=t.File(id=file_id)))
                ),  # type: ignore[misc]
            )
