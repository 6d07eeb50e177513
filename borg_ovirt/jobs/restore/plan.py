"""The plan of a restore into oVirt: what would be made, where and how large, and everything in its way.

Pure: the engine is asked before (`Site`), nothing is touched.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from borg_ovirt.repository.layout import DiskRecord, Manifest
from borg_ovirt.units import format_size


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


@dataclass(frozen=True)
class Site:
    """What the engine holds now, as far as it may be in the way."""

    domains: tuple[Domain, ...]
    clusters: Mapping[str, tuple[str, str | None]]
    """Cluster id -> name and data center id."""
    vm_ids: frozenset[str]
    vm_names: frozenset[str]
    disk_ids: frozenset[str]
    """Those of the archived disk ids that exist."""


@dataclass(frozen=True)
class RestoreChoices:
    """What the user wants of a restore."""

    name: str | None = None
    """Restore beside the original, under this name and with new ids."""
    cluster: str | None = None
    """Name or id; None means the one of the manifest."""
    storage_domain: str | None = None
    """Name or id for all disks; None means each disk's own."""
    storage_domains: Mapping[str, str] = field(default_factory=dict)
    """Disk alias or id -> storage domain name or id."""
    disks: tuple[str, ...] = ()
    """Aliases or ids: restore only these, as floating disks."""


@dataclass(frozen=True)
class DiskPlan:
    """A disk to make."""

    record: DiskRecord
    disk_id: str
    image_id: str
    domain: Domain
    format: str
    sparse: bool
    backup: str
    notes: tuple[str, ...]

    @property
    def reads_zero(self) -> bool:
        """A fresh raw volume on block storage holds what was there before; all others read as zeros."""
        return not (self.domain.block and self.format == "raw")


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do."""

    vm_name: str | None
    """None: only disks are made, attached to nothing."""
    vm_id: str | None
    cluster_id: str
    cluster_name: str
    disks: tuple[DiskPlan, ...]
    ids: Mapping[str, str]
    """Old id -> new id, everywhere in the OVF; empty for a restore as the original."""
    blockers: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is made, in a line."""
        if self.vm_name is None:
            return "disks alone"
        return f"VM {self.vm_name} ({self.vm_id}) in cluster {self.cluster_name or 'none'}"

    def lines(self) -> list[str]:
        """The plan in words."""
        words = [self.title]
        for disk in self.disks:
            kind = f"{disk.format}, {'sparse' if disk.sparse else 'preallocated'}"
            words.append(
                f"disk {disk.record.alias} ({disk.disk_id}): {format_size(disk.record.size)}, {kind}, "
                f"on {disk.domain.name or 'no storage domain'}"
            )
            words += [f"  note: {note}" for note in disk.notes]
        words += [f"note: {note}" for note in self.notes]
        words += [f"BLOCKED: {blocker}" for blocker in self.blockers]
        return words


def plan_restore(manifest: Manifest, site: Site, choices: RestoreChoices) -> RestorePlan:
    """Lay out a restore of an archive under the user's choices on that site."""
    blockers: list[str] = []
    fresh = choices.name is not None or bool(choices.disks)
    cluster_id, cluster_name, data_center = _cluster(manifest, site, choices, blockers)
    records = _wanted(manifest, choices, blockers)
    disks = [_disk(record, site, choices, fresh, data_center, blockers) for record in records]
    _check_space(disks, blockers)
    whole_vm = not choices.disks
    ids: dict[str, str] = {}
    if fresh:
        for disk in disks:
            ids[disk.record.id] = disk.disk_id
            if disk.record.image_id:
                ids[disk.record.image_id] = disk.image_id
        ids[manifest.vm.id] = str(uuid.uuid4())
    vm_id = ids.get(manifest.vm.id, manifest.vm.id)
    name = choices.name or manifest.vm.name
    if whole_vm:
        _check_vm(manifest, site, choices, name, blockers)
    notes = [f"{s.alias or s.id} is not in the archive ({s.reason})" for s in manifest.skipped]
    if manifest.vm.tpm:
        notes.append("TPM state is not in the archive: the VM gets an empty TPM")
    if manifest.vm.bios_type in ("q35_ovmf", "q35_secure_boot"):
        notes.append("UEFI variables are not in the archive: the VM gets default ones")
    return RestorePlan(
        vm_name=name if whole_vm else None,
        vm_id=vm_id if whole_vm else None,
        cluster_id=cluster_id,
        cluster_name=cluster_name,
        disks=tuple(disks),
        ids=ids,
        blockers=tuple(blockers),
        notes=tuple(notes),
    )


def _cluster(
    manifest: Manifest, site: Site, choices: RestoreChoices, blockers: list[str]
) -> tuple[str, str, str | None]:
    wanted = choices.cluster or manifest.vm.cluster_id
    for cluster_id, (name, data_center) in site.clusters.items():
        if wanted in (cluster_id, name):
            return cluster_id, name, data_center
    if choices.cluster is None:
        for cluster_id, (name, data_center) in site.clusters.items():
            if name == manifest.vm.cluster:
                return cluster_id, name, data_center
    blockers.append(
        f"there is no cluster {choices.cluster or manifest.vm.cluster}: choose one with --cluster"
    )
    return "", "", None


def _wanted(manifest: Manifest, choices: RestoreChoices, blockers: list[str]) -> list[DiskRecord]:
    if not choices.disks:
        return list(manifest.disks)
    found = []
    for word in choices.disks:
        matches = [d for d in manifest.disks if word in (d.alias, d.id)]
        if len(matches) != 1:
            have = ", ".join(d.alias or d.id for d in manifest.disks)
            what = "no disk" if not matches else "several disks"
            blockers.append(f"the archive has {what} {word}; it has {have}")
            continue
        found.append(matches[0])
    return found


def _disk(
    record: DiskRecord,
    site: Site,
    choices: RestoreChoices,
    fresh: bool,
    data_center: str | None,
    blockers: list[str],
) -> DiskPlan:
    domain = _domain(record, site, choices, data_center, blockers)
    form, sparse, backup = record.format, record.sparse, record.backup
    notes = []
    if domain.block and form == "raw" and sparse:
        sparse = False
        notes.append("raw sparse becomes raw preallocated: block storage has no sparse raw disks")
    if form == "cow" and not sparse and backup != "incremental":
        sparse = True
        notes.append(
            "qcow2 preallocated becomes sparse: the engine keeps that form for incremental disks only"
        )
    if form == "raw" and backup == "incremental":
        form, sparse = "cow", True
        notes.append("raw with incremental backup becomes qcow2 sparse: the engine makes no such raw disk")
    if not fresh and record.id in site.disk_ids:
        blockers.append(
            f"disk {record.alias} ({record.id}) exists: restore beside it with --name, or over it with --over"
        )
    return DiskPlan(
        record=record,
        disk_id=str(uuid.uuid4()) if fresh else record.id,
        image_id=str(uuid.uuid4()) if fresh or not record.image_id else record.image_id,
        domain=domain,
        format=form,
        sparse=sparse,
        backup=backup,
        notes=tuple(notes),
    )


_NOWHERE = Domain(id="", name="", block=False, available=0, status="", data_center_id=None)


def _domain(
    record: DiskRecord,
    site: Site,
    choices: RestoreChoices,
    data_center: str | None,
    blockers: list[str],
) -> Domain:
    chosen = (
        choices.storage_domains.get(record.alias)
        or choices.storage_domains.get(record.id)
        or choices.storage_domain
    )
    wanted = [chosen] if chosen else [record.storage_domain_id, record.storage_domain]
    for word in wanted:
        for domain in site.domains:
            if word and word in (domain.id, domain.name):
                if domain.status not in ("active", ""):
                    blockers.append(f"storage domain {domain.name} is {domain.status}")
                if data_center and domain.data_center_id and domain.data_center_id != data_center:
                    blockers.append(
                        f"storage domain {domain.name} is in another data center than the cluster"
                    )
                return domain
    missing = chosen or record.storage_domain or record.storage_domain_id
    blockers.append(
        f"there is no storage domain {missing} for disk {record.alias}: choose one with --storage-domain"
    )
    return _NOWHERE


def _check_space(disks: list[DiskPlan], blockers: list[str]) -> None:
    """A preallocated disk needs its whole size, a sparse one what its data took."""
    needs: dict[str, int] = {}
    domains = {disk.domain.id: disk.domain for disk in disks if disk.domain.id}
    for disk in disks:
        if disk.domain.id:
            needs[disk.domain.id] = needs.get(disk.domain.id, 0) + expected_size(disk)
    for domain_id, need in needs.items():
        domain = domains[domain_id]
        if need > domain.available:
            blockers.append(
                f"storage domain {domain.name} has {format_size(domain.available)} free, "
                f"the disks need about {format_size(need)}"
            )


def expected_size(disk: DiskPlan) -> int:
    """Bytes a restored disk will take on its domain, as far as the archive tells."""
    if not disk.sparse:
        return disk.record.size
    run = disk.record.run
    data = disk.record.size - run.bytes_zero if run else disk.record.actual_size or 0
    return min(data, disk.record.size)


def _check_vm(
    manifest: Manifest, site: Site, choices: RestoreChoices, name: str, blockers: list[str]
) -> None:
    if choices.name is None and manifest.vm.id in site.vm_ids:
        blockers.append(
            f"VM {manifest.vm.name} ({manifest.vm.id}) exists: restore beside it with --name, or remove it"
        )
    elif name in site.vm_names:
        blockers.append(f"a VM named {name} exists: choose another name with --name")
