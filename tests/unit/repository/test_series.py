"""The order of a series hangs on no clock, and what a wrong clock says counts for nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment
from borg_ovirt.repository.retention import KeepRules, decide
from borg_ovirt.repository.series import Series, all_series, in_order

NOW = datetime(2026, 6, 30, 12, tzinfo=timezone.utc)
VM = str(UUID(int=1))


def archive(name: str, day: float, number: int | None = None, **facts: object) -> ArchiveInfo:
    """An archive that bears the time of a day (0 is now, -1 yesterday), committed `took` later."""
    took = facts.pop("took", timedelta(0))
    comment = ArchiveComment.model_validate(
        {
            "vm_id": VM,
            "vm_name": "web",
            "mode": "image",
            "engine": "e",
            "kind": "full",
            "number": number,
            **facts,
        }
    )
    assert isinstance(took, timedelta)
    return ArchiveInfo(name, name, NOW + timedelta(days=day), comment, took, 0, 0)


def one(*archives: ArchiveInfo) -> Series:
    (series,) = all_series(archives, NOW)
    return series


def names(series: Series) -> list[str]:
    return [info.name for info in series.archives]


def nights(*days: float) -> list[ArchiveInfo]:
    """Numbered archives a1, a2 ... in the order in which they were made."""
    return [archive(f"a{n}", day, n) for n, day in enumerate(days, 1)]


def kept(archives: list[ArchiveInfo], **rules: int) -> set[str]:
    found = all_series(archives, NOW)
    return {v.archive.name for s in found for v in decide(s, KeepRules(**rules), now=NOW) if v.keep}


@given(st.lists(st.floats(-900, 900), min_size=1, max_size=30), st.randoms())
def test_numbers_go_before_every_clock(days: list[float], dice: random.Random) -> None:
    history = nights(*days)
    shuffled = list(history)
    dice.shuffle(shuffled)
    series = one(*shuffled)
    assert list(series.archives) == history
    times = [series.times[info.name] for info in history]
    assert times == sorted(times)
    assert times[-1] <= NOW


def test_bases_and_checkpoints_tell_the_order_where_numbers_are_lost() -> None:
    first = archive("first", -1, checkpoint=str(UUID(int=7)))
    second = archive("second", -3, base="first", checkpoint=str(UUID(int=8)))
    third = archive("third", -5, from_checkpoint=str(UUID(int=8)))
    assert [info.name for info in in_order([third, first, second], NOW)] == ["first", "second", "third"]


def test_what_contradicts_itself_is_still_an_order() -> None:
    a, b = archive("a", -2, base="b"), archive("b", -1, base="a")
    assert [info.name for info in in_order([b, a], NOW)] == ["a", "b"]


def test_a_night_with_a_clock_ahead_costs_the_fresh_archives_nothing() -> None:
    history = nights(-5, -4, 300, -2, -1)
    series = one(*history)
    assert series.doubted == {"a3"}
    assert series.adrift == set()
    assert NOW - timedelta(days=4) <= series.times["a3"] < NOW - timedelta(days=2)
    assert kept(history, last=2) == {"a4", "a5"}
    assert kept(history, daily=3) == {"a2", "a4", "a5"}


def test_a_clock_set_back_two_days_does_not_cost_the_newest() -> None:
    history = nights(-9, -8, -7, -6, -5, -4, -5.5, -4.5)
    assert kept(history, last=2) == {"a7", "a8"}
    assert {"a7", "a8"} <= kept(history, daily=3)


def test_a_clock_that_starts_in_1970_does_not_take_the_history_along() -> None:
    days = [-5.0, -4.0, -3.0, -20000.0, -1.0]
    series = one(*nights(*days))
    assert series.doubted == {"a4"}
    assert kept(nights(*days), daily=10) >= {"a1", "a2", "a3", "a5"}


def test_some_nights_by_one_wrong_clock_keep_their_distance() -> None:
    """A hundred nights ahead, then the clock is put right: the days of then are still days."""
    ahead = [300 + n for n in range(3)]
    series = one(*nights(-6, *ahead, -2, -1))
    times = [series.times[f"a{n}"] for n in (2, 3, 4)]
    assert times[2] - times[1] == times[1] - times[0] == timedelta(days=1)
    assert times[2] < NOW - timedelta(days=2)


def test_the_commit_tells_the_time_where_the_engines_clock_was_behind() -> None:
    """The instant is by the engine's clock, the commit by this machine's."""
    behind = archive("a4", -20, 4, took=timedelta(days=19))
    series = one(*nights(-4, -3, -2), behind)
    assert series.since["a4"] == NOW - timedelta(days=1)
    assert series.times["a4"] == NOW - timedelta(days=1)


def test_how_old_an_archive_is_at_most_when_no_clock_can_be_believed() -> None:
    series = one(*nights(-4, 300))
    assert series.since["a2"] == NOW - timedelta(days=4)
    assert one(*nights(300)).since["a1"] is None


def test_one_later_than_now_that_nothing_dates_is_neither_the_newest_nor_removed() -> None:
    lost, fresh = archive("lost", 300), archive("fresh", -1)
    series = one(lost, fresh)
    assert names(series) == ["lost", "fresh"]
    assert series.adrift == {"lost"}
    assert kept([lost, fresh], last=1) == {"lost", "fresh"}


def test_clocks_a_few_minutes_apart_are_no_trouble() -> None:
    minute = 1 / 1440
    assert one(*nights(-1, 3 * minute)).doubted == set()


def test_a_series_is_of_one_engine_known_by_its_id() -> None:
    old = archive("old", -4, 1, engine="engine.old", engine_id="id-1")
    renamed = archive("renamed", -3, 2, engine="engine.new", engine_id="id-1")
    nameless = archive("nameless", -2, 3, engine="engine.new")
    other = archive("other", -1, 4, engine="elsewhere", engine_id="id-2")
    first, second = all_series([old, other, renamed, nameless], NOW)
    assert names(first) == ["other"]
    assert names(second) == ["old", "renamed", "nameless"]
    assert second.is_of("id-1", "whatever")
    assert not second.is_of("id-2", "engine.new")
    assert second.is_of(None, "engine.new")
    assert kept([old, renamed, nameless, other], last=1) == {"nameless", "other"}


def test_modes_are_series_of_their_own() -> None:
    image = archive("image", -1, 1)
    chain = replace(image, name="chain", comment=image.comment.model_copy(update={"mode": "chain"}))
    assert [names(series) for series in all_series([image, chain], NOW)] == [["chain"], ["image"]]
