"""What all repositories together can build on: cells of each one's base, since the oldest checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from borg_ovirt.blocks import Chunk
from borg_ovirt.jobs.backup.workers.pool import WorkerPool
from borg_ovirt.jobs.backup.workers.service import DiskOffer


@dataclass(frozen=True)
class PoolStart:
    """An archive in each repository, and the oldest of their checkpoints."""

    pool: WorkerPool
    name: str
    checkpoint: str

    @property
    def record(self) -> None:
        """Each repository fills in its own."""
        return

    def disk(self, disk_id: str, size: int, cell: int) -> tuple[PoolBase | None, str | None]:
        """The base of one disk, or the first reason why it is read whole."""
        offers = self.pool.request("disk_offer", disk_id, size, cell)
        for worker, offer in offers.items():
            if offer.reason is not None:
                return None, f"{worker.location}: {offer.reason}"
        return PoolBase(self.pool, list(offers.values()), cell), None


class PoolBase:
    """One disk of all their bases. A chunk's id is the number of its cell: each has its own chunk there."""

    def __init__(self, pool: WorkerPool, offers: Sequence[DiskOffer], cell: int) -> None:
        self._pool = pool
        self.cell = cell
        # Where sizes differ only cells wholly inside the smallest are asked for.
        self.size = min(offer.size for offer in offers)
        zeros = offers[0].zeros
        for offer in offers[1:]:
            zeros = bytes(map(min, zeros, offer.zeros))
        self._zeros = zeros

    def chunk(self, index: int) -> Chunk:
        """A cell of the base."""
        return Chunk(index.to_bytes(8, "big"), min(self.cell, self.size - index * self.cell))

    def is_zero(self, index: int) -> bool:
        """Whether all of them hold only zeros in that cell."""
        return bool(self._zeros[index])

    def data_cells(self, first: int, end: int) -> Iterator[int]:
        """Those of the cells first..end where one of them at least has data."""
        index = self._zeros.find(0, first, end)
        while index >= 0:
            yield index
            index = self._zeros.find(0, index + 1, end)

    def available(self, index: int) -> bool:
        """All chunks were found in every repository before."""
        return True

    def sampled(self, cells: Sequence[int]) -> SampledBase:
        """The same with the ids of these cells, as they are compared with those of cells that were read."""
        return SampledBase(self, self._pool, cells)


class SampledBase:
    """Some cells of a base with their true ids, those of all repositories one after the other."""

    def __init__(self, base: PoolBase, pool: WorkerPool, cells: Sequence[int]) -> None:
        self._base = base
        self._pool = pool
        self.size = base.size
        self.cell = base.cell
        self._ids = {
            worker: dict(zip(cells, ids, strict=True))
            for worker, ids in pool.request("ids", list(cells)).items()
        }

    def chunk(self, index: int) -> Chunk:
        """A repository that was lost meanwhile counts neither here nor in what is compared with it."""
        found = b"".join(self._ids[worker][index] for worker in self._pool.live)
        return Chunk(found, self._base.chunk(index).size)

    def is_zero(self, index: int) -> bool:
        return self._base.is_zero(index)

    def data_cells(self, first: int, end: int) -> Iterator[int]:
        return self._base.data_cells(first, end)

    def available(self, index: int) -> bool:
        return self._base.available(index)
