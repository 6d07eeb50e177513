"""Where VMs live: data centers, clusters by name, hosts, and the room on storage domains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from borg_ovirt.ovirt.facts.storage import list_clusters
from borg_ovirt.ovirt.facts.vm import utc
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.sense import size


@dataclass(frozen=True)
class Place:
    """The names of a VM's cluster and data center."""

    cluster: str
    data_center: str


@dataclass(frozen=True)
class HostFacts:
    """A hypervisor."""

    id: str
    name: str
    address: str
    status: str
    cluster_id: str = ""


@dataclass(frozen=True)
class DomainRoom:
    """The room on a storage domain, in bytes."""

    id: str
    name: str
    available: int
    total: int


def places(engine: Engine) -> dict[str, Place]:
    """Cluster id -> names of the cluster and its data center."""
    found = engine.call("list the data centers", lambda s: s.data_centers_service().list()) or ()
    centers = {center.id: center.name or "" for center in found}
    return {c.id: Place(c.name, centers.get(c.data_center_id or "", "")) for c in list_clusters(engine)}


def list_hosts(engine: Engine) -> list[HostFacts]:
    """The hosts that the user may see."""
    found = engine.call("list the hosts", lambda s: s.hosts_service().list()) or ()
    return [
        HostFacts(h.id, h.name or "", h.address or "", str(h.status or ""), h.cluster.id if h.cluster else "")
        for h in found
    ]


def domain_room(engine: Engine) -> dict[str, DomainRoom]:
    """Storage domain id -> its room; domains whose size the engine does not tell are left out."""
    found = engine.call("list the storage domains", lambda s: s.storage_domains_service().list()) or ()
    return {
        d.id: DomainRoom(d.id, d.name or "", size(d.available), size(d.available) + size(d.used))
        for d in found
        if d.available is not None
    }


@dataclass(frozen=True)
class ImageDisk:
    """An image disk that holds a guest's data."""

    id: str
    alias: str
    format: str
    """`cow` or `raw`, of the active layer."""
    incremental: bool
    """Whether `backup` is enabled for it: clusters below level 4.5 ask for that."""


def image_disks(engine: Engine) -> list[ImageDisk]:
    """The image disks of all VMs; scratch and memory volumes are none."""
    found = engine.call("list the disks", lambda s: s.disks_service().list()) or ()
    return [
        ImageDisk(d.id, d.alias or d.name or d.id, str(d.format or ""), str(d.backup or "") == "incremental")
        for d in found
        if str(d.storage_type or "") == "image" and str(d.content_type or "data") == "data"
    ]


def named_proxies(engine: Engine) -> list[str]:
    """The addresses of the proxy that open transfers name; they hold tickets: never printed."""
    found = engine.call("list the transfers", lambda s: s.image_transfers_service().list()) or ()
    return [transfer.proxy_url for transfer in found if transfer.proxy_url]


def engine_time(engine: Engine) -> datetime:
    """What time it is for the engine."""
    return utc(engine.call("read the engine's time", lambda s: s.get()).time)
