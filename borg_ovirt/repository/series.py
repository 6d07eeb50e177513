"""A series: the archives of one VM of one engine in one mode, in the order in which they were made.

No clock alone decides on that order. An archive bears the engine's time, and clocks are set back, run ahead,
or start in 1970. What tells more: the number that each archive gets when it is committed, the archive that it
is based on, the checkpoint that it starts from. Times are for what has none of these, and to say how old
something is; a time out of line with its neighbours, or later than now, counts for nothing.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from borg_ovirt.repository.catalogue import ArchiveInfo

_AHEAD = timedelta(minutes=5)
"""Clocks of two machines may differ by this."""
_FIRST = datetime.min.replace(tzinfo=timezone.utc)
_STEP = timedelta(seconds=1)


@dataclass(frozen=True)
class Series:
    """One VM of one engine in one mode."""

    engine: str
    """Host (and port) of the engine, as the newest archive names it."""
    engine_id: str | None
    vm_id: str
    mode: str
    archives: tuple[ArchiveInfo, ...]
    """Oldest first; never empty."""
    times: Mapping[str, datetime]
    """Name -> when it was made, as well as can be told: in the order of the archives, none later than now."""
    since: Mapping[str, datetime | None]
    """Name -> a moment that it is surely not older than: its own time, its commit, or the time of an archive
    before it, the first of these that can be believed. None if none can."""
    doubted: frozenset[str]
    """Names of those whose own time is not believed."""
    adrift: frozenset[str]
    """Names of those later than now that nothing puts anywhere: they stand first."""

    @property
    def newest(self) -> ArchiveInfo:
        return self.archives[-1]

    @property
    def newest_first(self) -> tuple[ArchiveInfo, ...]:
        return self.archives[::-1]

    @property
    def vm_name(self) -> str:
        """As the newest archive has it."""
        return self.newest.comment.vm_name

    def is_of(self, engine_id: str | None, host: str) -> bool:
        """Whether it is of that engine: by its id where both are known."""
        return self.engine_id == engine_id if self.engine_id and engine_id else self.engine == host


def all_series(archives: Iterable[ArchiveInfo], now: datetime) -> list[Series]:
    """The archives of a repository, sorted into series by the VM's name."""
    archives = list(archives)
    ids = _engine_ids(archives)
    groups: dict[tuple[str, str, str], list[ArchiveInfo]] = {}
    for info in archives:
        engine = info.comment.engine_id or ids.get(info.comment.engine) or info.comment.engine
        groups.setdefault((engine, info.comment.vm_id, info.comment.mode), []).append(info)
    found = [_series(group, ids, now) for group in groups.values()]
    return sorted(found, key=lambda s: (s.vm_name, s.vm_id, s.engine, s.mode))


def later_than_now(archives: Iterable[ArchiveInfo], now: datetime) -> list[ArchiveInfo]:
    """Those whose time cannot be."""
    return [info for info in archives if info.time > now + _AHEAD]


def in_order(archives: Iterable[ArchiveInfo], now: datetime) -> list[ArchiveInfo]:
    """The archives of one series, oldest first.

    What is known to come before what is kept; where nothing is known, times decide.
    """
    by_name = {info.name: info for info in archives}
    after = _known_order(by_name)
    before: dict[str, int] = dict.fromkeys(by_name, 0)
    for names in after.values():
        for name in names:
            before[name] += 1
    future = {info.name for info in later_than_now(by_name.values(), now)}

    def rank(name: str) -> tuple[datetime, str]:
        return (_FIRST if name in future else by_name[name].time, name)

    ready = [rank(name) for name, count in before.items() if not count]
    heapq.heapify(ready)
    waiting = {name for name, count in before.items() if count}
    ordered: list[ArchiveInfo] = []
    while ready or waiting:
        if not ready:  # what is known contradicts itself, as after somebody copied archives about
            first = min(rank(name) for name in waiting)
            waiting.discard(first[1])
            ready.append(first)
        _, name = heapq.heappop(ready)
        ordered.append(by_name[name])
        for later in after.get(name, ()):
            before[later] -= 1
            if not before[later] and later in waiting:
                waiting.discard(later)
                heapq.heappush(ready, rank(later))
    return ordered


def _known_order(by_name: Mapping[str, ArchiveInfo]) -> dict[str, set[str]]:
    """Name -> names of those that were made after it, as numbers, bases and checkpoints tell."""
    after: dict[str, set[str]] = {}
    numbered = sorted((i for i in by_name.values() if i.comment.number), key=lambda i: i.comment.number or 0)
    for older, newer in pairwise(numbered):
        if older.comment.number != newer.comment.number:
            after.setdefault(older.name, set()).add(newer.name)
    ends = {i.comment.checkpoint: i.name for i in by_name.values() if i.comment.checkpoint}
    for info in by_name.values():
        for older_name in (info.comment.base, ends.get(info.comment.from_checkpoint or "")):
            if older_name is not None and older_name in by_name and older_name != info.name:
                after.setdefault(older_name, set()).add(info.name)
    return after


def _engine_ids(archives: Iterable[ArchiveInfo]) -> dict[str, str]:
    """Host of an engine -> its id, for archives that name only the host."""
    found: dict[str, set[str]] = {}
    for info in archives:
        if info.comment.engine_id:
            found.setdefault(info.comment.engine, set()).add(info.comment.engine_id)
    return {host: ids.pop() for host, ids in found.items() if len(ids) == 1}


def _series(archives: Sequence[ArchiveInfo], ids: Mapping[str, str], now: datetime) -> Series:
    ordered = in_order(archives, now)
    believed = _believed(ordered, now)
    newest = ordered[-1].comment
    future = {info.name for info in later_than_now(ordered, now)}
    times, since = _times(ordered, believed, now)
    return Series(
        engine=newest.engine,
        engine_id=newest.engine_id or ids.get(newest.engine),
        vm_id=newest.vm_id,
        mode=newest.mode,
        archives=tuple(ordered),
        times=times,
        since=since,
        doubted=frozenset(info.name for info in ordered if info.name not in believed),
        adrift=frozenset(future - _placed(ordered)),
    )


def _placed(ordered: Sequence[ArchiveInfo]) -> set[str]:
    """Those whose place hangs on more than their time."""
    after = _known_order({info.name: info for info in ordered})
    return {*after, *(name for names in after.values() for name in names)}


def _believed(ordered: Sequence[ArchiveInfo], now: datetime) -> set[str]:
    """The longest line of archives whose times rise with their order: those are believed."""
    lowest: list[datetime] = []  # the lowest time at which a line of that length can end
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for place, info in enumerate(ordered):
        if info.time > now + _AHEAD:
            continue
        length = bisect_right(lowest, info.time)
        before[place] = ends[length - 1] if length else None
        lowest[length : length + 1] = [info.time]
        ends[length : length + 1] = [place]
    names: set[str] = set()
    step = ends[-1] if ends else None
    while step is not None:
        names.add(ordered[step].name)
        step = before[step]
    return names


def _times(
    ordered: Sequence[ArchiveInfo], believed: set[str], now: datetime
) -> tuple[dict[str, datetime], dict[str, datetime | None]]:
    """When each was made, and since when at the earliest.

    One that is not believed was made when it was committed, if that clock is in line; else as long before the
    next one as its clock tells, for a clock that is wrong is wrong by the same for some nights.
    """
    floors: list[datetime | None] = []
    for info in ordered:
        floors.append(info.time if info.name in believed else floors[-1] if floors else None)
    times: dict[str, datetime] = {}
    since: dict[str, datetime | None] = {}
    upper, wrong = now, None
    for info, floor in zip(reversed(ordered), reversed(floors), strict=True):
        committed = info.time + info.duration
        if info.name in believed:
            upper, wrong, since[info.name] = min(info.time, now), None, info.time
        elif (floor or _FIRST) <= committed <= upper:
            upper, wrong, since[info.name] = committed, info.time, committed
        else:
            gap = max(wrong - info.time, _STEP) if wrong is not None else _STEP
            lowest = min(floor or _FIRST, upper)
            upper, wrong, since[info.name] = max(upper - gap, lowest), info.time, floor
        times[info.name] = upper
    return times, since
