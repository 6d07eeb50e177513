"""The archives of a repository that are ours, and what one of them holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Literal

from borg_ovirt.jobs.archives.find import archive_named, find_archive, series_named
from borg_ovirt.jobs.archives.heat import heats
from borg_ovirt.jobs.archives.hold import in_words as hold_in_words
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import FiguresRecord, HoldRecord, Manifest
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.proof import ProofRecord, failed_proof, in_words, last_proof
from borg_ovirt.repository.series import Series

Check = Literal["newest", "all", "none"]
"""What is looked at for damage: of each series back to the newest whole archive, or all, or nothing."""


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
    repository: Repository, name: str | None = None, check: Check = "none"
) -> list[ArchiveLine]:
    """The archives, oldest first; those of one VM (name or id), or the one of that name, if asked."""
    info = archive_named(repository, name) if name is not None else None
    if info is not None:
        return [_line_of(repository, info, check)]
    found = repository.series() if name is None else series_named(repository, name)
    times = {name: time for series in found for name, time in series.times.items()}
    lines = (line for series in found for line in _lines(repository, series, check))
    return sorted(lines, key=lambda line: (times[line.archive], line.archive))


def _line_of(repository: Repository, info: ArchiveInfo, check: Check) -> ArchiveLine:
    (series,) = (s for s in repository.series() if info.name in s.times)
    (line,) = (line for line in _lines(repository, series, "none") if line.archive == info.name)
    return line if check == "none" else replace(line, damage=repository.damage(info.name))


def _lines(repository: Repository, series: Series, check: Check) -> Iterator[ArchiveLine]:
    looking = check != "none"
    hot = heats(series)
    for info in series.newest_first:
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
