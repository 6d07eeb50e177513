"""Which older archive a backup may build on, and if none: why not.

An archive can be the base of an incremental backup when it is the newest good one of this VM (by VM id) in
this repository and the engine still holds the checkpoint it ends at. Whether a single disk can build on it
is decided disk by disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import BorgOvirtError, NotOurArchive
from borg_ovirt.pipe.ports import Base
from borg_ovirt.repository import layout
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader, DiskContent


class DiskBase(Base, Protocol):
    """One disk to build on."""

    def sampled(self, cells: Sequence[int]) -> Base:
        """The same with comparable ids at least for these cells."""
        ...


class Start(Protocol):
    """What a backup builds on: the archive of one repository, or one in each of several."""

    @property
    def name(self) -> str: ...

    @property
    def checkpoint(self) -> str:
        """Where changes are counted from."""
        ...

    @property
    def record(self) -> layout.BaseRecord | None:
        """For the manifest; None where each repository fills in its own."""
        ...

    def disk(self, disk_id: str, size: int, cell: int) -> tuple[DiskBase | None, str | None]:
        """The base of one disk, or the reason why that disk is read whole."""
        ...


@dataclass(frozen=True)
class BaseArchive:
    """An archive to build on, and the checkpoint from which changes are counted."""

    info: ArchiveInfo
    reader: ArchiveReader
    checkpoint: str

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def record(self) -> layout.BaseRecord:
        return layout.BaseRecord(name=self.info.name, id=self.info.id)

    def disk(self, disk_id: str, size: int, cell: int) -> tuple[BaseDisk | None, str | None]:
        return disk_base(self, disk_id, size, cell)


@dataclass(frozen=True)
class BaseQuery:
    """What decides on the base of one VM's backup, besides the archives there are."""

    vm_id: str
    checkpoints: Mapping[str, str]
    """Ids of the engine's checkpoints of the VM, root first, with their state."""
    full: bool
    full_every: timedelta | None
    """Read everything again when the last full read is older."""
    now: datetime


@dataclass(frozen=True)
class Choice:
    """A base, or the reason why the backup reads everything."""

    base: Start | None
    reason: str | None
    fallback: bool
    """Whether a full read is a step back (an incremental one was to be expected) or simply the plan."""


class BaseDisk:
    """One disk of the base archive as the plan asks about it, cell by cell; `disk_base` has checked it."""

    def __init__(self, content: DiskContent, cell: int) -> None:
        self._content = content
        self.size = content.size
        self.cell = cell

    def chunk(self, index: int) -> Chunk:
        """The chunk of a cell of the base."""
        return self._content.chunks[index]

    def is_zero(self, index: int) -> bool:
        """Whether the base holds only zeros in that cell."""
        return self._content.is_zero(self._content.chunks[index])

    def data_cells(self, first: int, end: int) -> Iterator[int]:
        """Those of the cells first..end that are not known to be zeros."""
        return self._content.data_chunks(first, end, self.cell)

    def available(self, index: int) -> bool:
        """All chunks were found in the repository before."""
        return True

    def sampled(self, cells: Sequence[int]) -> BaseDisk:
        """Its ids are always those of the repository."""
        return self


def newest_first(repository: Repository, vm_id: str, mode: str) -> list[ArchiveInfo]:
    """The archives of one VM and mode, the latest first."""
    ours = [a for a in repository.archives() if a.comment.vm_id == vm_id and a.comment.mode == mode]
    return sorted(ours, key=lambda a: a.time, reverse=True)


def needed_checkpoints(repository: Repository, vm_id: str) -> set[str]:
    """The checkpoint from which the next incremental backup of the VM would start, if there is one."""
    for info in newest_first(repository, vm_id, "image"):
        if info.comment.marked:
            break
        if info.comment.checkpoint:
            return {info.comment.checkpoint}
    return set()


def series_cell(repository: Repository, vm_id: str) -> int | None:
    """The cell size of the series: its latest archive's, so that every chunk can be referred to again."""
    for info in newest_first(repository, vm_id, "image"):
        try:
            return repository.archive(info.name).manifest.run.cell
        except NotOurArchive:  # damaged: the one before it knows as well
            continue
    return None


def choose_base(repository: Repository, query: BaseQuery) -> Choice:
    """Choose the archive to build on."""
    if query.full:
        return Choice(None, "a full backup was asked for", fallback=False)
    archives = newest_first(repository, query.vm_id, "image")
    if not archives:
        return Choice(None, "first backup of this VM in this repository", fallback=False)
    every = query.full_every
    if every is not None and _last_full_age(archives, query.now) >= every:
        return Choice(None, f"the last full read is older than {_days(every)}", fallback=False)
    reason = None
    for info in archives:
        refusal, base = _examine(repository, info, query.checkpoints)
        if base is not None:
            return Choice(base, None, fallback=False)
        reason = reason or refusal
        if info.comment.marked:
            break
    return Choice(None, reason, fallback=_was_expected(archives[0]))


def _examine(
    repository: Repository, info: ArchiveInfo, checkpoints: Mapping[str, str]
) -> tuple[str | None, BaseArchive | None]:
    comment = info.comment
    if comment.marked:
        return f"the last archive {info.name} is marked: its change tracking was found wrong", None
    if comment.checkpoint is None:
        return f"the last archive {info.name} ends at no checkpoint", None
    state = checkpoints.get(comment.checkpoint)
    if state is None:
        return f"the engine no longer holds the checkpoint of {info.name}", None
    if state != "created":
        return f"the engine calls the checkpoint of {info.name} {state}", None
    try:
        reader = repository.archive(info.name)
        reader.manifest  # noqa: B018  (reading it proves the archive)
    except BorgOvirtError as error:
        return f"the base archive {info.name} is damaged: {error.message}", None
    return None, BaseArchive(info, reader, comment.checkpoint)


def _was_expected(newest: ArchiveInfo) -> bool:
    """A VM whose last archive ended at no checkpoint (raw disks only, an old cluster) is full by nature."""
    return newest.comment.checkpoint is not None or newest.comment.marked


def _last_full_age(archives: list[ArchiveInfo], now: datetime) -> timedelta:
    fulls = [a.time for a in archives if a.comment.kind == "full"]
    return now - max(fulls) if fulls else timedelta.max


def _days(span: timedelta) -> str:
    return f"{span.days} days" if span.days else f"{span.total_seconds() / 3600:.0f} hours"


def disk_base(base: BaseArchive, disk_id: str, size: int, cell: int) -> tuple[BaseDisk | None, str | None]:
    """The base of one disk, or the reason why that disk is read whole."""
    record = next((d for d in base.reader.manifest.disks if d.id == disk_id), None)
    if record is None:
        return None, f"the disk is not in {base.info.name}"
    if record.cell != cell:
        return None, f"{base.info.name} has another chunk size"
    if record.size > size:
        return None, f"the disk is smaller than in {base.info.name}: it was replaced or rolled back"
    content = base.reader.disk(record.path)
    if content.damaged:
        return None, f"{base.info.name} is damaged: the repository lost chunks of this disk"
    return BaseDisk(content, cell), None
