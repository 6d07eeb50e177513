"""One item on its way into all repositories: the parent moves bytes, the repositories hash and compress."""

from __future__ import annotations

from borg_ovirt.jobs.backup.workers.base import CellNumber
from borg_ovirt.jobs.backup.workers.pool import WorkerPool


class PoolSink:
    """Passes cells on; runs of those without bytes are one message."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._run: tuple[str, int, int] | None = None

    def prepare(self, data: memoryview) -> memoryview:
        """Nothing is done to it here. Any thread."""
        return data

    def store(self, prepared: memoryview) -> bool:
        """Whether it is new shows when the item is complete."""
        self.flush()
        self._pool.store(prepared)
        return False

    def zero(self, size: int, count: int = 1) -> None:
        """Append so many cells of `size` zeros."""
        kind, what, before = self._run or ("", 0, 0)
        if (kind, what) == ("zero", size):
            self._run = (kind, what, before + count)
        else:
            self.flush()
            self._run = ("zero", size, count)

    def reuse(self, reference: CellNumber) -> None:
        """Append a cell of each repository's own base."""
        kind, first, count = self._run or ("", 0, 0)
        if kind == "reuse" and reference == first + count:
            self._run = (kind, first, count + 1)
        else:
            self.flush()
            self._run = ("reuse", reference, 1)

    def flush(self) -> None:
        """Send what was gathered."""
        if self._run is not None:
            self._pool.notify(*self._run)
            self._run = None
