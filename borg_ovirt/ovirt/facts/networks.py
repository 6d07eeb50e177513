"""What network cards meet in an engine: the networks of a cluster, vNIC profiles, MAC addresses in use."""

from __future__ import annotations

from dataclasses import dataclass

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


def macs_in_use(engine: Engine, cluster_id: str) -> dict[str, str]:
    """MAC address in lower case -> name of the VM that has it, as far as an import into the cluster would
    mind: the engine compares within one pool, and not at all where the pool allows duplicates.
    """
    clusters = engine.call("list the clusters", lambda s: s.clusters_service().list()) or ()
    pools = {c.id: c.mac_pool.id if c.mac_pool else None for c in clusters}
    mine = pools.get(cluster_id)
    try:
        listed = engine.call("list the MAC pools", lambda s: s.mac_pools_service().list())
    except (EngineRefused, NotAuthorized):
        listed = ()  # then it is taken for the usual kind, which allows no duplicates
    if any(pool.id == mine and pool.allow_duplicates for pool in listed or ()):
        return {}
    vms = engine.call("list the VMs with their network cards", lambda s: s.vms_service().list(follow="nics"))
    return {
        nic.mac.address.lower(): vm.name
        for vm in vms or ()
        if vm.cluster is None or pools.get(vm.cluster.id) == mine
        for nic in vm.nics or ()
        if nic.mac and nic.mac.address
    }
