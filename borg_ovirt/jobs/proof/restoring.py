"""Level restore: each disk goes the whole way into the engine, is proven there, and is removed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.restore import Destination, restore
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository


def restore_to_nowhere(
    repository: Repository,
    name: str,
    destination: Destination,
    domain: str | None,
    work_dir: Path | None,
    go_on: Callable[[], bool],
    progress: Progress,
) -> list[str] | None:
    """One scratch disk after the other, so that room is needed for one; returns how each was proven.

    None when time ran out before the last disk. What the engine refuses, or has no room for, raises; bytes
    that are not those of the archive raise `ProofFailed`.
    """
    proofs = []
    for disk in repository.archive(name).manifest.disks:
        if not go_on():
            return None
        options = RestoreOptions(
            disks=(disk.id,),
            storage_domains={"": domain} if domain else {},
            work_dir=work_dir,
        )
        result = restore(repository, name, options, destination, progress, scratch=True)
        proofs += [f"{one.alias} by {one.proof}" for one in result.disks]
    return proofs
