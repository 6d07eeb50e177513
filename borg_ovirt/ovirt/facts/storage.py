"""Storage domains and clusters: where disks and VMs can live."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from borg_ovirt.blocks import GiB
from borg_ovirt.errors import Timeout, VmNotSuitable
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.sense import size

_BLOCK = {"iscsi", "fcp", "managed_block_storage"}


@dataclass(frozen=True)
class DomainFacts:
    """A storage domain. Sizes in bytes."""

    id: str
    name: str
    type: str
    """Type of the storage: `nfs`, `iscsi`, `fcp`, `glusterfs` ..."""
    available: int
    used: int
    status: str
    """`active`, `maintenance` ...; empty where the engine told none."""
    data_center_id: str | None
    master: bool = False
    reserve: int = 0
    """Its critical space: where less is free the engine makes no disk."""

    @property
    def is_block(self) -> bool:
        """Raw volumes there are preallocated and hold stale data at first."""
        return self.type in _BLOCK


@dataclass(frozen=True)
class ClusterFacts:
    """A cluster."""

    id: str
    name: str
    level: tuple[int, int]
    data_center_id: str | None
    architecture: str = ""
    """`x86_64`, `ppc64` ...; empty where the engine does not tell."""


def list_domains(engine: Engine) -> list[DomainFacts]:
    """The data domains. Their status is asked where the engine is sure of it: at their data center."""
    found = engine.call("list the storage domains", lambda s: s.storage_domains_service().list()) or ()
    statuses = _statuses(engine)
    return [
        _domain(d, statuses.get(d.id, ""))
        for d in found
        if _text(d.type) in ("data", "managed_block_storage")
    ]


def domain_names(engine: Engine) -> dict[str, tuple[str, str]]:
    """Storage domain id -> name and storage type."""
    found = engine.call("list the storage domains", lambda s: s.storage_domains_service().list()) or ()
    return {d.id: (d.name or "", _text(d.storage.type) if d.storage else "") for d in found}


def refuse_inactive(engine: Engine, vm: VmFacts, disks: Iterable[DiskFacts]) -> None:
    """`VmNotSuitable` if a disk lies on a storage domain that is not active: the engine starts a cold backup
    of it all the same and never ends it, with the disks locked for good (seen on 4.5.8).
    """
    if vm.data_center_id is None:
        return
    disks = list(disks)
    settle(engine, vm.data_center_id, {disk.storage_domain for disk in disks})
    domains = {d.id: d for d in _attached(engine, vm.data_center_id, "of the VM")}
    for disk in disks:
        domain = domains.get(disk.storage_domain or "")
        status = _text(domain.status) if domain is not None else ""
        if domain is not None and status not in ("active", ""):
            raise VmNotSuitable(
                f"Disk {disk.alias or disk.id} of VM {vm.name} lies on the storage domain {domain.name}, "
                f"which is {status.replace('_', ' ')}.",
                "Activate the domain, or leave the disk out with --exclude-disk.",
            )


def settle(engine: Engine, data_center_id: str | None, domain_ids: Collection[str | None]) -> None:
    """Wait until the engine knows the state of these storage domains, which it does not just after a restart;
    not for long."""
    if data_center_id is None:
        return

    def probe() -> bool | None:
        attached = _attached(engine, data_center_id, "of the data center")
        unknown = [d for d in attached if d.id in domain_ids and _text(d.status) == "unknown"]
        return None if unknown else True

    with suppress(Timeout):
        engine.patience.wait("the engine to know its storage domains", probe, engine.patience.settle)


def short_of_room(engine: Engine, domain_ids: Collection[str]) -> list[str]:
    """The names of those domains on which nothing can be made: less room than their blocker, or none."""
    found = engine.call("list the storage domains", lambda s: s.storage_domains_service().list()) or ()
    return [
        d.name or d.id
        for d in found
        if d.id in domain_ids and size(d.available) < max(1, int(d.critical_space_action_blocker or 0) << 30)
    ]


def list_clusters(engine: Engine) -> list[ClusterFacts]:
    """The clusters with their compatibility levels."""
    found = engine.call("list the clusters", lambda s: s.clusters_service().list()) or ()
    return [
        ClusterFacts(
            id=c.id,
            name=c.name or "",
            level=(c.version.major or 0, c.version.minor or 0) if c.version else (0, 0),
            data_center_id=c.data_center.id if c.data_center else None,
            architecture=_text(c.cpu.architecture) if c.cpu else "",
        )
        for c in found
    ]


def _statuses(engine: Engine) -> dict[str, str]:
    centers = engine.call("list the data centers", lambda s: s.data_centers_service().list()) or ()
    return {d.id: _text(d.status) for center in centers for d in _attached(engine, center.id, center.name)}


def _attached(engine: Engine, center_id: str, name: str) -> list[Any]:
    found = engine.call(
        f"list the storage domains of data center {name}",
        lambda s: s.data_centers_service().data_center_service(center_id).storage_domains_service().list(),
    )
    return list(found or ())


def _domain(domain: Any, status: str) -> DomainFacts:
    centers = domain.data_centers or ()
    return DomainFacts(
        id=domain.id,
        name=domain.name or "",
        type=_text(domain.storage.type) if domain.storage else "",
        available=size(domain.available),
        used=size(domain.used),
        status=status or _text(domain.status),
        data_center_id=next((c.id for c in centers), None),
        master=bool(domain.master),
        reserve=size(domain.critical_space_action_blocker) * GiB,
    )


def _text(value: Any) -> str:
    return str(getattr(value, "value", value) or "")
