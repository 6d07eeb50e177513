"""The archives of a repository that are ours, and what one of them holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Any, Literal

from borg_ovirt.jobs.archives.find import archive_named, find_archive, is_glob, none_like, series_named
from borg_ovirt.jobs.archives.heat import heats
from borg_ovirt.jobs.archives.hold import in_words as hold_in_words
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import FiguresRecord, HoldRecord, Manifest
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.proof import ProofRecord, failed_proof, in_words, last_proof
from borg_ovirt.repository.series import Series

Check = Literal["newest", "all", "none"]
"""What is looked at for damage: of each series back to the newest whole archive, or all, or nothing."""
Sort = Literal["time", "name", "vm", "size", "added"]


@dataclass(frozen=True)
class Choice:
    """Which archives are listed, and in which order."""

    name: str | None = None
    """A VM (name or id), an archive, or a glob of either."""
    last: int | None = None
    """Of each series so many, the newest."""
    since: datetime | None = None
    """Those made before are left out."""
    sort: Sort = "time"
    """Ascending; by time where it decides nothing."""


@dataclass(frozen=True)
class ArchiveLine:
    """One line of the list."""

    archive: str
    id: str
    time: datetime
    time_doubted: bool
    """A clock was wrong: other archives tell that it was not made at that time."""
    vm: str
    vm_id: str
    engine: str
    """Host (and port) of the engine, under the name of its newest archive."""
    mode: str
    kind: str
    reason: str | None
    """Why it was read in full."""
    checkpoint: str | None
    marked: bool
    held: bool
    hold: HoldRecord | None
    """Who holds it, why, and until when."""
    figures: FiguresRecord | None
    """None in archives that were made before it was written."""
    heat: str | None
    """What was unusual about its night."""
    size: int
    """Bytes of its disks as the guests see them."""
    proof: ProofRecord | None
    """The last that it passed."""
    failed_proof: ProofRecord | None
    damage: str | None
    """Why it cannot be restored whole; None also for one that was not looked at."""

    @property
    def held_so(self) -> str:
        """The hold in words; empty without one."""
        return hold_in_words(self.hold) if self.held else ""


@dataclass(frozen=True)
class ArchiveFacts:
    """One archive, whole."""

    line: ArchiveLine
    manifest: Manifest
    original_size: int
    """Bytes of all disks as the guests see them."""


def list_archives(
    repository: Repository, choice: Choice = Choice(), check: Check = "none"
) -> list[ArchiveLine]:
    """The archives that were chosen. Raises `ArchiveNotFound` if there is nothing of that name."""
    name = choice.name
    info = archive_named(repository, name) if name is not None else None
    if info is not None:
        return [_line_of(repository, info, check)]
    lines: list[ArchiveLine] = []
    times: dict[str, datetime] = {}
    for series, names in _chosen(repository, choice):
        times.update(series.times)
        lines += _lines(repository, series, names, check)
    lines.sort(key=lambda line: (times[line.archive], line.archive))
    return lines if choice.sort == "time" else sorted(lines, key=_KEYS[choice.sort])


_KEYS: Mapping[Sort, Callable[[ArchiveLine], Any]] = {
    "name": lambda line: line.archive,
    "vm": lambda line: (line.vm, line.vm_id),
    "size": lambda line: line.size,
    "added": lambda line: line.figures.added if line.figures else 0,
}


def _chosen(repository: Repository, choice: Choice) -> Iterator[tuple[Series, Collection[str]]]:
    """The series, and which of their archives."""
    name = choice.name
    glob = name if name is not None and is_glob(name) else None
    found = repository.series() if name is None or glob else series_named(repository, name)
    met = glob is None
    for series in found:
        infos = [info for info in series.archives if glob is None or _fits(glob, series, info)]
        met = met or bool(infos)
        if choice.since is not None:
            infos = [info for info in infos if series.times[info.name] >= choice.since]
        yield series, {info.name for info in (infos[-choice.last :] if choice.last else infos)}
    if not met:
        none_like(repository, name or "")


def _fits(glob: str, series: Series, info: ArchiveInfo) -> bool:
    return any(fnmatchcase(name, glob) for name in (series.vm_name, info.comment.vm_name, info.name))


def _line_of(repository: Repository, info: ArchiveInfo, check: Check) -> ArchiveLine:
    (series,) = (s for s in repository.series() if info.name in s.times)
    (line,) = _lines(repository, series, {info.name}, "none")
    return line if check == "none" else replace(line, damage=repository.damage(info.name))


def _lines(
    repository: Repository, series: Series, names: Collection[str], check: Check
) -> Iterator[ArchiveLine]:
    looking = check != "none"
    hot = heats(series)
    for info in series.newest_first:
        if info.name not in names:
            continue
        failed = failed_proof(info.comment.proofs)
        damage = repository.damage(info.name) if looking else in_words(failed) if failed else None
        if damage is None and check == "newest":
            looking = False
        yield ArchiveLine(
            archive=info.name,
            id=info.id,
            time=info.time,
            time_doubted=info.name in series.doubted,
            vm=info.comment.vm_name,
            vm_id=info.comment.vm_id,
            engine=series.engine,
            mode=info.comment.mode,
            kind=info.comment.kind,
            reason=info.comment.reason,
            checkpoint=info.comment.checkpoint,
            marked=info.comment.marked,
            held=info.comment.held_at(datetime.now(timezone.utc)),
            hold=info.comment.hold if info.comment.held else None,
            figures=info.comment.figures,
            size=info.comment.figures.size if info.comment.figures else info.original_size,
            heat=hot.get(info.name),
            proof=last_proof(info.comment.proofs),
            failed_proof=failed,
            damage=damage,
        )


def archive_facts(repository: Repository, name: str) -> ArchiveFacts:
    """What an archive (or the latest one of a VM) holds, and whether that is all there."""
    info = find_archive(repository, name)
    manifest = repository.archive(info.name).manifest
    line = _line_of(repository, info, "all")
    return ArchiveFacts(line, manifest, sum(manifest.contents.values()))
