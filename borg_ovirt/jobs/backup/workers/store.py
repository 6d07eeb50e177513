"""Several repositories as the job sees them: one store; its bases and archives are theirs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.backup.base import BaseQuery, Choice
from borg_ovirt.jobs.backup.stores import Stored
from borg_ovirt.jobs.backup.workers.base import PoolStart
from borg_ovirt.jobs.backup.workers.pool import WorkerPool
from borg_ovirt.jobs.backup.workers.sink import PoolSink
from borg_ovirt.jobs.backup.workers.worker import Worker
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.repository import layout


class PoolStore:
    """Several repositories that take the same backup."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._needs: dict[Worker, set[str]] = {}
        self._told = 0
        self._archive: _PoolArchive | None = None
        self.ids = [worker.id for worker in pool.live if worker.id]

    def by_grid(self, vm_id: str, mode: str) -> Sequence[PoolStore]:
        """This one alone, or one store for each size of chunks in which they hold the VM.

        A repository without archives of the VM goes with the first.
        """
        cells: dict[Worker, int | None] = self._pool.request("series_cell", vm_id, mode)
        sizes = sorted({cell for cell in cells.values() if cell})
        if len(sizes) < 2:
            return [self]
        grids = ([worker for worker, cell in cells.items() if (cell or sizes[0]) == size] for size in sizes)
        return [PoolStore(self._pool.narrowed(workers)) for workers in grids]

    def series_cell(self, vm_id: str) -> int | None:
        """The grid that the series of all have in common: see `by_grid`."""
        found = self._pool.request("series_cell", vm_id, "image").values()
        return next((cell for cell in found if cell), None)

    def needed(self, vm_id: str) -> set[str]:
        """The checkpoints from which the next backups of the VM would start."""
        self._needs = self._pool.request("needed", vm_id)
        return set().union(*self._needs.values())

    def still_needed(self) -> set[str]:
        """Those of the repositories that were lost: they go on from where they were."""
        lost = [worker for worker, _ in self._pool.lost]
        return set().union(*(self._needs.get(worker, set()) for worker in lost))

    def choose(self, query: BaseQuery) -> Choice:
        """The oldest of their checkpoints; where one has none, all is read."""
        offers = self._pool.request("choose", query, patient=True)
        without = {worker: offer for worker, offer in offers.items() if offer.name is None}
        if without:
            reasons: dict[str, list[str]] = {}
            for worker, offer in without.items():
                reasons.setdefault(offer.reason, []).append(worker.location)
            if len(without) == len(offers) and len(reasons) == 1:
                told = next(iter(reasons))
            else:
                told = "; ".join(f"{', '.join(places)}: {reason}" for reason, places in reasons.items())
            return Choice(None, told, fallback=any(offer.fallback for offer in without.values()))
        order = list(query.checkpoints)
        oldest = min((offer.checkpoint for offer in offers.values()), key=order.index)
        name = ", ".join(sorted({offer.name for offer in offers.values()}))
        return Choice(PoolStart(self._pool, name, oldest), None, fallback=False)

    def all_names(self) -> set[str]:
        """The names that are taken in any of them."""
        return set().union(*self._pool.request("all_names").values())

    @contextmanager
    def writer(self, name: str, *, started: datetime) -> Iterator[_PoolArchive]:
        """The same archive in each."""
        self._pool.notify("begin", name, started)
        self._archive = _PoolArchive(self._pool, name)
        try:
            yield self._archive
        except BaseException:
            with suppress(BorgOvirtError):
                self._pool.notify("end")
            raise

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
        self._bases: dict[Worker, str | None] = {}

    def add_file(self, path: str, data: bytes) -> None:
        """Add a small file."""
        self._pool.notify("add_file", path, data)

    def disk(self, disk_id: str, size: int, cell: int) -> PoolSink:
        """Start a disk."""
        self._pool.use_cells(cell)
        self._pool.notify("disk", disk_id, size, cell)
        return PoolSink(self._pool)

    def complete(self, sink: PoolSink, stats: DownloadStats) -> None:
        """Every repository has the whole disk; the largest of their new bytes counts."""
        sink.flush()
        new = self._pool.request("complete")
        for worker, count in new.items():
            self._new[worker] = self._new.get(worker, 0) + count
        stats.bytes_new = max(new.values())

    def commit(self, manifest: layout.Manifest) -> None:
        """Make it visible in each, with its own base."""
        self._bases = self._pool.request("commit", manifest.to_json())

    def stored(self) -> list[Stored]:
        """What became of it."""
        kept = [
            Stored(worker.location, self.name, base, self._new.get(worker))
            for worker, base in self._bases.items()
        ]
        return kept + [Stored(worker.location, None, error=str(error)) for worker, error in self._pool.lost]
