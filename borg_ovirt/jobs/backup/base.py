"""Which older archive a backup may build on, and if none: why not.

One walk over the series, the latest archive first, for both modes. The newest archive that can be read is the
base; in image mode the engine must also hold the checkpoint it ends at. Damage is stepped over and told. What
of the base can be used is decided item by item (`reuse`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Protocol

from borg_ovirt.errors import NotOurArchive, RepositoryDamaged
from borg_ovirt.jobs.backup.reuse import Found, Wanted, find_item
from borg_ovirt.jobs.selection import EngineId
from borg_ovirt.repository import layout
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.proof import failed_proof, in_words
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.repository.series import all_series


class Start(Protocol):
    """What a backup builds on: the archive of one repository, or one in each of several."""

    @property
    def name(self) -> str: ...

    @property
    def checkpoint(self) -> str | None:
        """Where changes are counted from; None in chain mode."""
        ...

    @property
    def record(self) -> layout.BaseRecord | None:
        """For the manifest; None where each repository fills in its own."""
        ...

    @property
    def last_read(self) -> int | None:
        """Bytes that had changed in the archive itself; None where it was a full read."""
        ...

    def find(self, wanted: Wanted) -> Found:
        """What one item can build on, or the reason why it is read whole."""
        ...


@dataclass(frozen=True)
class BaseArchive:
    """An archive to build on, and the checkpoint from which changes are counted."""

    info: ArchiveInfo
    reader: ArchiveReader
    checkpoint: str | None

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def record(self) -> layout.BaseRecord:
        return layout.BaseRecord(name=self.info.name, id=self.info.id)

    @property
    def last_read(self) -> int | None:
        manifest = self.reader.manifest
        if manifest.run.kind == "full":
            return None
        return sum(disk.run.bytes_read for disk in manifest.disks if disk.run)

    def find(self, wanted: Wanted) -> Found:
        return find_item(self.reader, wanted)


@dataclass(frozen=True)
class BaseQuery:
    """What decides on the base of one VM's backup, besides the archives there are."""

    vm_id: str
    mode: str
    """`image` or `chain`."""
    checkpoints: Mapping[str, str]
    """Ids of the engine's checkpoints of the VM, root first, with their state; none are needed for chains."""
    full: bool
    full_every: timedelta | None
    """Read everything again when the last full read is older."""
    now: datetime
    engine: EngineId | None = None
    """Whose VM it is: the same id may stand for a VM of another engine too."""


@dataclass(frozen=True)
class Choice:
    """A base, or the reason why the backup reads everything."""

    base: Start | None
    reason: str | None
    fallback: bool
    """Whether a full read is a step back (an incremental one was to be expected) or simply the plan."""
    cell: int | None = None
    """Size of the series' grid cells in bytes, so that every chunk can be referred to again."""
    damage: tuple[str, ...] = ()
    """Archives that were met and could not be read, in words."""


_MARKS = {"image": "its change tracking was found wrong", "chain": "reused layers were found changed"}


def newest_first(
    repository: Repository, vm_id: str, mode: str, engine: EngineId | None, now: datetime | None = None
) -> list[ArchiveInfo]:
    """The archives of one VM (of one engine) and mode, the latest first, as told by no clock alone."""
    every = all_series(repository.archives(), now or datetime.now(timezone.utc))
    mine = [series for series in every if (series.vm_id, series.mode) == (vm_id, mode)]
    return [info for s in mine if engine is None or s.is_of(*engine) for info in s.newest_first]


def needed_checkpoints(repository: Repository, vm_id: str, engine: EngineId | None = None) -> set[str]:
    """The checkpoint from which the next incremental backup of the VM would start, if there is one."""
    for info in newest_first(repository, vm_id, "image", engine):
        if info.comment.marked:
            break
        if info.comment.checkpoint:
            return {info.comment.checkpoint}
    return set()


def series_cell(repository: Repository, vm_id: str, mode: str, engine: EngineId | None = None) -> int | None:
    """The size of the series' grid cells: that of its latest archive that can be read."""
    opened = (_opened(repository, info) for info in newest_first(repository, vm_id, mode, engine))
    return next((one.manifest.run.cell for one in opened if not isinstance(one, str)), None)


def choose_base(repository: Repository, query: BaseQuery) -> Choice:
    """Choose the archive to build on."""
    archives = newest_first(repository, query.vm_id, query.mode, query.engine, query.now)
    reason = _why_none(archives, query)
    looking = reason is None
    fallback = looking and _was_expected(archives[0])
    cell, damage = None, []
    for info in archives:
        refusal = _why_not(info, query) if looking else None
        if cell is None or (looking and refusal is None):
            reader = _opened(repository, info)
            if isinstance(reader, str):
                damage.append(reader)
                refusal = refusal or reader
            else:
                cell = cell or reader.manifest.run.cell
                if looking and refusal is None:
                    base = BaseArchive(info, reader, info.comment.checkpoint)
                    return Choice(base, None, fallback=False, cell=cell, damage=tuple(damage))
        reason = reason or refusal
        looking = looking and not info.comment.marked  # nothing older than a mark is a base
        if cell is not None and not looking:
            break
    return Choice(None, reason, fallback, cell, tuple(damage))


def _opened(repository: Repository, info: ArchiveInfo) -> ArchiveReader | str:
    """The archive, proven by its manifest, or its damage in words; a lost connection is no damage."""
    if failed := failed_proof(info.comment.proofs):
        return f"the archive {info.name} is damaged: {in_words(failed)}"
    try:
        reader = repository.archive(info.name)
        reader.manifest  # noqa: B018
    except (RepositoryDamaged, NotOurArchive) as error:
        return f"the archive {info.name} is damaged: {error.message}"
    return reader


def _why_none(archives: list[ArchiveInfo], query: BaseQuery) -> str | None:
    """Why everything is to be read, whatever the archives hold."""
    if query.full:
        return "a full backup was asked for"
    if not archives:
        kind = "chain backup" if query.mode == "chain" else "backup"
        return f"first {kind} of this VM in this repository"
    every = query.full_every
    if every is not None and _last_full_age(archives, query.now) >= every:
        return f"the last full read is older than {_days(every)}"
    return None


def _why_not(info: ArchiveInfo, query: BaseQuery) -> str | None:
    """Why this archive cannot be built on, though it may be whole."""
    comment = info.comment
    if comment.marked:
        return f"the last archive {info.name} is marked: {_MARKS[query.mode]}"
    if query.mode == "chain":
        return None
    if comment.checkpoint is None:
        return f"the last archive {info.name} ends at no checkpoint"
    state = query.checkpoints.get(comment.checkpoint)
    if state is None:
        return f"the engine no longer holds the checkpoint of {info.name}"
    return None if state == "created" else f"the engine calls the checkpoint of {info.name} {state}"


def _was_expected(newest: ArchiveInfo) -> bool:
    """An image archive without a checkpoint (raw disks only, an old cluster) is followed by full reads."""
    comment = newest.comment
    return comment.checkpoint is not None or comment.marked or comment.mode == "chain"


def _last_full_age(archives: list[ArchiveInfo], now: datetime) -> timedelta:
    fulls = [a.time for a in archives if a.comment.kind == "full"]
    return now - max(fulls) if fulls else timedelta.max


def _days(span: timedelta) -> str:
    return f"{span.days} days" if span.days else f"{span.total_seconds() / 3600:.0f} hours"
