"""What changed between two archives of a VM, disk by disk, from chunk ids alone."""

from __future__ import annotations

from dataclasses import dataclass

from borg_ovirt.jobs.find import find_archive
from borg_ovirt.pipe.compare import Changes, changed_ranges
from borg_ovirt.repository.layout import DiskRecord
from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class DiskDiff:
    """One disk in two archives."""

    alias: str
    id: str
    state: str
    """`changed`, `same`, `added` or `removed`."""
    size: int
    changes: Changes | None
    """None for a disk that only one archive holds."""


@dataclass(frozen=True)
class ArchiveDiff:
    """Two archives compared."""

    old: str
    new: str
    disks: list[DiskDiff]


def diff(repository: Repository, old: str, new: str) -> ArchiveDiff:
    """Compare two archives (names, or VMs for their latest archives)."""
    names = find_archive(repository, old).name, find_archive(repository, new).name
    before, after = (repository.archive(name) for name in names)
    old_disks = {disk.id: disk for disk in before.manifest.disks}
    new_disks = {disk.id: disk for disk in after.manifest.disks}
    found = []
    for disk_id, disk in new_disks.items():
        if disk_id not in old_disks:
            found.append(_lone(disk, "added"))
            continue
        changes = changed_ranges(before.disk(old_disks[disk_id].path), after.disk(disk.path))
        same = not changes.ranges and changes.old_size == changes.new_size
        found.append(
            DiskDiff(disk.alias or disk.id, disk.id, "same" if same else "changed", disk.size, changes)
        )
    found += [_lone(disk, "removed") for disk_id, disk in old_disks.items() if disk_id not in new_disks]
    return ArchiveDiff(*names, found)


def _lone(disk: DiskRecord, state: str) -> DiskDiff:
    return DiskDiff(disk.alias or disk.id, disk.id, state, disk.size, None)
