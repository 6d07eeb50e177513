"""Who is in a run, in which part of it, and who goes first."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.config.schema import Config
from borg_ovirt.config.select import Traits, settings_for
from borg_ovirt.errors import UsageError, VmNotFound
from borg_ovirt.jobs.runs.plan import window_end
from borg_ovirt.jobs.selection import (
    Member,
    Narrowing,
    choose,
    last_good,
    neediest_first,
    parse_shard,
    shard_of,
)
from borg_ovirt.ovirt.facts.model import VmSummary
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def member(number: int, name: str, *tags: str, selected: bool = True) -> Member:
    vm_id = str(UUID(int=number))
    traits = Traits(vm_id, name, frozenset(tags))
    summary = VmSummary(vm_id, name, "up", "cluster", tags)
    return Member(summary, traits, settings_for(Config(), traits, {}), selected)


def archive(vm: Member, days_ago: int) -> ArchiveInfo:
    comment = ArchiveComment(vm_id=vm.id, vm_name=vm.name, mode="image", engine="e", kind="full")
    when = NOON - timedelta(days=days_ago)
    return ArchiveInfo(f"{vm.name}-{days_ago}", "", when, comment, timedelta(0), 0, 0)


WEB, WEB2, DB = member(1, "web01", "web"), member(2, "web02", "web", "new"), member(3, "db01")
HIDDEN = member(4, "hidden", selected=False)
ALL = [DB, HIDDEN, WEB, WEB2]


def names(members: list[Member]) -> list[str]:
    return [m.name for m in members]


def test_a_run_takes_what_the_configuration_selects() -> None:
    assert names(choose(ALL, Narrowing())) == ["db01", "web01", "web02"]


def test_it_is_narrowed_by_name_glob_id_and_tag() -> None:
    assert names(choose(ALL, Narrowing(vms=("web*",)))) == ["web01", "web02"]
    assert names(choose(ALL, Narrowing(vms=(DB.id.upper(), "web01")))) == ["db01", "web01"]
    assert names(choose(ALL, Narrowing(tags=("new", "old")))) == ["web02"]
    assert names(choose(ALL, Narrowing(vms=("web*",), tags=("new",)))) == ["web02"]


def test_a_name_that_fits_nothing_is_an_error_and_not_an_empty_run() -> None:
    with pytest.raises(VmNotFound, match="no VM web9"):
        choose(ALL, Narrowing(vms=("web9",)))
    with pytest.raises(UsageError, match="does not select"):
        choose(ALL, Narrowing(vms=("hidden",)))


ids = st.uuids().map(str)


@given(ids, st.integers(1, 9))
def test_a_vm_is_in_one_of_the_shards_however_its_id_is_written(vm_id: str, parts: int) -> None:
    assert 1 <= shard_of(vm_id, parts) <= parts
    assert shard_of(vm_id.upper(), parts) == shard_of(vm_id, parts)


@given(ids, st.integers(1, 20))
def test_one_more_shard_moves_vms_only_into_it(vm_id: str, parts: int) -> None:
    assert shard_of(vm_id, parts + 1) in (shard_of(vm_id, parts), parts + 1)


def test_shards_are_about_even_and_never_change() -> None:
    sizes = [0] * 5
    for number in range(5000):
        sizes[shard_of(str(UUID(int=number)), 4)] += 1
    assert min(sizes[1:]) > 1100
    assert [shard_of(str(UUID(int=n)), 7) for n in range(8)] == [3, 4, 1, 4, 6, 3, 5, 2]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "-1/3", "1/0", "1/3/5", ""])
def test_a_bad_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shard"):
        parse_shard(text)


def test_the_neediest_goes_first() -> None:
    good = last_good([archive(WEB, 1), archive(WEB2, 9), archive(WEB, 30)])
    assert good[WEB.id].name == "web01-1"
    assert names(neediest_first(ALL, [good])) == ["db01", "hidden", "web02", "web01"]


def test_of_several_repositories_the_one_that_is_furthest_behind_counts() -> None:
    here = last_good([archive(WEB, 1), archive(WEB2, 3), archive(DB, 2), archive(HIDDEN, 1)])
    there = last_good([archive(WEB, 9), archive(WEB2, 4), archive(DB, 2)])
    assert names(neediest_first(ALL, [here, there])) == ["hidden", "web01", "web02", "db01"]
    assert names(neediest_first(ALL, [])) == ["db01", "hidden", "web01", "web02"]


def test_only_archives_of_this_engine_count_and_none_by_a_wrong_clock() -> None:
    here = ("", "e")
    elsewhere = ("", "f")
    archives = [archive(WEB, 1), archive(WEB2, 9)]
    assert set(last_good(archives, here)) == {WEB.id, WEB2.id}
    assert last_good(archives, elsewhere) == {}
    ahead = last_good([archive(WEB, -400), archive(WEB2, 9)], now=NOON)
    assert ahead[WEB.id].since is None
    assert names(neediest_first([WEB2, WEB], [ahead])) == ["web01", "web02"]


def test_a_window_ends_at_the_next_such_time(monkeypatch: pytest.MonkeyPatch) -> None:
    evening = datetime(2026, 3, 1, 22, 0).astimezone()
    six = datetime(2026, 1, 1, 6, 0).time()
    end = window_end(six, evening)
    assert end is not None
    assert (end.day, end.hour, end.minute) == (2, 6, 0)
    assert window_end(evening.time(), evening) == evening + timedelta(days=1)
    assert window_end(None, evening) is None


@pytest.mark.parametrize(
    ("members", "narrowing", "words"),
    [
        ([], Narrowing(), "shows this user no VM"),
        ([HIDDEN], Narrowing(), "selects none of the 1 VMs"),
        (ALL, Narrowing(tags=("nobody",)), "left by --vm and --tag"),
    ],
)
def test_an_empty_selection_is_no_success(members: list[Member], narrowing: Narrowing, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        choose(members, narrowing)


def test_a_shard_of_a_selection_may_be_empty() -> None:
    part = next(n for n in range(1, 10) if shard_of(DB.id, 9) != n)
    assert choose([DB], Narrowing(shard=(part, 9))) == []
