"""Which disks of a VM a backup takes, and why it leaves the others."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from borg_ovirt.errors import UsageError, VmNotSuitable
from borg_ovirt.ovirt.facts.vm import DiskFacts, VmFacts
from borg_ovirt.repository.layout import SkippedDisk


@dataclass(frozen=True)
class DiskRules:
    """What the user wants left out, and whether a disk that cannot be backed up is an error."""

    exclude: tuple[str, ...] = ()
    """Disk ids, aliases, or globs of aliases."""
    larger_than: int | None = None
    """Leave out disks above this size, in bytes."""
    exclude_ids: tuple[str, ...] = ()
    """Disk ids of a list for many VMs: those of other VMs are no mistake."""
    always: tuple[str, ...] = ()
    """Ids of disks that are taken whatever the rules say."""
    unsupported: str = "skip"
    """`skip`, `ignore` (skip without a warning) or `refuse`."""


def choose_disks(vm: VmFacts, rules: DiskRules) -> tuple[list[DiskFacts], list[SkippedDisk]]:
    """Split the disks of a VM into those to back up and those to leave, each with its reason.

    Raises `VmNotSuitable` when a disk cannot be backed up and the rules say to refuse, `UsageError` for an
    exclude that is an id of no disk of this VM.
    """
    _check_ids(vm, rules.exclude)
    chosen: list[DiskFacts] = []
    skipped: list[SkippedDisk] = []
    for disk in vm.disks:
        cannot = disk.skip_reason
        unwanted = _unwanted(disk, rules)
        if unwanted:
            skipped.append(_skip(disk, unwanted, expected=True))
        elif cannot:
            skipped.append(_skip(disk, cannot, expected=rules.unsupported == "ignore"))
        else:
            chosen.append(disk)
    refused = [s for s in skipped if not s.expected]
    if refused and rules.unsupported == "refuse":
        raise VmNotSuitable(
            f"VM {vm.name} has disks that cannot be backed up: {listing(refused)}.",
            "Exclude them with --exclude-disk, or leave out --strict.",
        )
    return chosen, skipped


def listing(skipped: Iterable[SkippedDisk]) -> str:
    """Skipped disks in words, for a message."""
    return ", ".join(f"{s.alias or s.id} ({s.reason})" for s in skipped)


def _unwanted(disk: DiskFacts, rules: DiskRules) -> str | None:
    if disk.id in rules.always:
        return None
    if disk.id in {disk_id.lower() for disk_id in rules.exclude_ids}:
        return "excluded by its id"
    for pattern in rules.exclude:
        if disk.id == pattern.lower() or fnmatchcase(disk.alias, pattern):
            return f"excluded by {pattern}"
    if rules.larger_than is not None and disk.size > rules.larger_than:
        return f"excluded: larger than {rules.larger_than} bytes"
    return None


def _skip(disk: DiskFacts, reason: str, *, expected: bool) -> SkippedDisk:
    return SkippedDisk(id=disk.id, alias=disk.alias, reason=reason, size=disk.size, expected=expected)


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _check_ids(vm: VmFacts, patterns: Iterable[str]) -> None:
    ids = {disk.id for disk in vm.disks}
    for pattern in patterns:
        if _UUID.fullmatch(pattern.lower()) and pattern.lower() not in ids:
            raise UsageError(f"--exclude-disk {pattern}: VM {vm.name} has no such disk.")
