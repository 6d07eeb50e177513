"""Carries out a plan: the cells of a disk enter the sink in order, zero, reused or fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from borg_ovirt.errors import TransferFailed
from borg_ovirt.pipe.fetch import FIRST, READERS, SPAN, Buffers, Fetcher
from borg_ovirt.pipe.plan import FETCH, REUSE, Plan
from borg_ovirt.pipe.ports import Base, Meter, P, Reader, Sink, Source

R = TypeVar("R")

_STRIDE = 1024
"""Cells without bytes between two looks at the readers and two words to the meter."""


@dataclass
class DownloadStats:
    """What one download moved and stored, in bytes of the disk unless said otherwise."""

    bytes_read: int = 0
    """Bytes that came over the wire and entered the archive."""
    bytes_zero: int = 0
    """Known to be zeros without reading, the gaps inside fetched cells included."""
    bytes_reused: int = 0
    """Referred to in the base archive."""
    bytes_new: int = 0
    """Size of the fetched chunks that the repository did not hold before."""
    resumes: int = 0
    """How often a cut connection was taken up again."""

    def add(self, other: DownloadStats) -> None:
        """Count another download's numbers too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def download(
    plan: Plan,
    source: Source | None,
    sink: Sink[P, R],
    *,
    base: Base[R] | None = None,
    readers: int = READERS,
    buffers: Buffers | None = None,
    span: int = SPAN,
    opening: int = FIRST,
    progress: Meter | None = None,
) -> DownloadStats:
    """Store every cell of the plan. Only when this returns, the sink holds the whole item.

    There is no `source` where the plan fetches nothing.
    `buffers` may be shared by downloads that follow one another. The first error of any thread ends all
    and is raised as it was.
    """
    if source is not None and source.size < plan.size:
        raise TransferFailed(f"The source of {plan.name} has {source.size} bytes, not {plan.size}.")
    loading = _Loading(plan, sink, base, progress)
    fetcher = Fetcher(
        plan,
        source.open if source is not None else _no_source,
        sink.prepare,
        readers=readers,
        buffers=buffers,
        span=span,
        opening=opening,
    )
    with fetcher:
        for kind, first, end in plan.runs():
            if kind == FETCH:
                loading.store(fetcher, first, end)
                continue
            for begin in range(first, end, _STRIDE):
                fetcher.check()
                add = loading.reuse if kind == REUSE else loading.zero
                add(begin, min(begin + _STRIDE, end))
    stats = loading.stats
    stats.resumes = fetcher.resumes
    if progress is not None and stats.resumes:
        progress.advance(resumes=stats.resumes)
    if stats.bytes_read != plan.bytes_to_fetch:
        raise TransferFailed(
            f"{stats.bytes_read} bytes of {plan.name} arrived, {plan.bytes_to_fetch} were asked for."
        )
    return stats


def _no_source() -> Reader:
    raise ValueError("the plan fetches cells, but no source was given")


class _Loading(Generic[P, R]):
    """Puts cells into the sink, in order, and counts."""

    def __init__(self, plan: Plan, sink: Sink[P, R], base: Base[R] | None, progress: Meter | None) -> None:
        self.stats = DownloadStats()
        self._plan = plan
        self._sink = sink
        self._base = base
        self._progress = progress

    def _length(self, first: int, end: int) -> int:
        return min(end * self._plan.cell, self._plan.size) - first * self._plan.cell

    def zero(self, first: int, end: int) -> None:
        short = self._plan.cell_size(end - 1)  # the last cell of the disk may be
        whole = end if short == self._plan.cell else end - 1
        if first < whole:
            self._sink.zero(self._plan.cell, whole - first)
        if whole < end:
            self._sink.zero(short)
        length = self._length(first, end)
        self.stats.bytes_zero += length
        if self._progress is not None:
            self._progress.advance(zero=length)

    def reuse(self, first: int, end: int) -> None:
        if self._base is None:
            raise ValueError("the plan reuses chunks, but no base was given")
        reference, reuse = self._base.reference, self._sink.reuse
        for index in range(first, end):
            reuse(reference(index))
        length = self._length(first, end)
        self.stats.bytes_reused += length
        if self._progress is not None:
            self._progress.advance(reused=length)

    def store(self, fetcher: Fetcher[P], first: int, end: int) -> None:
        stats = self.stats
        for index in range(first, end):
            arrival = fetcher.take(index)
            new = 0
            if arrival.prepared is None:
                self._sink.zero(arrival.size)
            elif self._sink.store(arrival.prepared):
                new = arrival.size
            fetcher.done(arrival)
            gaps = arrival.size - arrival.moved
            stats.bytes_read += arrival.moved
            stats.bytes_zero += gaps
            stats.bytes_new += new
            if self._progress is not None:
                self._progress.advance(read=arrival.moved, zero=gaps, new=new)
