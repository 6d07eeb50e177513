"""What changed between two archives of a VM, disk by disk, from chunk ids alone."""

from __future__ import annotations

from dataclasses import dataclass

from borg_ovirt.errors import UsageError
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.pipe.compare import Changes, changed_ranges
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class DiskDiff:
    """One disk, or in chain mode one layer of a disk, in two archives."""

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
    if before.manifest.mode != after.manifest.mode:
        raise UsageError(f"{names[0]} and {names[1]} cannot be compared: one holds disks, the other chains.")
    old_items, new_items = _items(before.manifest), _items(after.manifest)
    found = []
    for key, item in new_items.items():
        if key not in old_items:
            found.append(_lone(item, "added"))
            continue
        try:
            changes = changed_ranges(before.disk(old_items[key].path), after.disk(item.path))
        except UsageError as error:
            raise UsageError(
                f"{item.name} of {names[0]} and of {names[1]}: one is not on the grid of the other, as "
                f"after borg recreate or import-tar. {error.message}",
                error.hint,
            ) from None
        same = not changes.ranges and changes.old_size == changes.new_size
        found.append(DiskDiff(item.name, item.id, "same" if same else "changed", item.size, changes))
    found += [_lone(item, "removed") for key, item in old_items.items() if key not in new_items]
    return ArchiveDiff(*names, found)


@dataclass(frozen=True)
class _Item:
    """What is compared: a disk, or the file of one layer."""

    id: str
    name: str
    path: str
    size: int


def _items(manifest: Manifest) -> dict[str, _Item]:
    items = {}
    for disk in manifest.disks:
        name = disk.alias or disk.id
        if not disk.layers:
            items[disk.id] = _Item(disk.id, name, disk.path, disk.size)
        for layer in disk.layers:
            items[layer.path] = _Item(layer.image_id, f"{name}/{layer.image_id}", layer.path, layer.size)
    return items


def _lone(item: _Item, state: str) -> DiskDiff:
    return DiskDiff(item.name, item.id, state, item.size, None)
