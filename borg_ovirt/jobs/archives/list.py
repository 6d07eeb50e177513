"""The archives of a repository that are ours, and what one of them holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from borg_ovirt.jobs.archives.find import find_archive, of_vm
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class ArchiveLine:
    """One line of the list."""

    archive: str
    id: str
    time: datetime
    vm: str
    vm_id: str
    mode: str
    kind: str
    reason: str | None
    """Why it was read in full."""
    checkpoint: str | None
    marked: bool
    held: bool


@dataclass(frozen=True)
class ArchiveFacts:
    """One archive, whole."""

    line: ArchiveLine
    manifest: Manifest
    original_size: int
    """Bytes of all disks as the guests see them."""


def list_archives(repository: Repository, vm: str | None = None) -> list[ArchiveLine]:
    """The archives, oldest first; of one VM (name or id) if asked."""
    archives = repository.archives()
    if vm is not None:
        archives = of_vm(archives, vm)
    return [
        ArchiveLine(
            archive=a.name,
            id=a.id,
            time=a.time,
            vm=a.comment.vm_name,
            vm_id=a.comment.vm_id,
            mode=a.comment.mode,
            kind=a.comment.kind,
            reason=a.comment.reason,
            checkpoint=a.comment.checkpoint,
            marked=a.comment.marked,
            held=a.comment.held,
        )
        for a in sorted(archives, key=lambda a: (a.time, a.name))
    ]


def archive_facts(repository: Repository, name: str) -> ArchiveFacts:
    """What an archive (or the latest one of a VM) holds."""
    info = find_archive(repository, name)
    manifest = repository.archive(info.name).manifest
    line = next(line for line in list_archives(repository) if line.archive == info.name)
    return ArchiveFacts(line, manifest, sum(manifest.contents.values()))
