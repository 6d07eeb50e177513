"""Bytes that were read ahead of their turn: a source in memory of exactly what a plan fetches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from borg_ovirt import stopping
from borg_ovirt.blocks import Extent
from borg_ovirt.pipe.fetch import READERS, Buffers, Fetcher
from borg_ovirt.pipe.plan import FETCH, Plan
from borg_ovirt.pipe.ports import Source


def size_held(plan: Plan) -> int:
    """Bytes that its cells take, at most."""
    return plan.count_bytes().fetch


class Held:
    """The cells of a plan that are fetched, as they were read."""

    def __init__(self, plan: Plan, source: Source, *, readers: int = READERS, buffers: Buffers) -> None:
        """Read them all."""
        self.size = source.size
        self._cell = plan.cell
        self._cells: dict[int, bytes | None] = {}
        with Fetcher(plan, source.open, bytes, readers=readers, buffers=buffers) as fetcher:
            for kind, first, end in plan.runs():
                for index in range(first, end) if kind == FETCH else ():
                    arrival = fetcher.take(index)
                    self._cells[index] = arrival.prepared
                    fetcher.done(arrival)
                    stopping.check()
        self.resumes = fetcher.resumes

    def extents(self, context: str) -> Iterator[Extent]:
        """The plan is made: nobody asks."""
        raise ValueError("what is held has no extents")

    def open(self) -> HeldReader:
        """A reader; the first tells how often connections were taken up again."""
        resumes, self.resumes = self.resumes, 0
        return HeldReader(self._cells, self._cell, resumes)


class HeldReader:
    """Reads from memory."""

    def __init__(self, cells: dict[int, bytes | None], cell: int, resumes: int) -> None:
        self.resumes = resumes
        self._cells = cells
        self._cell = cell

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        """Fill the views, none of which goes over the edge of a cell, from `offset` on."""
        for view in views:
            index, begin = divmod(offset, self._cell)
            data = self._cells[index]
            view[:] = bytes(len(view)) if data is None else data[begin : begin + len(view)]
            offset += len(view)
            yield view

    def close(self) -> None:
        return
