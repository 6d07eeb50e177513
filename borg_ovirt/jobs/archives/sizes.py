"""What each VM takes of a repository: for itself, and together with others."""

from __future__ import annotations

from dataclasses import dataclass

from borg_ovirt.jobs.archives.find import series_like
from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class VmSize:
    """One VM. Sizes in bytes."""

    vm: str
    vm_id: str
    archives: int
    size: int
    """Of the disks in its newest archive."""
    unique: int
    """What only its archives need, compressed: it goes with them."""
    shared: int
    """What others need, too."""


@dataclass(frozen=True)
class Sizes:
    """A repository. Sizes in bytes."""

    vms: list[VmSize]
    """The one that takes most first."""
    original: int
    """Of all files of all archives."""
    stored: int
    """Of all chunks, compressed, each counted once."""


def sizes_of(repository: Repository, vm: str | None = None) -> Sizes:
    """The VMs, or those (name, id or glob); whatever it is, the lists of all archives are read."""
    found = repository.series() if vm is None else series_like(repository, vm)
    usage = repository.usage()
    by_vm: dict[str, list[VmSize]] = {}
    for series in found:
        used = usage.vms[series.vm_id]
        figures = series.newest.comment.figures
        size = figures.size if figures else series.newest.original_size
        line = VmSize(series.vm_name, series.vm_id, len(series.archives), size, used.unique, used.shared)
        by_vm.setdefault(series.vm_id, []).append(line)
    lines = [_together(lines) for lines in by_vm.values()]
    return Sizes(sorted(lines, key=lambda v: (-v.unique, v.vm)), usage.original, usage.stored)


def _together(lines: list[VmSize]) -> VmSize:
    """The series of one VM, image and chain: what they take is told for both already."""
    first = max(lines, key=lambda line: line.size)
    return VmSize(
        first.vm, first.vm_id, sum(v.archives for v in lines), first.size, first.unique, first.shared
    )
