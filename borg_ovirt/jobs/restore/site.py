"""What a plan depends on besides the archive: the engine as it is now, or the directory, and qemu-img."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.ovirt.facts.storage import list_clusters, list_domains
from borg_ovirt.ovirt.facts.vm import read_disk
from borg_ovirt.ovirt.make.disks import disk_exists
from borg_ovirt.ovirt.make.machines import all_vms, vms_of_disk
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.repository.layout import Manifest


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


NOWHERE = Domain(id="", name="", block=False, available=0, status="", data_center_id=None)


@dataclass(frozen=True)
class Site:
    """What is there now, as far as it may be in the way."""

    domains: tuple[Domain, ...] = ()
    clusters: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """Cluster id -> name and data center id."""
    vm_ids: frozenset[str] = frozenset()
    vm_names: frozenset[str] = frozenset()
    disk_ids: frozenset[str] = frozenset()
    """Those of the archived disk ids that exist."""
    over: DiskFacts | None = None
    """The disk to be overwritten, if it is there."""
    users: tuple[tuple[str, str], ...] = ()
    """Name and status of the VMs that use it."""
    has_qemu_img: bool = True

    def domain(self, word: str | None) -> Domain | None:
        """By id or name."""
        return next((d for d in self.domains if word and word in (d.id, d.name)), None)


def has_qemu_img() -> bool:
    """Whether layers can be joined here."""
    return shutil.which("qemu-img") is not None


def survey(engine: Engine, manifest: Manifest, options: RestoreOptions) -> Site:
    """Ask the engine for all that a plan depends on."""
    vms = all_vms(engine)
    over, users = None, []
    if options.over is not None:
        try:
            over = read_disk(engine, options.over)
            users = vms_of_disk(engine, options.over)
        except NotFound:
            over = None
    return Site(
        domains=tuple(
            Domain(d.id, d.name, d.is_block, d.available, d.status, d.data_center_id)
            for d in list_domains(engine)
        ),
        clusters={c.id: (c.name, c.data_center_id) for c in list_clusters(engine)},
        vm_ids=frozenset(vms),
        vm_names=frozenset(vms.values()),
        disk_ids=frozenset(d.id for d in manifest.disks if disk_exists(engine, d.id)),
        over=over,
        users=tuple(users),
        has_qemu_img=has_qemu_img(),
    )
