"""Sizes, durations and shares survive being written and read."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_share,
    parse_size,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (4 << 20, "4 MiB"),
        (1 << 40, "1 TiB"),
        (150 * 1.5e9, "210 GiB"),
    ],
)
def test_sizes_are_written_short(size: float, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4MiB", 4 << 20),
        ("4 M", 4 << 20),
        ("20MB", 20_000_000),
        ("1.5g", 3 << 29),
        ("12", 12),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4 MX", "-1", "1e3", "MiB", "4 MiB extra"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(0, 1 << 60))
def test_a_written_size_reads_back_within_its_precision(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4s"), (12, "12s"), (75, "1m15s"), (7325, "2h02m"), (90000, "1d01h"), (59.7, "1m00s")],
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_durations_are_read() -> None:
    assert parse_duration("90s") == timedelta(seconds=90)
    assert parse_duration("1.5h") == timedelta(minutes=90)
    assert parse_duration("2w") == timedelta(days=14)
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("90")


def test_shares_are_read() -> None:
    assert parse_share("0.1%") == pytest.approx(0.001)
    assert parse_share("all") == 1.0
    assert parse_share("0") == 0.0
    for wrong in ("5", "101%", "-1%", ""):
        with pytest.raises(ValueError, match="is not a share"):
            parse_share(wrong)
