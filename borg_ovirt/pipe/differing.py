"""Which chunks of an archived disk a present disk lacks: told by another archive's ids, or by reading it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import ProofFailed
from borg_ovirt.pipe.fetch import Fetcher
from borg_ovirt.pipe.plan import FETCH, Plan, make_plan
from borg_ovirt.pipe.ports import Content, Source, Target

_HINT = "Look at the storage and the imageio daemon's log, and roll back again."


class Identified(Content, Protocol):
    """A content whose chunks are named by what is in them."""

    def id_of(self, data: memoryview) -> bytes:
        """The id of a chunk of these bytes. Any thread."""
        ...


class Readable(Target, Protocol):
    """A target that tells what it holds."""

    def extents(self, context: str) -> Iterator[Extent]:
        """The whole disk in order, as a source tells it."""
        ...


def by_ids(present: Content, wanted: Content) -> set[int]:
    """Places of the chunks of `wanted` that are others in `present`; both lie on one grid."""
    before = iter(present.chunks)
    places = set()
    for place, chunk in enumerate(wanted.chunks):
        old = next(before, None)
        both_zero = old is not None and wanted.is_zero(chunk) and present.is_zero(old)
        if chunk != old and not both_zero:
            places.add(place)
    return places


def by_reading(source: Source, wanted: Identified, cell: int, name: str) -> set[int]:
    """The same of a disk that is read, except for what it says is zeros."""
    size = min(source.size, wanted.size)
    plan = make_plan(size, cell, source.extents("zero"), longer_export=True, name=name)
    places = set(range(plan.cells, len(wanted.chunks)))
    chunks: Any = wanted.chunks
    with Fetcher(plan, source.open, wanted.id_of) as fetcher:
        for kind, first, end in plan.runs():
            for place in range(first, end):
                if kind != FETCH:
                    same = wanted.is_zero(chunks[place])
                else:
                    arrival = fetcher.take(place)
                    same = _is(wanted, chunks[place], arrival.prepared)
                    fetcher.done(arrival)
                if not same:
                    places.add(place)
    return places


def prove_places(target: Readable, wanted: Identified, cell: int, places: Iterable[int], name: str) -> None:
    """Read these chunks back, and what a disk that has grown holds behind the archived end.

    `ProofFailed` where a chunk is not the archived one, or what comes behind them is not zeros.
    """
    plan = _plan_of(wanted.size, cell, places, name)
    chunks: Any = wanted.chunks
    with Fetcher(plan, target.open_reader, wanted.id_of) as fetcher:
        for kind, first, end in plan.runs():
            if kind != FETCH:
                continue
            for place in range(first, end):
                arrival = fetcher.take(place)
                if not _is(wanted, chunks[place], arrival.prepared):
                    raise ProofFailed(
                        f"{name} differs from the archive after it was written, at byte {place * cell}.",
                        _HINT,
                    )
                fetcher.done(arrival)
    if target.size > wanted.size:
        _prove_tail(target, wanted.size, cell, name)


def _prove_tail(target: Readable, start: int, cell: int, name: str) -> None:
    """What lies past the archived end must read as zeros: by the daemon's word, or by its bytes."""
    plan = make_plan(target.size, cell, _from(target.extents("zero"), start), longer_export=True, name=name)
    with Fetcher(plan, target.open_reader, len) as fetcher:
        for kind, first, end in plan.runs():
            for place in range(first, end) if kind == FETCH else ():
                arrival = fetcher.take(place)
                behind = max(start, place * cell)
                read = arrival.buffer[behind - place * cell : arrival.size]
                if arrival.prepared is not None and read.tobytes().strip(b"\0"):
                    raise ProofFailed(f"{name} is not zero after its archived end: see byte {behind}.", _HINT)
                fetcher.done(arrival)


def _from(extents: Iterable[Extent], start: int) -> Iterator[Extent]:
    """The same, all of it before `start` passed over as if it were zeros."""
    for extent in extents:
        before = min(max(start - extent.start, 0), extent.length)
        if before:
            yield Extent(extent.start, before, zero=True)
        if before < extent.length:
            yield Extent(extent.start + before, extent.length - before, zero=extent.zero)


def _is(wanted: Content, chunk: Any, read: bytes | None) -> bool:
    """Whether a cell that was read is that chunk; None was read where all is zeros."""
    return wanted.is_zero(chunk) if read is None else bool(read == chunk.id)


def _plan_of(size: int, cell: int, places: Iterable[int], name: str) -> Plan:
    """A plan that fetches these cells and no others."""
    extents, position = [], 0
    for place in sorted(places):
        start, end = place * cell, min((place + 1) * cell, size)
        if start > position:
            extents.append(Extent(position, start - position, zero=True))
        extents.append(Extent(start, end - start, zero=False))
        position = end
    if size > position:
        extents.append(Extent(position, size - position, zero=True))
    return make_plan(size, cell, extents, name=name)
