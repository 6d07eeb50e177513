"""The scalar types of the configuration: sizes, durations, shares, times of day, and room on a domain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from borg_ovirt.units import format_size, parse_duration, parse_share, parse_size


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return parse_size(str(value))


def _duration(value: Any) -> timedelta:
    return value if isinstance(value, timedelta) else parse_duration(str(value))


def _share(value: Any) -> float:
    return value if isinstance(value, float) else parse_share(str(value))


def _clock(value: Any) -> time:
    if isinstance(value, time):
        return value
    try:
        hour, minute = (int(part) for part in str(value).split(":"))
        return time(hour, minute)
    except (ValueError, OverflowError):
        raise ValueError(f"{str(value)[:40]!r} is not a time of day such as 06:00") from None


@dataclass(frozen=True)
class Room:
    """How much of a storage domain must stay free: bytes, or a share of its size."""

    size: int | None = None
    share: float | None = None

    def bytes_of(self, total: int) -> int:
        """The room in bytes on a domain of `total` bytes."""
        return self.size if self.size is not None else int(total * (self.share or 0.0))

    def __str__(self) -> str:
        return format_size(self.size) if self.size is not None else f"{(self.share or 0.0) * 100:g}%"


def _room(value: Any) -> Room:
    if isinstance(value, Room):
        return value
    text = str(value)
    try:
        return Room(share=parse_share(text)) if text.rstrip().endswith("%") else Room(size=parse_size(text))
    except ValueError:
        raise ValueError(f"{value!r} is not a size such as 20GiB nor a share such as 10%") from None


def _seconds(value: timedelta) -> str:
    return f"{value.total_seconds():g}s"


def _gone(value: Any) -> str | timedelta:
    if isinstance(value, timedelta) or value in ("keep", "prune"):
        return value  # type: ignore[no-any-return]
    try:
        return parse_duration(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not keep, prune, or a duration such as 180d") from None


Size = Annotated[
    int,
    BeforeValidator(_size),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["4MiB", "20 GiB", "1T"]}),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(_seconds),
    WithJsonSchema({"type": "string", "examples": ["90s", "15m", "12h", "7d", "4w"]}),
]
Share = Annotated[
    float,
    BeforeValidator(_share),
    WithJsonSchema({"type": "string", "examples": ["0.1%", "5%", "0", "all"]}),
]
TimeOfDay = Annotated[
    time,
    BeforeValidator(_clock),
    WithJsonSchema({"type": "string", "pattern": "^[0-2]?[0-9]:[0-5][0-9]$", "examples": ["06:00"]}),
]
MinFree = Annotated[
    Room,
    BeforeValidator(_room),
    PlainSerializer(str),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["10%", "20GiB"]}),
]
GoneVms = Annotated[
    str | timedelta,
    BeforeValidator(_gone),
    PlainSerializer(lambda value: value if isinstance(value, str) else _seconds(value)),
    WithJsonSchema({"type": "string", "examples": ["keep", "prune", "180d"]}),
]
