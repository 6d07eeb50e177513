"""Small charts as SVG within the page, each with the same in words for those who do not see it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from borg_ovirt.jobs.report.markup import Markup, element
from borg_ovirt.jobs.report.model import NightPoint
from borg_ovirt.units import format_size

_DAYS = 28
_WIDTH, _HEIGHT = 140.0, 28.0
_LEAST_SCALE = 0.02
"""A chart whose highest night changed less than this is not blown up to full height."""
_WIDE, _HIGH = 640.0, 120.0


def percent(share: float) -> str:
    """`0.0123` -> `1.2%`."""
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"


def nights_in_words(points: Sequence[NightPoint]) -> str:
    """What the chart of a VM shows."""
    known = [point.changed for point in points if point.changed is not None]
    if not known:
        return "no nights to compare"
    low, high = min(known), max(known)
    between = f"{percent(low)}" if low == high else f"between {percent(low)} and {percent(high)}"
    hot = sum(point.heat is not None for point in points)
    unusual = f"; {hot} unusual" if hot else ""
    return f"Changed on {len(known)} nights: {between}, on the last {percent(known[-1])}{unusual}"


def nights_chart(points: Sequence[NightPoint], now: datetime) -> Markup:
    """A bar for each day of the last four weeks: what share of the data changed."""
    slot = _WIDTH / _DAYS
    scale = max([_LEAST_SCALE, *(point.changed for point in points if point.changed is not None)])
    days: dict[int, NightPoint] = {}
    for point in points:
        days[(now - point.time) // timedelta(days=1)] = point
    bars = [element("line", x1=0.0, y1=_HEIGHT - 0.5, x2=_WIDTH, y2=_HEIGHT - 0.5, class_="axis")]
    for ago, point in days.items():
        if not 0 <= ago < _DAYS:
            continue
        left = _WIDTH - (ago + 1) * slot
        first = point.changed is None
        height = 3.0 if point.changed is None else max(point.changed / scale * (_HEIGHT - 2), 1.5)
        style = "bar first" if first else "bar hot" if point.heat else "bar"
        bars.append(
            element(
                "rect",
                x=left + 0.5,
                y=_HEIGHT - 1 - height,
                width=slot - 1.5,
                height=height,
                class_=style,
            )
        )
    return _chart(nights_in_words(points), _WIDTH, _HEIGHT, "nights", *bars)


def growth_in_words(points: Sequence[tuple[datetime, int]]) -> str:
    """What the chart of a repository shows."""
    if not points:
        return "no archive tells how much the repository held"
    (first, before), (last, after) = points[0], points[-1]
    return (
        f"Held {format_size(before)} on {first:%Y-%m-%d} and {format_size(after)} on {last:%Y-%m-%d}, "
        f"at most {format_size(max(total for _, total in points))}"
    )


def growth_chart(points: Sequence[tuple[datetime, int]]) -> Markup:
    """What the repository held, day by day."""
    top = max([1, *(total for _, total in points)])
    start, end = points[0][0], points[-1][0]
    whole = max((end - start).total_seconds(), 1.0)
    places = [
        ((time - start).total_seconds() / whole * _WIDE, _HIGH - 1 - total / top * (_HIGH - 6))
        for time, total in points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    area = f"M0,{_HIGH:.0f} L{line.replace(' ', ' L')} L{places[-1][0]:.1f},{_HIGH:.0f} Z"
    return _chart(
        growth_in_words(points),
        _WIDE,
        _HIGH,
        "growth",
        element("path", d=area, class_="area"),
        element("polyline", points=line, class_="curve"),
        element("line", x1=0.0, y1=_HIGH - 0.5, x2=_WIDE, y2=_HIGH - 0.5, class_="axis"),
    )


def _chart(words: str, width: float, height: float, style: str, *content: Markup) -> Markup:
    return element(
        "svg",
        element("title", words),
        *content,
        role="img",
        aria_label=words,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        preserveAspectRatio="none",
        class_=style,
    )
