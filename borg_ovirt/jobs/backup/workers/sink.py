"""One disk on its way into all repositories: the parent moves bytes, the repositories hash and compress."""

from __future__ import annotations

from borg_ovirt.blocks import Chunk
from borg_ovirt.jobs.backup.workers.pool import WorkerPool


class PoolCell:
    """A cell that was read. Its id is that in every repository, one after the other."""

    __slots__ = ("_pool", "data")

    def __init__(self, pool: WorkerPool, data: memoryview) -> None:
        self._pool = pool
        self.data = data

    @property
    def id(self) -> bytes:
        """Only samples are compared by it: it has to be asked for."""
        return b"".join(self._pool.hashes(self.data))

    @property
    def size(self) -> int:
        return len(self.data)


class PoolSink:
    """Passes cells on; runs of those without bytes are one message."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._run: tuple[str, int, int] | None = None

    @property
    def zero_id(self) -> bytes:
        """Each repository has its own."""
        raise NotImplementedError

    def prepare(self, data: memoryview) -> PoolCell:
        """Nothing is done to it here. Any thread."""
        return PoolCell(self._pool, data)

    def store(self, prepared: PoolCell) -> bool:
        """Whether it is new shows when the disk is complete."""
        self.flush()
        self._pool.store(prepared.data)
        return False

    def zero(self, size: int, count: int = 1) -> None:
        """Append so many cells of `size` zeros."""
        kind, what, before = self._run or ("", 0, 0)
        if (kind, what) == ("zero", size):
            self._run = (kind, what, before + count)
        else:
            self.flush()
            self._run = ("zero", size, count)

    def reuse(self, chunk: Chunk) -> None:
        """Append a cell of each repository's own base; the id is its number."""
        index = int.from_bytes(chunk.id, "big")
        kind, first, count = self._run or ("", 0, 0)
        if kind == "reuse" and index == first + count:
            self._run = (kind, first, count + 1)
        else:
            self.flush()
            self._run = ("reuse", index, 1)

    def flush(self) -> None:
        """Send what was gathered."""
        if self._run is not None:
            self._pool.notify(*self._run)
            self._run = None
