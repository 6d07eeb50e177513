"""Level structure: manifest, OVF, every item in its size, every chunk there, headers sound."""

from __future__ import annotations

from borg_ovirt.errors import ArchiveNotFound, NotOurArchive, RepositoryDamaged
from borg_ovirt.jobs.restore.health import examine
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.wanted import want
from borg_ovirt.ovirt.facts.ovf import parse
from borg_ovirt.repository.layout import README
from borg_ovirt.repository.open import Repository


def look_at_structure(repository: Repository, name: str) -> str | None:
    """What is wrong with an archive, as far as can be told without reading its disks; None if nothing is."""
    lost = repository.lost(name)
    if lost is not None:
        return lost
    try:
        reader = repository.archive(name)
        found = parse(reader.ovf)
        if found.vm_id.lower() != reader.manifest.vm.id.lower():
            return f"its OVF is of VM {found.vm_id}, its manifest of {reader.manifest.vm.id}"
        if reader.damaged(README):
            return f"the repository lost chunks of {README}"
        health = examine(reader, want(name, reader.manifest, RestoreOptions()))
    except (ArchiveNotFound, NotOurArchive, RepositoryDamaged) as error:
        return error.message.rstrip(".")
    return "; ".join(health.faults) or None
