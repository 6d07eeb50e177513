"""Retention decides as `borg prune` does, VM by VM, and never takes the last good archive or a held one."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from borg.helpers import prune_split
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.errors import UsageError
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment
from borg_ovirt.repository.retention import KeepRules, Verdict
from borg_ovirt.repository.retention import decide as decide_series
from borg_ovirt.repository.series import all_series


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


NOW = datetime(2026, 11, 22, 3, 0, tzinfo=timezone.utc)
VMS = [f"11111111-1111-4111-8111-00000000000{n}" for n in range(3)]


def archive(
    name: str,
    time: datetime,
    *,
    vm: str = VMS[0],
    mode: str = "image",
    held: bool = False,
    marked: bool = False,
) -> ArchiveInfo:
    comment = ArchiveComment(
        vm_id=vm,
        vm_name="same name",
        mode=mode,
        engine="e",
        kind="full",
        held=held,
        marked=marked,
    )
    return ArchiveInfo(name, name, time, comment, timedelta(0), 0, 0)


def decide(
    archives: Iterable[ArchiveInfo], rules: KeepRules, *, now: datetime, damaged: Collection[str] = ()
) -> list[Verdict]:
    """Series by series."""
    found = all_series(archives, now)
    return [v for series in found for v in decide_series(series, rules, now=now, damaged=damaged)]


def kept(verdicts: list[Verdict]) -> set[str]:
    return {v.archive.name for v in verdicts if v.keep}


moments = st.integers(0, 900 * 24 * 60).map(lambda minutes: NOW - timedelta(minutes=minutes))
counts = st.sampled_from([1, 2, 3, 7, -1])
periods = st.sampled_from(["last", "hourly", "daily", "weekly", "monthly", "yearly"])
rule_sets = st.builds(
    lambda within, numbers: KeepRules(within=within, **numbers),
    st.none() | st.integers(1, 400).map(lambda d: timedelta(days=d)),
    st.dictionaries(periods, counts, min_size=1, max_size=4),
)
histories = st.lists(
    st.tuples(
        moments, st.sampled_from(VMS), st.sampled_from(["image", "chain"]), st.booleans(), st.booleans()
    ),
    max_size=40,
    unique_by=lambda row: row[0],
).map(
    lambda rows: [
        archive(f"a{n}", time, vm=vm, mode=mode, held=held, marked=marked)
        for n, (time, vm, mode, held, marked) in enumerate(rows)
    ]
)


def borg_keeps(times: list[datetime], rules: KeepRules) -> set[int]:
    """What stock Borg's own functions keep of archives made at these times."""
    theirs = [SimpleNamespace(id=n, ts=t) for n, t in enumerate(times)]
    because: dict[int, tuple[str, int]] = {}
    keep = []
    if rules.within:
        keep += [a for a in theirs if a.ts > NOW - rules.within]
        because |= {a.id: ("within", 1) for a in keep}
    for rule, number in (
        ("secondly", rules.last),
        ("hourly", rules.hourly),
        ("daily", rules.daily),
        ("weekly", rules.weekly),
        ("monthly", rules.monthly),
        ("yearly", rules.yearly),
    ):
        keep += prune_split(theirs, rule, number, because)
    return {a.id for a in keep}


@given(st.lists(moments, unique=True, min_size=1, max_size=60), rule_sets)
def test_as_borg_does(times: list[datetime], rules: KeepRules) -> None:
    verdicts = decide([archive(str(n), t) for n, t in enumerate(times)], rules, now=NOW)
    newest = max(range(len(times)), key=times.__getitem__)
    assert kept(verdicts) == {str(n) for n in borg_keeps(times, rules) | {newest}}
    assert all(bool(v.rule) == v.keep for v in verdicts)


@given(histories, rule_sets)
def test_what_always_stays(history: list[ArchiveInfo], rules: KeepRules) -> None:
    verdicts = decide(history, rules, now=NOW)
    assert sorted(v.archive.name for v in verdicts) == sorted(a.name for a in history)
    staying = kept(verdicts)
    for a in history:
        series = [
            b for b in history if (b.comment.vm_id, b.comment.mode) == (a.comment.vm_id, a.comment.mode)
        ]
        good = [b for b in series if not b.comment.marked] or series
        assert max(good, key=lambda b: b.time).name in staying
        assert not a.comment.held or a.name in staying


@given(histories, rule_sets)
def test_each_series_is_judged_alone(history: list[ArchiveInfo], rules: KeepRules) -> None:
    together = kept(decide(history, rules, now=NOW))
    apart: set[str] = set()
    for vm in VMS:
        for mode in ("image", "chain"):
            series = [a for a in history if (a.comment.vm_id, a.comment.mode) == (vm, mode)]
            apart |= kept(decide(series, rules, now=NOW))
    assert together == apart


@given(histories, rule_sets)
def test_a_hold_changes_nothing_for_the_others(history: list[ArchiveInfo], rules: KeepRules) -> None:
    free = [replace(a, comment=a.comment.model_copy(update={"held": False})) for a in history]
    held = {a.name for a in history if a.comment.held}
    assert kept(decide(history, rules, now=NOW)) == kept(decide(free, rules, now=NOW)) | held


@given(histories, rule_sets, st.randoms())
def test_twice_is_once_and_order_does_not_matter(
    history: list[ArchiveInfo], rules: KeepRules, dice: random.Random
) -> None:
    verdicts = decide(history, rules, now=NOW)
    shuffled = list(history)
    dice.shuffle(shuffled)
    assert decide(shuffled, rules, now=NOW) == verdicts


def test_damaged_ones_are_not_the_newest_good() -> None:
    history = [archive(f"day{n}", NOW - timedelta(days=n, hours=1)) for n in range(4)]
    verdicts = decide(history, KeepRules(yearly=1), now=NOW, damaged={"day0", "day1"})
    assert {v.archive.name: v.rule for v in verdicts if v.keep} == {
        "day0": "damaged, and nothing newer is whole",
        "day1": "damaged, and nothing newer is whole",
        "day2": "yearly #1",
    }


def test_a_marked_one_is_kept_besides_the_newest_good() -> None:
    history = [archive("marked", NOW, marked=True), archive("good", NOW - timedelta(days=1))]
    verdicts = decide(history, KeepRules(within=timedelta(seconds=1)), now=NOW + timedelta(days=99))
    assert {v.archive.name: v.rule for v in verdicts} == {"marked": "newest", "good": "newest good"}


def test_days_begin_where_the_user_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    history = [archive("early", NOW.replace(hour=13)), archive("late", NOW.replace(hour=15))]
    after = NOW + timedelta(days=2)
    assert kept(decide(history, KeepRules(daily=1), now=after)) == {"late"}
    monkeypatch.setenv("TZ", "UTC-10")
    time.tzset()
    assert kept(decide(history, KeepRules(daily=2), now=after)) == {"early", "late"}


def test_no_rules_are_refused() -> None:
    with pytest.raises(UsageError, match="everything would go"):
        decide([archive("one", NOW)], KeepRules(), now=NOW)
    with pytest.raises(UsageError, match="keep-daily is -2"):
        KeepRules(daily=-2)


def nights(first: datetime, number: int) -> Iterator[datetime]:
    for day in range(number):
        yield first + timedelta(days=day)


def test_400_days_of_nightly_runs() -> None:
    """After the last prune exactly what the calendar says is there."""
    rules = KeepRules(within=timedelta(days=2), daily=7, weekly=4, monthly=6, yearly=2)
    present: list[ArchiveInfo] = []
    first = datetime(2025, 10, 1, 2, 0, tzinfo=timezone.utc)
    for night in nights(first, 400):
        held = night == first + timedelta(days=50)
        present.append(archive(f"{night:%Y-%m-%d}", night, held=held))
        verdicts = decide(present, rules, now=night + timedelta(hours=1))
        staying = kept(verdicts)
        present = [a for a in present if a.name in staying]
        if night == first + timedelta(days=399):
            assert verdicts[0].archive.time == night
    last = first + timedelta(days=399)
    expected = {f"{last - timedelta(days=n):%Y-%m-%d}" for n in range(9)}  # within 2 days, then 7 days
    sundays = [last - timedelta(days=n) for n in range(9, 60) if (last - timedelta(days=n)).weekday() == 6]
    expected |= {f"{day:%Y-%m-%d}" for day in sundays[:4]}
    assert last.date().isoformat() == "2026-11-04"
    assert expected <= {a.name for a in present}
    names = {a.name for a in present} - expected
    assert names == {
        "2026-09-30",
        "2026-08-31",
        "2026-07-31",
        "2026-06-30",
        "2026-05-31",
        "2026-04-30",  # six months, the newest of each
        "2025-12-31",  # the years
        "2025-11-20",  # held
        "2025-10-01",  # the oldest, for the second year is not full yet
    }


def test_what_nothing_dates_stays_and_counts_for_no_period() -> None:
    """Two nights by a clock that was ahead, and nothing else: nobody knows how old they are."""
    found = decide(
        [archive("first", NOW + timedelta(days=1)), archive("second", NOW + timedelta(days=2))],
        KeepRules(last=1),
        now=NOW,
    )
    assert {v.archive.name: v.rule for v in found} == {"first": "later than now", "second": "newest good"}
