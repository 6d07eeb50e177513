"""Data centers, clusters, hosts and storage domains: shown, not changed."""

from __future__ import annotations

from flask import Blueprint, Response

from ovirtbox import disks
from ovirtbox.beside import Network
from ovirtbox.engine import EngineCore, core
from ovirtbox.model import Cluster, DataCenter, Host, Profile, StorageDomain
from ovirtbox.rest.lists import by_id, find_rows
from ovirtbox.rest.views import disk_element
from ovirtbox.search import Fields
from ovirtbox.xml import API, Element, element, href, leaf, link, ref, reply

blueprint = Blueprint("inventory", __name__, url_prefix=API)


def _data_center(center: DataCenter) -> Element:
    path = ("datacenters", center.id)
    return element(
        "data_center",
        leaf("name", center.name),
        leaf("description", ""),
        leaf("local", False),
        leaf("status", center.status),
        element("version", leaf("major", 4), leaf("minor", 7)),
        [link(rel, *path, rel) for rel in ("clusters", "storagedomains")],
        id=center.id,
        href=href(*path),
    )


def _cluster(cluster: Cluster) -> Element:
    path = ("clusters", cluster.id)
    return element(
        "cluster",
        leaf("name", cluster.name),
        leaf("description", ""),
        element(
            "cpu", leaf("architecture", "x86_64"), leaf("type", "Secure Intel Cascadelake Server Family")
        ),
        leaf("bios_type", "q35_sea_bios"),
        element("version", leaf("major", cluster.level[0]), leaf("minor", cluster.level[1])),
        ref("data_center", cluster.data_center, "datacenters"),
        ref("mac_pool", cluster.mac_pool, "macpools"),
        id=cluster.id,
        href=href(*path),
    )


def _host(host: Host) -> Element:
    return element(
        "host",
        leaf("name", host.name),
        leaf("address", host.address),
        leaf("status", host.status),
        leaf("type", "ovirt_node"),
        ref("cluster", host.cluster, "clusters"),
        id=host.id,
        href=href("hosts", host.id),
    )


def domain_element(engine: EngineCore, domain: StorageDomain, *, status: bool = True) -> Element:
    """A domain; seen from the top, one that is attached to a data center has no status."""
    path = ("storagedomains", domain.id)
    taken = disks.used(engine, domain)
    committed = sum(d.virtual_size for d in engine.world.disks.values() if d.domain == domain.id)
    kind = "iscsi" if domain.kind == "block" else "nfs"
    return element(
        "storage_domain",
        leaf("name", domain.name),
        leaf("description", ""),
        leaf("available", disks.available(engine, domain)),
        leaf("used", taken),
        leaf("committed", committed),
        leaf("critical_space_action_blocker", domain.reserve),
        leaf("backup", domain.backup),
        leaf("block_size", 512),
        leaf("external_status", "ok"),
        leaf("master", False),
        leaf("status", domain.status) if status else None,
        element("storage", leaf("type", kind)),
        leaf("storage_format", "v5"),
        leaf("type", "data"),
        leaf("discard_after_delete", domain.kind == "block"),
        leaf("supports_discard", True),
        leaf("wipe_after_delete", False),
        element("data_centers", ref("data_center", domain.data_center, "datacenters")),
        [link(rel, *path, rel) for rel in ("disks", "disksnapshots")],
        id=domain.id,
        href=href(*path),
    )


def _network(network: Network) -> Element:
    center = next(iter(core().world.data_centers))
    management = network.name == "ovirtmgmt"
    return element(
        "network",
        leaf("name", network.name),
        leaf("description", "Management Network" if management else ""),
        element("usages", leaf("usage", "management") if management else None, leaf("usage", "vm")),
        ref("data_center", center, "datacenters"),
        id=network.id,
        href=href("networks", network.id),
    )


# --- what can be searched --------------------------------------------------------------------------


def _center_fields() -> Fields[DataCenter]:
    def clusters(center: DataCenter) -> list[str]:
        return [c.name for c in core().world.clusters.values() if c.data_center == center.id]

    return Fields(
        {"name": lambda c: [c.name], "status": lambda c: [c.status], "id": lambda c: [c.id]},
        text=("name",),
        cross={"clusters.name": clusters, "cluster.name": clusters},
    )


def _cluster_fields() -> Fields[Cluster]:
    centers = core().world.data_centers
    return Fields(
        {
            "name": lambda c: [c.name],
            "id": lambda c: [c.id],
            "datacenter": lambda c: [centers[c.data_center].name],
        },
        text=("name",),
        cross={"datacenter.name": lambda c: [centers[c.data_center].name]},
    )


def _host_fields() -> Fields[Host]:
    clusters = core().world.clusters
    return Fields(
        {
            "name": lambda h: [h.name],
            "id": lambda h: [h.id],
            "address": lambda h: [h.address],
            "status": lambda h: [h.status],
            "cluster": lambda h: [clusters[h.cluster].name],
        },
        text=("name", "address"),
    )


def _domain_fields() -> Fields[StorageDomain]:
    """No `id`: an engine cannot search storage domains by it."""
    world = core().world
    return Fields(
        {
            "name": lambda d: [d.name],
            "status": lambda d: [d.status],
            "datacenter": lambda d: [world.data_centers[d.data_center].name],
            "type": lambda _: [],
        },
        text=("name",),
        cross={"datacenter.name": lambda d: [world.data_centers[d.data_center].name]},
    )


# --- routes ----------------------------------------------------------------------------------------


@blueprint.get("/datacenters")
def data_centers() -> Response:
    with core().world.lock:
        rows = find_rows(core().world.data_centers.values(), _center_fields())
        return reply(element("data_centers", [_data_center(row) for row in rows]))


@blueprint.get("/datacenters/<identifier>")
def data_center(identifier: str) -> Response:
    return reply(_data_center(by_id(core().world.data_centers, identifier)))


@blueprint.get("/datacenters/<identifier>/clusters")
def data_center_clusters(identifier: str) -> Response:
    rows = [c for c in core().world.clusters.values() if c.data_center == identifier]
    return reply(element("clusters", [_cluster(row) for row in rows]))


@blueprint.get("/datacenters/<identifier>/storagedomains")
def attached_domains(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        rows = [d for d in engine.world.domains.values() if d.data_center == identifier]
        return reply(element("storage_domains", [domain_element(engine, row) for row in rows]))


@blueprint.get("/datacenters/<identifier>/storagedomains/<domain>")
def attached_domain(identifier: str, domain: str) -> Response:
    engine = core()
    with engine.world.lock:
        return reply(domain_element(engine, by_id(engine.world.domains, domain)))


@blueprint.get("/clusters")
def clusters() -> Response:
    rows = find_rows(core().world.clusters.values(), _cluster_fields())
    return reply(element("clusters", [_cluster(row) for row in rows]))


@blueprint.get("/clusters/<identifier>")
def cluster(identifier: str) -> Response:
    return reply(_cluster(by_id(core().world.clusters, identifier)))


@blueprint.get("/hosts")
def hosts() -> Response:
    rows = find_rows(core().world.hosts.values(), _host_fields())
    return reply(element("hosts", [_host(row) for row in rows]))


@blueprint.get("/hosts/<identifier>")
def host(identifier: str) -> Response:
    return reply(_host(by_id(core().world.hosts, identifier)))


@blueprint.get("/storagedomains")
def storage_domains() -> Response:
    engine = core()
    with engine.world.lock:
        rows = find_rows(engine.world.domains.values(), _domain_fields())
        return reply(element("storage_domains", [domain_element(engine, row, status=False) for row in rows]))


@blueprint.get("/storagedomains/<identifier>")
def storage_domain(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        return reply(domain_element(engine, by_id(engine.world.domains, identifier), status=False))


@blueprint.get("/storagedomains/<identifier>/disks")
def domain_disks(identifier: str) -> Response:
    engine = core()
    with engine.world.lock:
        domain = by_id(engine.world.domains, identifier)
        rows = [d for d in engine.world.disks.values() if d.domain == domain.id]
        return reply(element("disks", [disk_element(engine, row) for row in rows]))


@blueprint.get("/networks")
def networks() -> Response:
    return reply(element("networks", [_network(row) for row in core().world.beside.networks.values()]))


@blueprint.get("/networks/<identifier>")
def network(identifier: str) -> Response:
    return reply(_network(by_id(core().world.beside.networks, identifier)))


@blueprint.get("/clusters/<identifier>/networks")
def cluster_networks(identifier: str) -> Response:
    """Those that are attached to it: an import knows no others there."""
    there = by_id(core().world.clusters, identifier).networks
    rows = [n for n in core().world.beside.networks.values() if there is None or n.name in there]
    return reply(element("networks", [_network(row) for row in rows]))


def _profile(profile: Profile) -> Element:
    return element(
        "vnic_profile",
        leaf("name", profile.name),
        ref("network", core().world.beside.network(profile.network).id, "networks"),
        id=profile.id,
        href=href("vnicprofiles", profile.id),
    )


@blueprint.get("/vnicprofiles")
def profiles() -> Response:
    return reply(element("vnic_profiles", [_profile(row) for row in core().world.profiles.values()]))


@blueprint.get("/vnicprofiles/<identifier>")
def profile(identifier: str) -> Response:
    return reply(_profile(by_id(core().world.profiles, identifier)))
