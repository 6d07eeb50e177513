"""Sizes, durations and shares as people write and read them."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_FACTORS = {
    "": 1,
    "b": 1,
    **{
        unit: 1 << 10 * power
        for power, units in enumerate(("k", "m", "g", "t", "p"), 1)
        for unit in (units, units + "ib")
    },
    **{unit: 1000**power for power, unit in enumerate(("kb", "mb", "gb", "tb", "pb"), 1)},
}
_LARGEST = 1 << 63
"""Bytes: no file and no disk is larger."""
_DIGITS = 40
"""So many say every number that makes sense; more cost time and show badly."""
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}

_LONGEST = 1000 * _SECONDS["y"]
"""Seconds: from now so far back and so far ahead there are dates."""


def format_size(size: float) -> str:
    """`1536` -> `1.5 KiB`."""
    power = 0
    while abs(size) >= 1024 and power < len(_BINARY) - 1:
        size /= 1024
        power += 1
    unit = _BINARY[power]
    return f"{size:.0f} {unit}" if size >= 100 or size == int(size) else f"{size:.1f} {unit}"


def parse_size(text: str) -> int:
    """`20 MiB`, `20M`, `1.5g`, `20MB` (decimal) or plain bytes; ValueError for anything else."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].lower() not in _FACTORS:
        raise ValueError(f"{text[:_DIGITS]!r} is not a size such as 4MiB, 20 GiB or 1T")
    size = Fraction(match[1][:_DIGITS]) * _FACTORS[match[2].lower()]
    if len(match[1]) > _DIGITS or size >= _LARGEST:
        raise ValueError(f"{text[:_DIGITS]!r} is more than any disk holds")
    return int(size)


def format_duration(seconds: float) -> str:
    """`75` -> `1m15s`, `7325` -> `2h02m`."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{seconds:.1f}s" if seconds < 10 else f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def parse_duration(text: str) -> timedelta:
    """`90s`, `15m`, `12h`, `7d`, `2w`, `1y`; ValueError for anything else."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*", text)
    if not match or match[2] not in _SECONDS:
        raise ValueError(f"{text[:_DIGITS]!r} is not a duration such as 90s, 15m, 12h, 7d or 2w")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not seconds <= _LONGEST:
        raise ValueError(f"{text[:_DIGITS]!r} is longer than a thousand years")
    return timedelta(seconds=seconds)


def parse_share(text: str) -> float:
    """`5%` -> 0.05, `0` -> 0.0, `all` -> 1.0; ValueError for anything else."""
    word = text.strip().lower()
    if word in ("all", "0"):
        return 1.0 if word == "all" else 0.0
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*%", word)
    if not match or float(match[1]) > 100:
        raise ValueError(f"{text[:_DIGITS]!r} is not a share such as 0.1%, 5%, 0 or all")
    return float(match[1]) / 100
