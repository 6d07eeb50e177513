"""What a plan depends on besides the archive: the engine as it is now, or the directory, and qemu-img."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from borg_ovirt.errors import EngineRefused, NotAuthorized, VmNotFound
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.ovirt.facts.networks import ProfileFacts, list_profiles, mac_pool, networks_of
from borg_ovirt.ovirt.facts.ovf import OvfNic
from borg_ovirt.ovirt.facts.settings import affinity_groups, affinity_labels, principals, quotas, roles, tags
from borg_ovirt.ovirt.facts.storage import list_clusters, list_domains
from borg_ovirt.ovirt.facts.vm import find_vm, read_disk
from borg_ovirt.ovirt.make.disks import disk_exists
from borg_ovirt.ovirt.make.machines import vms_in_clusters, vms_of_disk
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.repository.layout import Manifest, SettingsRecord


@dataclass(frozen=True)
class Domain:
    """A storage domain as a restore sees it. Sizes in bytes."""

    id: str
    name: str
    block: bool
    """iSCSI or FCP: raw volumes are preallocated and hold stale data."""
    available: int
    status: str
    data_center_id: str | None
    reserve: int = 0
    """Where less is free the engine makes no disk."""


@dataclass(frozen=True)
class Target:
    """A VM that is to get restored disks."""

    id: str
    name: str
    status: str
    data_center_id: str | None


@dataclass(frozen=True)
class Held:
    """What the engine has of what the archive names, by name; only what was asked for."""

    tags: frozenset[str] | None = None
    """None: it would not tell."""
    labels: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    quotas: Mapping[str, str] = field(default_factory=dict)
    """Those of the data center that the VM goes to."""
    domains: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    principals: Mapping[tuple[str, bool], str] = field(default_factory=dict)
    """Name, and whether it is a group -> id."""
    cdrom: bool = False
    """Whether the image in the drive is there."""


NOWHERE = Domain(id="", name="", block=False, available=0, status="", data_center_id=None)


@dataclass(frozen=True)
class Site:
    """What is there now, as far as it may be in the way."""

    domains: tuple[Domain, ...] = ()
    clusters: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """Cluster id -> name and data center id."""
    vm_ids: frozenset[str] = frozenset()
    vm_names: frozenset[str] = frozenset()
    """Of the data center that the VM goes to: a name may be taken in another."""
    disk_ids: frozenset[str] = frozenset()
    """Those of the archived disk ids that exist."""
    over: DiskFacts | None = None
    """The disk to be overwritten, if it is there."""
    users: tuple[tuple[str, str], ...] = ()
    """Name and status of the VMs that use it."""
    has_qemu_img: bool = True
    networks: frozenset[str] = frozenset()
    """Of the cluster."""
    profiles: tuple[ProfileFacts, ...] = ()
    macs: Mapping[str, str] = field(default_factory=dict)
    """Addresses in lower case -> the VM that has it, as far as the cluster's pool minds."""
    free_macs: int | None = None
    """Addresses that the cluster's pool has left; None where that cannot be told."""
    held: Held = field(default_factory=Held)
    attach: Target | None = None
    """The VM that gets the disks, if it is there."""

    def domain(self, word: str | None) -> Domain | None:
        """By id or name."""
        return next((d for d in self.domains if word and word in (d.id, d.name)), None)


def has_qemu_img() -> bool:
    """Whether layers can be joined here."""
    return shutil.which("qemu-img") is not None


def pick_cluster(
    manifest: Manifest, clusters: Mapping[str, tuple[str, str | None]], options: RestoreOptions
) -> str | None:
    """Id of the cluster that is meant; one of the archived name will do in another engine."""
    mapped = options.mapping.clusters.get(manifest.vm.cluster or "")
    asked = options.cluster or mapped
    for word in (asked,) if asked else (manifest.vm.cluster_id, manifest.vm.cluster):
        for cluster_id, (name, _) in clusters.items():
            if word and word in (cluster_id, name):
                return cluster_id
    return None


def survey(engine: Engine, manifest: Manifest, options: RestoreOptions, cards: Sequence[OvfNic] = ()) -> Site:
    """Ask the engine for all that a plan depends on. `cards`: those of the VM that is to be made."""
    vms = vms_in_clusters(engine)
    clusters = {c.id: (c.name, c.data_center_id) for c in list_clusters(engine)}
    chosen = pick_cluster(manifest, clusters, options)
    center = clusters[chosen][1] if chosen else None
    over, users = None, []
    if options.over is not None:
        try:
            over = read_disk(engine, options.over)
            users = vms_of_disk(engine, options.over)
        except NotFound:
            over = None
    site = Site(
        domains=tuple(
            Domain(d.id, d.name, d.is_block, d.available, d.status, d.data_center_id, d.reserve)
            for d in list_domains(engine)
        ),
        clusters=clusters,
        vm_ids=frozenset(vms),
        vm_names=frozenset(
            name for name, cluster in vms.values() if center in (None, clusters.get(cluster, ("", None))[1])
        ),
        disk_ids=frozenset(d.id for d in manifest.disks if disk_exists(engine, d.id)),
        over=over,
        users=tuple(users),
        has_qemu_img=has_qemu_img(),
        attach=_target(engine, options.attach) if options.attach else None,
    )
    if chosen is None or options.disks:
        return site
    if cards:
        pool = mac_pool(engine, chosen)
        site = replace(
            site,
            networks=networks_of(engine, chosen),
            profiles=list_profiles(engine),
            macs=pool.taken,
            free_macs=pool.free,
        )
    return replace(site, held=_held(engine, manifest, site, chosen, center))


def _target(engine: Engine, name_or_id: str) -> Target | None:
    try:
        vm = find_vm(engine, name_or_id)
    except VmNotFound:
        return None
    return Target(vm.id, vm.name, vm.status, vm.data_center_id)


def _held(engine: Engine, manifest: Manifest, site: Site, cluster: str, center: str | None) -> Held:
    """Only what the archive names is asked for; what the engine refuses to tell counts as not there."""
    record = manifest.vm.settings or SettingsRecord()
    groups = {permission.group for permission in record.permissions}

    def ask(needed: object, of: Callable[[], dict[str, str]]) -> dict[str, str]:
        try:
            return of() if needed else {}
        except (EngineRefused, NotAuthorized):
            return {}

    found = ask(manifest.vm.tags, lambda: tags(engine))
    return Held(
        tags=frozenset(found) if found else None,
        labels=ask(record.labels, lambda: affinity_labels(engine)),
        groups=ask(record.groups, lambda: affinity_groups(engine, cluster)),
        quotas=ask(
            center and (record.quota or any(d.quota for d in manifest.disks)),
            lambda: quotas(engine, center or ""),
        ),
        domains={domain.name: domain.id for domain in site.domains},
        roles=ask(groups, lambda: roles(engine)),
        principals={
            (name, group): found
            for group in groups
            for name, found in ask(True, lambda g=group: principals(engine, group=g)).items()  # type: ignore[misc]
        },
        cdrom=record.cdrom is not None and disk_exists(engine, record.cdrom),
    )
