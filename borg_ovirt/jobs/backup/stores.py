"""Where the archives of one backup go: one repository in this process, or several at once (`workers`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from borg_ovirt.jobs.archives.heat import heat_of
from borg_ovirt.jobs.backup.base import BaseQuery, Choice, choose_base, needed_checkpoints
from borg_ovirt.jobs.selection import EngineId
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.pipe.ports import Sink
from borg_ovirt.repository import layout
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.writer import ArchiveWriter


@dataclass(frozen=True)
class Stored:
    """What became of a backup in one repository."""

    repository: str
    archive: str | None
    """None where the repository was given up."""
    base: str | None = None
    """The archive whose chunks were referred to."""
    bytes_new: int | None = None
    """Of the disks' cells those that were new to this repository, before compression."""
    bytes_added: int | None = None
    """What the repository grew by: compressed, deduplicated."""
    heat: str | None = None
    """What is unusual about the change since the last nights, in words."""
    error: str | None = None
    behind: bool = False
    """It was given up because the others would have waited too long for it."""
    copied_from: str | None = None
    """The repository from which the archive was copied afterwards."""


class Archive(Protocol):
    """An archive that is being made; visible only after `commit`."""

    @property
    def name(self) -> str: ...

    def add_file(self, path: str, data: bytes) -> None: ...

    def item(self, path: str, size: int, cell: int) -> Sink[Any, Any]:
        """Start a disk or a layer of one; its cells come in order, and before those of the next."""
        ...

    def complete(self, sink: Any, stats: DownloadStats) -> None:
        """The item has all its cells; `stats` learns what could not be known before."""
        ...

    def commit(self, manifest: layout.Manifest) -> None: ...


class Store(Protocol):
    """One repository or several, as the job sees them. Many backups can follow one another."""

    @property
    def ids(self) -> Sequence[str]:
        """The repositories whose checkpoints this run may judge."""
        ...

    @property
    def locations(self) -> Sequence[str]:
        """Where they are, as they are told of."""
        ...

    def by_grid(self, vm_id: str, mode: str, engine: EngineId) -> Sequence[Store]:
        """Normally this one alone; one for each size where repositories hold the VM in chunks of different
        sizes, for then it must be read once for each."""
        ...

    def needed(self, vm_id: str, engine: EngineId) -> set[str]:
        """The checkpoints from which the next backups of the VM would start."""
        ...

    def still_needed(self) -> set[str]:
        """Of those the ones that are needed even after this backup was committed."""
        ...

    def choose(self, query: BaseQuery) -> Choice:
        """What to build on."""
        ...

    def all_names(self) -> set[str]: ...

    def writer(self, name: str, *, started: datetime) -> AbstractContextManager[Archive]:
        """Make an archive; without a commit nothing of it stays."""
        ...

    def losses(self) -> list[str]:
        """Repositories that were given up since this was last asked."""
        ...

    def stored(self) -> list[Stored]:
        """What became of the last backup in each repository."""
        ...


class SingleStore:
    """One repository, open in this process."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self._stored: list[Stored] = []
        self._vm_id = ""
        self.ids = [repository.id]
        self.locations = [repository.location]

    def by_grid(self, vm_id: str, mode: str, engine: EngineId) -> Sequence[Store]:
        return [self]

    def needed(self, vm_id: str, engine: EngineId) -> set[str]:
        return needed_checkpoints(self.repository, vm_id, engine)

    def still_needed(self) -> set[str]:
        return set()

    def choose(self, query: BaseQuery) -> Choice:
        self._vm_id = query.vm_id
        return choose_base(self.repository, query)

    def all_names(self) -> set[str]:
        return self.repository.all_names()

    @contextmanager
    def writer(self, name: str, *, started: datetime) -> Iterator[Archive]:
        self._stored = []
        with self.repository.writer(name, started=started, vm_id=self._vm_id) as writer:
            yield _SingleArchive(writer, self.repository, self._stored)

    def losses(self) -> list[str]:
        return []

    def stored(self) -> list[Stored]:
        return self._stored


class _SingleArchive:
    def __init__(self, writer: ArchiveWriter, repository: Repository, stored: list[Stored]) -> None:
        self._writer = writer
        self._repository = repository
        self._stored = stored
        self.name = writer.name

    def add_file(self, path: str, data: bytes) -> None:
        self._writer.add_file(path, data)

    def item(self, path: str, size: int, cell: int) -> Sink[Any, Any]:
        return self._writer.disk(path, size, cell)

    def complete(self, sink: Any, stats: DownloadStats) -> None:
        sink.close()

    def commit(self, manifest: layout.Manifest) -> None:
        self._writer.commit(layout.comment_of(manifest), manifest)
        new = sum(disk.run.bytes_stored for disk in manifest.disks if disk.run)
        base = manifest.run.base.name if manifest.run.base else None
        heat = heat_of(self._repository, self.name)
        self._stored.append(Stored(self._repository.location, self.name, base, new, self._writer.added, heat))
