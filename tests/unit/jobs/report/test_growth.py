"""How a repository grows, when it is full, and what is said where nobody can tell."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from reports import DAY, protection

from borg_ovirt.blocks import GiB
from borg_ovirt.config.schema import Retention
from borg_ovirt.jobs.health.age import Limits
from borg_ovirt.jobs.report.growth import growth, pace
from borg_ovirt.jobs.report.words import retention, span, why
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment, FiguresRecord
from borg_ovirt.repository.open import Space

NOW = datetime(2026, 6, 30, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def archive(ago: timedelta, total: int, number: int) -> ArchiveInfo:
    figures = FiguresRecord(size=1, data=1, read=1, new=1, added=1, total=total)
    comment = ArchiveComment(
        vm_id=str(UUID(int=1)),
        vm_name="web",
        mode="image",
        engine="e",
        kind="full",
        number=number,
        figures=figures,
    )
    return ArchiveInfo(f"a{number}", f"a{number}", NOW - ago, comment, timedelta(0), 0, 0)


def nights(*totals: float) -> list[ArchiveInfo]:
    """One archive each night, the last one today; GiB."""
    last = len(totals) - 1
    return [archive((last - n) * DAY, int(total * GiB), n + 1) for n, total in enumerate(totals)]


FORECASTS = [
    ("a GiB each day", nights(*range(100, 120)), 50, 50, "in 50 days at 1 GiB a day (50 GiB free)"),
    (
        "a prune each week",
        nights(*(100 + day - 3 * (day // 7) for day in range(28))),
        20,
        None,
        "a day (20 GiB free)",
    ),
    ("steady", nights(*[100] * 20), 50, None, "it does not grow (50 GiB free)"),
    ("shrinking", nights(*range(120, 100, -1)), 50, None, "it does not grow (50 GiB free)"),
    (
        "hardly",
        nights(*(100 + n / 1000 for n in range(20))),
        50,
        None,
        "not within ten years (50 GiB free)",
    ),
    ("four days", nights(1, 2, 3, 4), 50, None, "unknown yet: too few days tell how it grows (50 GiB free)"),
    ("far away", nights(*range(100, 120)), None, None, "unknown: the free space"),
]


@pytest.mark.parametrize(
    ("archives", "free", "days", "words"), [f[1:] for f in FORECASTS], ids=[f[0] for f in FORECASTS]
)
def test_when_it_is_full(archives: list[ArchiveInfo], free: int | None, days: int | None, words: str) -> None:
    told = growth(archives, None if free is None else Space(0, free * GiB), NOW)
    assert words in told.forecast
    if days is not None:
        assert told.full_in == days * DAY


def test_one_wild_day_moves_no_forecast() -> None:
    calm = growth(nights(*range(100, 120)), None, NOW).per_day
    wild = growth(nights(*range(100, 119), 400), None, NOW).per_day
    assert calm == pytest.approx(GiB)
    assert wild == pytest.approx(GiB, rel=0.2)


def test_the_last_archive_of_a_day_tells_and_old_ones_are_forgotten() -> None:
    found = [archive(3 * HOUR, 5, 1), archive(HOUR, 9, 3), archive(2 * HOUR, 7, 2), archive(90 * DAY, 1, 4)]
    told = growth([*found, archive(-3 * HOUR, 100, 5)], None, NOW)
    assert told.points == [(NOW - HOUR, 9)]
    assert growth([], None, NOW).points == []
    assert pace([(NOW, 1)] * 5) is None


def test_retention_in_words() -> None:
    assert retention(Retention()) == "everything"
    rules = Retention.model_validate({"within": "2d", "last": 3, "daily": 14, "yearly": 1})
    assert retention(rules) == "all within 2d, the last 3, 14 daily, 1 yearly"
    assert (span(None), span(60 * DAY), span(26 * HOUR), span(-HOUR)) == ("", "60d", "1d02h", "0.0s")


WHY = [
    ("ok", 1.0, False, None),
    ("no backup", None, False, "it is selected and has no archive"),
    ("old", 3.0, False, "its last archive is 3d old, and may be 1d02h"),
    ("unproven", 1.0, False, "its last proof was 9d ago, and one is asked for every 7d"),
    ("damaged", 1.0, False, "none of its 21 archives can be restored whole"),
    (
        "unselected",
        1.0,
        False,
        "it has archives, and the configuration neither selects nor excludes it any more",
    ),
    ("no max_age", 1.0, False, "nothing says how old its last archive may be (policy.max_age)"),
    ("-", None, True, "the configuration excludes it"),
    ("-", None, False, "the configuration does not select it"),
]


@pytest.mark.parametrize(("verdict", "days", "excluded", "words"), WHY)
def test_why(verdict: str, days: float | None, excluded: bool, words: str | None) -> None:
    bounds = Limits(26 * HOUR, 7 * DAY)
    assert why(protection("web", verdict, days=days), bounds, excluded=excluded) == words


def test_what_no_clock_tells() -> None:
    line = protection("web", "old", age=None, archive="web-1", proof=None, proof_age=None)
    assert why(line, Limits(26 * HOUR), excluded=False) == (
        "its last archive bears no time that can be believed, and may be 1d02h"
    )
    line = protection("web", "unproven", proof=None, proof_age=None)
    assert why(line, Limits(26 * HOUR, 7 * DAY), excluded=False) == (
        "none of its archives was proven, and one is asked for every 7d"
    )
    gone = protection("web", "-", status="gone")
    assert why(gone, Limits(), excluded=False) == "the engine has it no more"
