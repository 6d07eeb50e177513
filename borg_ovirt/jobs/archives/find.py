"""Which archive a user means: an exact archive name, or a VM, which stands for its latest archive."""

from __future__ import annotations

from collections.abc import Iterable

from borg_ovirt.errors import ArchiveNotFound
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository


def find_archive(repository: Repository, name: str) -> ArchiveInfo:
    """The archive called `name`, or the latest one of the VM of that name or id.

    Raises `ArchiveNotFound` when there is none, or when several VMs had that name over time.
    """
    archives = repository.archives()
    for info in archives:
        if info.name == name:
            return info
    found = of_vm(archives, name)
    if not found:
        foreign = name in repository.all_names()
        raise ArchiveNotFound(
            f"Archive {name} in {repository.location} was not made by borg-ovirt."
            if foreign
            else f"{repository.location} has no archive {name}, and none of a VM of that name or id.",
            "Use `borg extract` for it." if foreign else "`borg-ovirt list REPO` shows what there is.",
        )
    return newest_first(found)[0]


def newest_first(archives: Iterable[ArchiveInfo]) -> list[ArchiveInfo]:
    """The latest archive of a series at the front."""
    return sorted(archives, key=lambda info: info.time, reverse=True)


def of_vm(archives: Iterable[ArchiveInfo], name_or_id: str) -> list[ArchiveInfo]:
    """The archives of one VM; `ArchiveNotFound` if the name belonged to several VMs."""
    archives = list(archives)
    by_id = [a for a in archives if a.comment.vm_id == name_or_id.lower()]
    if by_id:
        return by_id
    ids = {a.comment.vm_id for a in archives if a.comment.vm_name == name_or_id}
    if len(ids) > 1:
        choices = "; ".join(_latest(archives, vm_id) for vm_id in sorted(ids))
        raise ArchiveNotFound(
            f"{len(ids)} VMs were named {name_or_id}: {choices}.", "Name the VM by its id, or the archive."
        )
    return [a for a in archives if a.comment.vm_id in ids]


def _latest(archives: list[ArchiveInfo], vm_id: str) -> str:
    last = newest_first(a for a in archives if a.comment.vm_id == vm_id)[0]
    return f"{vm_id} (latest archive {last.name})"
