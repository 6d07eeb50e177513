"""What network cards meet in an engine: the networks of a cluster, vNIC profiles, MAC addresses in use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from borg_ovirt.errors import EngineRefused, NotAuthorized
from borg_ovirt.ovirt.session.engine import Engine


@dataclass(frozen=True)
class ProfileFacts:
    """A vNIC profile, and the name of its network."""

    name: str
    network: str


def networks_of(engine: Engine, cluster_id: str) -> frozenset[str]:
    """Names of the networks that are attached to a cluster: an import knows no others."""
    found = engine.call(
        "list the networks of the cluster",
        lambda s: s.clusters_service().cluster_service(cluster_id).networks_service().list(),
    )
    return frozenset(network.name for network in found or () if network.name)


def list_profiles(engine: Engine) -> tuple[ProfileFacts, ...]:
    """Every vNIC profile."""
    networks = {
        n.id: n.name or "" for n in engine.call("list the networks", lambda s: s.networks_service().list())
    }
    found = engine.call("list the vNIC profiles", lambda s: s.vnic_profiles_service().list())
    return tuple(
        ProfileFacts(p.name or "", networks.get(p.network.id, "") if p.network else "") for p in found or ()
    )


@dataclass(frozen=True)
class MacPoolFacts:
    """The pool of MAC addresses that a cluster takes them from."""

    taken: dict[str, str]
    """Address in lower case -> name of the VM that has it, as far as an import into the cluster would mind:
    the engine compares within one pool, and not at all where the pool allows duplicates."""
    free: int | None
    """Addresses that no VM has, as far as the user sees VMs; None where the engine does not tell."""


def mac_pool(engine: Engine, cluster_id: str) -> MacPoolFacts:
    """The pool of a cluster, and what of it is in use."""
    clusters = engine.call("list the clusters", lambda s: s.clusters_service().list()) or ()
    pools = {c.id: c.mac_pool.id if c.mac_pool else None for c in clusters}
    mine = pools.get(cluster_id)
    try:
        listed = engine.call("list the MAC pools", lambda s: s.mac_pools_service().list())
    except (EngineRefused, NotAuthorized):
        listed = ()  # then it is taken for the usual kind, which allows no duplicates
    pool = next((pool for pool in listed or () if pool.id == mine), None)
    vms = engine.call("list the VMs with their network cards", lambda s: s.vms_service().list(follow="nics"))
    taken = {
        nic.mac.address.lower(): vm.name
        for vm in vms or ()
        if vm.cluster is None or pools.get(vm.cluster.id) == mine
        for nic in vm.nics or ()
        if nic.mac and nic.mac.address
    }
    return MacPoolFacts({} if pool and pool.allow_duplicates else taken, _free(pool, taken))


def _free(pool: Any | None, taken: Iterable[str]) -> int | None:
    try:
        ranges = [(_number(r.from_), _number(r.to)) for r in pool.ranges] if pool and pool.ranges else []
        used = [_number(mac) for mac in taken]
    except (ValueError, AttributeError):
        return None
    if not ranges:
        return None
    size = sum(last - first + 1 for first, last in ranges)
    return size - sum(any(first <= mac <= last for first, last in ranges) for mac in used)


def _number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)
