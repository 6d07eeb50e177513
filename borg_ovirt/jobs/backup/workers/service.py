"""Keeps one repository in its process: which base it has, and its own archive of a backup that all share."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime
from typing import NamedTuple

from borg_ovirt.errors import RepositoryError
from borg_ovirt.jobs.archives.heat import heat_of
from borg_ovirt.jobs.backup.base import BaseQuery, Choice, choose_base, needed_checkpoints, series_cell
from borg_ovirt.jobs.backup.reuse import BaseItem, Wanted
from borg_ovirt.jobs.selection import EngineId, LastArchive, last_good
from borg_ovirt.repository import layout
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.writer import ArchiveWriter, DiskSink, PreparedCell


class Offer(NamedTuple):
    """What this repository would build on, or why it has nothing."""

    name: str | None
    checkpoint: str | None
    reason: str | None
    fallback: bool
    cell: int | None
    damage: tuple[str, ...]
    last_read: int | None = None


class ItemOffer(NamedTuple):
    """One item to build on, or why it is read whole."""

    size: int
    zeros: bytes
    """A byte for each cell: 1 where the base holds only zeros."""
    reason: str | None
    fallback: bool = False


class Committed(NamedTuple):
    """An archive that is there now."""

    base: str | None
    """The name of its base here."""
    added: int | None
    """What the repository grew by, in bytes."""
    heat: str | None


class RepositoryService:
    """Every public method is one message of the parent's."""

    def __init__(self, repository: Repository, stack: ExitStack) -> None:
        self._repository = repository
        self._archives = stack.enter_context(ExitStack())
        self._choices: dict[str, Choice] = {}
        self._bases: dict[tuple[str, str], BaseItem] = {}
        """Of the VMs whose backups are under way; an item by its VM and its path."""
        self._vm_id = ""
        """Whose archive is made."""
        self._writer: ArchiveWriter | None = None
        self._sink: DiskSink | None = None
        self._base: BaseItem | None = None
        self._new: dict[str, int] = {}
        """Path of each item -> bytes that were new here; the last one is under way."""

    # Before the backup

    def series_cell(self, vm_id: str, mode: str, engine: EngineId) -> int | None:
        return series_cell(self._repository, vm_id, mode, engine)

    def needed(self, vm_id: str, engine: EngineId) -> set[str]:
        return needed_checkpoints(self._repository, vm_id, engine)

    def last_good(self, engine: EngineId) -> dict[str, LastArchive]:
        return last_good(self._repository.archives(), engine)

    def all_names(self) -> set[str]:
        return self._repository.all_names()

    def choose(self, query: BaseQuery) -> Offer:
        self._forget(query.vm_id)
        choice = self._choices[query.vm_id] = choose_base(self._repository, query)
        start = choice.base
        return Offer(
            start.name if start else None,
            start.checkpoint if start else None,
            choice.reason,
            choice.fallback,
            choice.cell,
            choice.damage,
            start.last_read if start else None,
        )

    def _forget(self, vm_id: str) -> None:
        self._choices.pop(vm_id, None)
        self._bases = {key: base for key, base in self._bases.items() if key[0] != vm_id}

    def offer(self, vm_id: str, wanted: Wanted) -> ItemOffer:
        start = self._choices[vm_id].base
        if start is None:
            raise ValueError("no base was chosen")
        found = start.find(wanted)
        if not isinstance(found.base, BaseItem):
            return ItemOffer(0, b"", found.reason, found.fallback)
        base = self._bases[vm_id, wanted.path] = found.base
        cells = -(-base.size // base.cell)
        zeros = bytearray(b"\1") * cells
        for index in base.data_cells(0, cells):
            zeros[index] = 0
        return ItemOffer(base.size, bytes(zeros), None)

    def same(self, data: memoryview, vm_id: str, path: str, index: int) -> bool:
        """Whether a cell of the VM's base has these bytes."""
        base = self._bases[vm_id, path]
        return base.same(index, base.digest(data))

    def caught_up(self) -> None:
        """Answered when all that came before is done."""

    # The archive

    def begin(self, name: str, started: datetime, vm_id: str = "") -> None:
        self._new, self._vm_id = {}, vm_id
        writing = self._repository.writer(name, started=started, vm_id=vm_id)
        self._writer = self._archives.enter_context(writing)

    def add_file(self, path: str, data: bytes) -> None:
        self._open_writer().add_file(path, data)

    def item(self, path: str, size: int, cell: int) -> None:
        self._sink = self._open_writer().disk(path, size, cell)
        self._base = self._bases.get((self._vm_id, path))
        self._new[path] = 0

    def store(self, prepared: PreparedCell) -> None:
        size = prepared.size
        if self._open_sink().store(prepared):
            self._new[next(reversed(self._new))] += size

    def zero(self, size: int, count: int) -> None:
        self._open_sink().zero(size, count)

    def reuse(self, first: int, count: int) -> None:
        sink, base = self._open_sink(), self._base
        if base is None:
            raise RepositoryError("The item has no base.")
        for index in range(first, first + count):
            sink.reuse(base.reference(index))

    def complete(self) -> int:
        """The item is whole; how many bytes were new here."""
        self._open_sink().close()
        self._sink = self._base = None
        return self._new[next(reversed(self._new))]

    def commit(self, manifest: bytes) -> Committed:
        """Make the archive visible, with this repository's own facts."""
        own = self._own(layout.Manifest.model_validate_json(manifest))
        writer = self._open_writer()
        writer.commit(layout.comment_of(own), own)
        self.end()
        base = own.run.base.name if own.run.base else None
        return Committed(base, writer.added, heat_of(self._repository, writer.name))

    def end(self) -> None:
        """Leave the archive; what was not committed is rolled back."""
        self._sink = self._base = self._writer = None
        self._forget(self._vm_id)
        self._archives.close()

    def _own(self, manifest: layout.Manifest) -> layout.Manifest:
        choice = self._choices.get(self._vm_id)
        start = choice.base if choice else None
        base = start.record if start and manifest.run.kind == "incremental" else None
        run = manifest.run.model_copy(update={"base": base})
        disks = tuple(self._own_disk(disk, base) for disk in manifest.disks)
        return manifest.model_copy(update={"run": run, "disks": disks})

    def _own_disk(self, disk: layout.DiskRecord, base: layout.BaseRecord | None) -> layout.DiskRecord:
        layers = tuple(
            layer.model_copy(update={"reused_from": base.name if layer.reused_from and base else None})
            for layer in disk.layers
        )
        new = sum(self._new[path] for path in [layer.path for layer in layers] or [disk.path])
        run = disk.run and disk.run.model_copy(update={"bytes_stored": new})
        return disk.model_copy(update={"run": run, "layers": layers})

    def _open_writer(self) -> ArchiveWriter:
        if self._writer is None:
            raise RepositoryError("No archive is being made.")
        return self._writer

    def _open_sink(self) -> DiskSink:
        if self._sink is None:
            raise RepositoryError("No disk is being stored.")
        return self._sink
