"""How a repository grows and when its file system is full, by what its archives tell of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import combinations
from statistics import median

from borg_ovirt.jobs.report.model import Growth
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Space
from borg_ovirt.units import format_size

DAYS = 60
"""So far back."""
_LEAST = timedelta(days=5)
"""Over less nobody should foretell anything."""
_FAR = timedelta(days=3650)


def growth(archives: Iterable[ArchiveInfo], space: Space | None, now: datetime) -> Growth:
    """Of a repository, by the totals that its archives bear; `space` is that of its file system."""
    points = _days(archives, now)
    per_day = pace(points)
    full_in, words = _forecast(per_day, space)
    return Growth(points, per_day, full_in, words)


def _days(archives: Iterable[ArchiveInfo], now: datetime) -> list[tuple[datetime, int]]:
    """The last total of each day, by when the archive was committed."""
    last: dict[object, tuple[int, datetime, int]] = {}
    for info in archives:
        made = info.time + info.duration
        if info.comment.figures is None or not now - timedelta(days=DAYS) <= made <= now:
            continue
        found = (info.comment.number or 0, made, info.comment.figures.total)
        last[made.date()] = max(last.get(made.date(), found), found)
    return sorted((made, total) for _, made, total in last.values())


def pace(points: Sequence[tuple[datetime, int]]) -> float | None:
    """Bytes a day: the median of the slopes between all pairs of days, which one wild day does not move."""
    if len(points) < 3 or points[-1][0] - points[0][0] < _LEAST:
        return None
    slopes = [
        (later[1] - earlier[1]) / ((later[0] - earlier[0]) / timedelta(days=1))
        for earlier, later in combinations(points, 2)
        if later[0] > earlier[0]
    ]
    return median(slopes)


def _forecast(per_day: float | None, space: Space | None) -> tuple[timedelta | None, str]:
    if space is None:
        return None, "unknown: the free space of a repository on another machine is not told"
    room = f"{format_size(space.free)} free"
    if per_day is None:
        return None, f"unknown yet: too few days tell how it grows ({room})"
    if per_day <= 0:
        return None, f"it does not grow ({room})"
    days = space.free / per_day
    if days > _FAR / timedelta(days=1):
        return None, f"not within ten years ({room})"
    return timedelta(days=days), f"in {days:.0f} days at {format_size(per_day)} a day ({room})"
