"""Where a disk is made and in which form: the nearest that the storage domain takes. Pure."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from borg_ovirt.blocks import MiB
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import DiskPlan
from borg_ovirt.jobs.restore.site import NOWHERE, Domain, Site
from borg_ovirt.jobs.restore.wanted import WantedDisk
from borg_ovirt.repository.layout import DiskRecord
from borg_ovirt.units import format_size

FILE_BLOCK = 4096
"""Bytes: an upload to a raw disk on file storage is refused unless its size is a multiple of this."""
_QCOW2_HEAD = 16 * MiB
"""What the tables of a qcow2 file take at least."""


@dataclass
class Placing:
    """The disks of one plan get their places; what is in the way is collected."""

    site: Site
    options: RestoreOptions
    data_center: str | None
    blockers: list[str]

    def place(self, disk: WantedDisk) -> DiskPlan:
        """A disk to make for a whole image."""
        record = disk.record
        domain = self._domain(record)
        form, sparse, notes = _form(record, domain)
        if form == "raw" and record.size % FILE_BLOCK and not domain.block and domain is not NOWHERE:
            form, sparse, notes = self._odd(disk, notes)
        fresh = self.options.fresh
        if not fresh and record.id in self.site.disk_ids:
            self.blockers.append(
                f"disk {record.alias} ({record.id}) exists: restore beside it with --name, "
                "or over it with --over"
            )
        refusal = _refusal(domain, self.data_center)
        if refusal and refusal not in self.blockers:
            self.blockers.append(refusal)
        return DiskPlan(
            source=disk,
            layers=(),
            disk_id=str(uuid.uuid4()) if fresh else record.id,
            image_id=str(uuid.uuid4()) if fresh or not record.image_id else record.image_id,
            alias=disk.alias,
            size=record.size,
            domain=domain,
            format=form,
            sparse=sparse,
            backup=record.backup,
            quota=record.quota if record.quota in self.site.held.quotas.values() else None,
            notes=notes,
        )

    def _odd(self, disk: WantedDisk, notes: tuple[str, ...]) -> tuple[str, bool, tuple[str, ...]]:
        """File storage takes no upload to such a raw disk: it answers 400 when others have gone up."""
        what = f"raw of {disk.record.size} bytes, no multiple of {FILE_BLOCK}"
        if disk.whole:
            return "cow", True, (*notes, f"{what}, becomes qcow2 sparse: file storage takes no such raw disk")
        self.blockers.append(
            f"the base of disk {disk.name} is {what}: file storage takes none; choose block storage with "
            "--storage-domain, or --flatten"
        )
        return "raw", disk.record.sparse, notes

    def _domain(self, record: DiskRecord) -> Domain:
        words = self.options.storage_domains
        chosen = words.get(record.alias) or words.get(record.id) or words.get("")
        chosen = chosen or self.options.mapping.storage_domains.get(record.storage_domain or "")
        for word in (chosen,) if chosen else (record.storage_domain_id, record.storage_domain):
            domain = self.site.domain(word)
            if domain is not None:
                return domain
        missing = chosen or record.storage_domain or record.storage_domain_id
        self.blockers.append(
            f"there is no storage domain {missing} for disk {record.alias}: choose one with --storage-domain"
        )
        return NOWHERE


def _refusal(domain: Domain, data_center: str | None) -> str | None:
    if domain.status not in ("active", ""):
        return f"storage domain {domain.name} is {domain.status}"
    if data_center and domain.data_center_id and domain.data_center_id != data_center:
        return f"storage domain {domain.name} is in another data center than the cluster"
    return None


def _form(record: DiskRecord, domain: Domain) -> tuple[str, bool, tuple[str, ...]]:
    """Format, whether it is sparse, and what differs from the archived form."""
    form, sparse = record.format, record.sparse
    if domain.block and form == "raw" and sparse and record.backup != "incremental":
        return form, False, ("raw sparse becomes raw preallocated: block storage has no sparse raw disks",)
    if form == "cow" and not sparse and record.backup != "incremental":
        note = "qcow2 preallocated becomes sparse: the engine keeps that form for incremental disks only"
        return form, True, (note,)
    if form == "raw" and record.backup == "incremental":
        note = "raw with incremental backup becomes qcow2 sparse: the engine makes no such raw disk"
        return "cow", True, (note,)
    return form, sparse, ()


def check_space(disks: list[DiskPlan], blockers: list[str]) -> None:
    """A preallocated disk needs its whole size, a sparse one what its data took."""
    needs: dict[str, int] = {}
    domains = {disk.domain.id: disk.domain for disk in disks if disk.domain.id}
    for disk in disks:
        if disk.domain.id:
            needs[disk.domain.id] = needs.get(disk.domain.id, 0) + expected_size(disk)
    for domain_id, need in needs.items():
        domain = domains[domain_id]
        if domain.available < domain.reserve:
            blockers.append(
                f"storage domain {domain.name} has {format_size(domain.available)} free, less than its "
                f"critical space of {format_size(domain.reserve)}: the engine makes no disk there"
            )
        elif need > domain.available:
            blockers.append(
                f"storage domain {domain.name} has {format_size(domain.available)} free, "
                f"the disks need about {format_size(need)}"
            )


def expected_size(disk: DiskPlan) -> int:
    """Bytes a restored disk will take on its domain, as far as the archive tells."""
    if not disk.sparse:
        return disk.size
    record = disk.source.record
    if record.layers:
        data = sum(layer.actual_size or layer.size for layer in record.layers)
    else:
        data = disk.size - record.run.bytes_zero if record.run else record.actual_size or 0
    return min(data, disk.size)


def first_size(disk: DiskPlan) -> int | None:
    """What the volume of a thin qcow2 disk on block storage must have at first: data, and tables on top."""
    if not (disk.domain.block and disk.format == "cow"):
        return None
    tables = disk.size // 1024 + _QCOW2_HEAD
    return min(expected_size(disk) + tables, disk.size + tables)


def check_target(site: Site, wanted: str, disks: list[DiskPlan], blockers: list[str]) -> None:
    """Whether the VM that is to get the disks can take them."""
    target = site.attach
    if target is None:
        blockers.append(f"there is no VM {wanted} to attach to")
        return
    if target.status not in ("up", "paused", "down"):
        blockers.append(f"VM {target.name} is {target.status}: no disk can be attached to it now")
    for disk in disks:
        if None not in (center := disk.domain.data_center_id, target.data_center_id) and (
            center != target.data_center_id
        ):
            blockers.append(
                f"storage domain {disk.domain.name} is in another data center than VM {target.name}"
            )
