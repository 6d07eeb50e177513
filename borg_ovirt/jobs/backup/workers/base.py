"""What all repositories together can build on: cells of each one's base, since the oldest checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NewType

from borg_ovirt.jobs.backup.reuse import Found, Wanted
from borg_ovirt.jobs.backup.workers.pool import WorkerPool
from borg_ovirt.jobs.backup.workers.service import ItemOffer
from borg_ovirt.jobs.backup.workers.worker import Worker

CellNumber = NewType("CellNumber", int)
"""A cell of an item by its place: each repository has a chunk of its own there."""


@dataclass(frozen=True)
class PoolStart:
    """An archive in each repository, and the oldest of their checkpoints."""

    pool: WorkerPool
    vm_id: str
    name: str
    checkpoint: str | None
    last_read: int | None

    @property
    def record(self) -> None:
        """Each repository fills in its own."""
        return

    def find(self, wanted: Wanted) -> Found:
        """What all of them can build on, or whose fault it is that the item is read whole."""
        offers: dict[Worker, ItemOffer] = self.pool.request("offer", self.vm_id, wanted)
        without = {worker: offer for worker, offer in offers.items() if offer.reason is not None}
        if without:
            reasons = {worker: str(offer.reason) for worker, offer in without.items()}
            return Found(None, in_words(reasons, len(offers)), any(o.fallback for o in without.values()))
        if wanted.layer is not None and len({offer.size for offer in offers.values()}) > 1:
            return Found(None, "the repositories hold it in different sizes")
        return Found(PoolBase(self, wanted, list(offers.values())))


def in_words(reasons: Mapping[Worker, str], of: int) -> str:
    """The reasons of some of so many repositories; one that is the same for all is told once."""
    places: dict[str, list[str]] = {}
    for worker, reason in reasons.items():
        places.setdefault(reason, []).append(worker.location)
    if len(places) == 1 and len(reasons) == of:
        return next(iter(places))
    return "; ".join(f"{', '.join(where)}: {reason}" for reason, where in places.items())


class PoolBase:
    """One item of all their bases."""

    def __init__(self, start: PoolStart, wanted: Wanted, offers: Sequence[ItemOffer]) -> None:
        self.archive = start.name
        self._pool = start.pool
        self._vm_id = start.vm_id
        self._path = wanted.path
        self.cell = wanted.cell
        # Where sizes differ only cells wholly inside the smallest are asked for.
        self.size = min(offer.size for offer in offers)
        zeros = offers[0].zeros
        for offer in offers[1:]:
            zeros = bytes(map(min, zeros, offer.zeros))
        self._zeros = zeros

    def reference(self, index: int) -> CellNumber:
        """A cell of the base."""
        return CellNumber(index)

    def is_zero(self, index: int) -> bool:
        """Whether all of them hold only zeros in that cell."""
        return bool(self._zeros[index])

    def data_cells(self, first: int, end: int) -> Iterator[int]:
        """Those of the cells first..end where one of them at least has data."""
        index = self._zeros.find(0, first, end)
        while index >= 0:
            yield index
            index = self._zeros.find(0, index + 1, end)

    def digest(self, data: memoryview) -> memoryview:
        """The bytes themselves: each repository has ids of its own."""
        return data

    def same(self, index: int, digest: memoryview) -> bool:
        """Whether the cell has these bytes in every repository that is still there."""
        self._pool.use_cells(self.cell)
        return all(self._pool.same(digest, self._vm_id, self._path, index))
