"""Archive names are harmless wherever they are written, and never clash."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.repository.names import archive_name, is_checkpoint_name, may_be_later, slug

NOON = datetime(2026, 3, 1, 12, 30, 5, 999_999, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("vm", "expected"),
    [
        ("web01", "web01"),
        ("Web 01", "Web-01"),
        ("db.example.com", "db.example.com"),
        ("Büro/Süd::{now}", "Buro-Sud-now"),
        ("-rf", "rf"),
        ("..", "vm"),
        ("日本", "vm"),
        ("", "vm"),
        ("x.checkpoint.3", "x-checkpoint.3"),
        ("a" * 300, "a" * 80),
    ],
)
def test_examples(vm: str, expected: str) -> None:
    assert slug(vm) == expected
    assert archive_name(vm, NOON, set()) == f"{expected}-2026-03-01T123005Z"


@given(st.text(max_size=300) | st.text("./:{}- \t\n*?'\"$checkpoint", max_size=40))
def test_any_name_becomes_harmless(vm: str) -> None:
    name = archive_name(vm, NOON, set())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
    assert ".checkpoint" not in name
    assert len(name) < 120
    assert not is_checkpoint_name(name)


@given(st.text(max_size=20), st.integers(1, 30))
def test_a_name_that_is_taken_gets_a_number(vm: str, times: int) -> None:
    taken: set[str] = set()
    for _ in range(times):
        name = archive_name(vm, NOON, taken)
        assert name not in taken
        taken.add(name)
    assert len(taken) == times


def test_the_time_is_in_utc() -> None:
    east = timezone(timedelta(hours=5))
    assert archive_name("vm", NOON.astimezone(east), ()) == archive_name("vm", NOON, ())


@pytest.mark.parametrize(
    ("name", "unfinished"),
    [("a.checkpoint", True), ("a.checkpoint.12", True), ("a.checkpoint.x", False), ("a-checkpoint", False)],
)
def test_unfinished_archives(name: str, unfinished: bool) -> None:
    assert is_checkpoint_name(name) == unfinished


def test_which_archive_may_be_later_as_names_tell() -> None:
    known = "web01-2026-03-02T120000Z"
    for name in ("web01-2026-03-02T120001Z", "web01-2026-03-02T120000Z-2", "web01-2027-01-01T000000Z"):
        assert may_be_later(name, "web01", known)
    for name in (known, "web01-2026-03-01T120000Z", "web01-b-2026-03-03T120000Z", "web01-by-hand", "web01"):
        assert not may_be_later(name, "web01", known)
    assert not may_be_later("db01-2026-03-03T120000Z", "web01", known)
