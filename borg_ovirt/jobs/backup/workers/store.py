"""Several repositories as the job sees them: one store; its bases and archives are theirs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from borg_ovirt.errors import BorgOvirtError, RepositoryError, UsageError
from borg_ovirt.jobs.backup.base import BaseQuery, Choice
from borg_ovirt.jobs.backup.stores import Stored
from borg_ovirt.jobs.backup.workers.base import PoolStart, in_words
from borg_ovirt.jobs.backup.workers.pool import WorkerPool
from borg_ovirt.jobs.backup.workers.service import Committed, Offer
from borg_ovirt.jobs.backup.workers.sink import PoolSink
from borg_ovirt.jobs.backup.workers.worker import RepositoryBehind, Worker
from borg_ovirt.jobs.selection import EngineId
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.repository import layout


class PoolStore:
    """Several repositories that take the same backup."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._needs: dict[Worker, set[str]] = {}
        self._told = 0
        self._vm_id = ""
        self._archive: _PoolArchive | None = None
        self.ids = [worker.id for worker in pool.live if worker.id]
        self.locations = [worker.location for worker in pool.live]

    def by_grid(self, vm_id: str, mode: str, engine: EngineId) -> Sequence[PoolStore]:
        """This one alone, or one store for each size of chunks in which they hold the VM.

        A repository without archives of the VM goes with the first.
        """
        cells: dict[Worker, int | None] = self._pool.request("series_cell", vm_id, mode, engine)
        sizes = sorted({cell for cell in cells.values() if cell})
        if len(sizes) < 2:
            return [self]
        grids = ([worker for worker, cell in cells.items() if (cell or sizes[0]) == size] for size in sizes)
        return [PoolStore(self._pool.narrowed(workers)) for workers in grids]

    def needed(self, vm_id: str, engine: EngineId) -> set[str]:
        """The checkpoints from which the next backups of the VM would start."""
        self._needs = self._pool.request("needed", vm_id, engine)
        return set().union(*self._needs.values())

    def still_needed(self) -> set[str]:
        """Those of the repositories that were lost: they go on from where they were."""
        lost = [worker for worker, _ in self._pool.lost]
        return set().union(*(self._needs.get(worker, set()) for worker in lost))

    def choose(self, query: BaseQuery) -> Choice:
        """The oldest of their checkpoints; where one has no base, all is read."""
        self._vm_id = query.vm_id
        offers: dict[Worker, Offer] = self._pool.request("choose", query, patient=True)
        cell = self._grid(offers)
        damage = tuple(f"{worker.location}: {text}" for worker, o in offers.items() for text in o.damage)
        without = {worker: offer for worker, offer in offers.items() if offer.name is None}
        if without:
            reasons = {worker: str(offer.reason) for worker, offer in without.items()}
            fallback = any(offer.fallback for offer in without.values())
            return Choice(None, in_words(reasons, len(offers)), fallback, cell, damage)
        order = list(query.checkpoints)
        held = [offer.checkpoint for offer in offers.values() if offer.checkpoint is not None]
        oldest = min(held, key=order.index) if query.mode == "image" else None
        name = ", ".join(sorted({str(offer.name) for offer in offers.values()}))
        read = [offer.last_read for offer in offers.values()]
        last = max((count for count in read if count is not None), default=None)
        return Choice(PoolStart(self._pool, query.vm_id, name, oldest, last), None, False, cell, damage)

    def _grid(self, offers: dict[Worker, Offer]) -> int | None:
        """The grid that they have in common: see `by_grid`."""
        cells = {worker.location: offer.cell for worker, offer in offers.items() if offer.cell}
        if len(set(cells.values())) > 1:
            told = ", ".join(f"{cell} in {location}" for location, cell in cells.items())
            raise UsageError(
                f"The repositories hold this VM in chunks of different sizes: {told}.",
                "Back it up into each by itself.",
            )
        return next(iter(cells.values()), None)

    def all_names(self) -> set[str]:
        """The names that are taken in any of them."""
        return set().union(*self._pool.request("all_names").values())

    @contextmanager
    def writer(self, name: str, *, started: datetime) -> Iterator[_PoolArchive]:
        """The same archive in each. Raises where one of them was lost under another VM: its base is gone."""
        if self.outdated:
            raise RepositoryError("A repository was lost under another VM.")
        self._pool.notify("begin", name, started, self._vm_id)
        self._archive = _PoolArchive(self._pool, name)
        try:
            yield self._archive
        except BaseException:
            with suppress(BorgOvirtError):
                self._pool.notify("end")
            raise

    @property
    def outdated(self) -> bool:
        """Whether one of them was lost meanwhile, under another VM."""
        return self._pool.outdated

    def losses(self) -> list[str]:
        """Who was given up since this was last asked."""
        lost = self._pool.lost[self._told :]
        self._told = len(self._pool.lost)
        return [
            f"repository {worker.location} has no archive of this backup: {error}" for worker, error in lost
        ]

    def stored(self) -> list[Stored]:
        """What became of the last backup in each."""
        return self._archive.stored() if self._archive else []


class _PoolArchive:
    """An archive in each repository."""

    def __init__(self, pool: WorkerPool, name: str) -> None:
        self.name = name
        self._pool = pool
        self._new: dict[Worker, int] = {}
        self._committed: dict[Worker, Committed] = {}

    def add_file(self, path: str, data: bytes) -> None:
        """Add a small file."""
        self._pool.notify("add_file", path, data)

    def item(self, path: str, size: int, cell: int) -> PoolSink:
        """Start an item."""
        self._pool.use_cells(cell)
        self._pool.notify("item", path, size, cell)
        return PoolSink(self._pool)

    def complete(self, sink: PoolSink, stats: DownloadStats) -> None:
        """Every repository has the whole item; the largest of their new bytes counts."""
        sink.flush()
        new = self._pool.request("complete")
        for worker, count in new.items():
            self._new[worker] = self._new.get(worker, 0) + count
        stats.bytes_new = max(new.values())

    def commit(self, manifest: layout.Manifest) -> None:
        """Make it visible in each, with its own base."""
        self._committed = self._pool.request("commit", manifest.to_json())

    def stored(self) -> list[Stored]:
        """What became of it."""
        kept = [
            Stored(worker.location, self.name, done.base, self._new.get(worker), done.added, done.heat)
            for worker, done in self._committed.items()
        ]
        return kept + [
            Stored(worker.location, None, error=str(error), behind=isinstance(error, RepositoryBehind))
            for worker, error in self._pool.lost
        ]
