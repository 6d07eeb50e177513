"""Which archive a user means: an exact archive name, or a VM, which stands for its latest archive."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import NoReturn

from borg_ovirt.errors import ArchiveNotFound, RepositoryDamaged
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.names import is_checkpoint_name, may_be_later
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.series import Series, all_series


def find_archive(repository: Repository, name: str) -> ArchiveInfo:
    """The archive called `name`, or the latest one of the VM of that name or id.

    Raises `ArchiveNotFound` when there is none, when several VMs had that name over time, and when the VM is
    on several engines; `RepositoryDamaged` when the latest one cannot be read.
    """
    info = archive_named(repository, name)
    if info is not None:
        return info
    found = series_named(repository, name)
    engines = {series.engine_id or series.engine for series in found}
    if len(engines) > 1:
        choices = "; ".join(f"{series.engine} (latest archive {series.newest.name})" for series in found)
        raise ArchiveNotFound(
            f"{name} is a VM of {len(engines)} engines: {choices}.", "Name the archive, as REPO::ARCHIVE."
        )
    newest = latest(found)
    lost = [n for n in repository.unreadable() if may_be_later(n, newest.comment.vm_name, newest.name)]
    if lost:  # an older state is given back only to whoever asks for it
        raise RepositoryDamaged(
            f"The latest archive of {name} seems to be {max(lost)}, which cannot be read.",
            f"The newest that can is {newest.name}: name that, as REPO::ARCHIVE; and run `borg check`.",
        )
    return newest


def archive_named(repository: Repository, name: str) -> ArchiveInfo | None:
    """The archive of exactly that name, if it is one of ours."""
    return next((info for info in repository.archives() if info.name == name), None)


def series_named(repository: Repository, name: str) -> list[Series]:
    """The series of the VM of that name or id; `ArchiveNotFound` if there is none, or several VMs had it."""
    found = series_of_vm(repository.archives(), name)
    if found:
        return found
    if name in repository.all_names() and name in repository.unreadable():
        raise RepositoryDamaged(
            f"Archive {name} in {repository.location} cannot be read: the repository lost its metadata.",
            "Run `borg check` on the repository; `borg-ovirt list` shows the archives that are left.",
        )
    if is_checkpoint_name(name) and name in repository.all_names():
        raise ArchiveNotFound(
            f"{name} in {repository.location} is what an interrupted run had stored: no disk in it is whole.",
            "The next backup of that VM uses what is there, and removes it.",
        )
    if name in repository.all_names() and archive_named(repository, name) is None:
        raise ArchiveNotFound(
            f"Archive {name} in {repository.location} was not made by borg-ovirt, or lost its comment.",
            "Use `borg extract` for it. `borg import-tar` drops comments: give it that of the archive "
            "(`borg info`) with --comment.",
        )
    raise ArchiveNotFound(
        f"{repository.location} has no archive {name}, and none of a VM of that name or id.",
        f"{_near(repository, name)}`borg-ovirt list REPO` shows what there is.",
    )


def is_glob(name: str) -> bool:
    """Whether it may mean several VMs or archives."""
    return bool(set(name) & set("*?["))


def series_like(repository: Repository, name: str) -> list[Series]:
    """As `series_named`; of all VMs that a glob fits."""
    if not is_glob(name):
        return series_named(repository, name)
    return [series for series in repository.series() if fnmatchcase(series.vm_name, name)] or none_like(
        repository, name
    )


def none_like(repository: Repository, glob: str) -> NoReturn:
    """Nothing there fits a glob."""
    raise ArchiveNotFound(
        f"{repository.location} has no archive like {glob}, and none of a VM like that.",
        "`borg-ovirt list REPO` shows what there is.",
    )


def _near(repository: Repository, name: str) -> str:
    """A question after names that are like it: of VMs, else of archives."""
    infos = repository.archives()
    for names in ({info.comment.vm_name for info in infos}, {info.name for info in infos}):
        by_small = {known.casefold(): known for known in sorted(names)}
        if near := difflib.get_close_matches(name.casefold(), by_small, n=3):
            return f"Did you mean {' or '.join(by_small[found] for found in near)}? "
    return ""


def latest(found: Iterable[Series]) -> ArchiveInfo:
    """The newest archive of a VM, whatever its mode. Without all their numbers, times decide."""
    found = list(found)
    numbered = all(series.newest.comment.number for series in found)

    def rank(series: Series) -> tuple[int, datetime, str]:
        newest = series.newest
        return (newest.comment.number or 0) if numbered else 0, series.times[newest.name], newest.name

    return max(found, key=rank).newest


def series_of_vm(archives: Iterable[ArchiveInfo], name_or_id: str) -> list[Series]:
    """The series of one VM, of every engine that has it; `ArchiveNotFound` if several VMs had that name."""
    every = all_series(archives, datetime.now(timezone.utc))
    by_id = [series for series in every if series.vm_id == name_or_id.lower()]
    if by_id:
        return by_id
    ids = {s.vm_id for s in every if any(a.comment.vm_name == name_or_id for a in s.archives)}
    if len(ids) > 1:
        choices = "; ".join(
            f"{vm_id} (latest archive {latest(s for s in every if s.vm_id == vm_id).name})"
            for vm_id in sorted(ids)
        )
        raise ArchiveNotFound(
            f"{len(ids)} VMs were named {name_or_id}: {choices}.", "Name the VM by its id, or the archive."
        )
    return [series for series in every if series.vm_id in ids]
