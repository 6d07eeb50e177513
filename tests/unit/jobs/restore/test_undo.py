"""What a restore has made is removed when a later step fails: the latest first, all of it, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from borg_ovirt.errors import EngineRefused
from borg_ovirt.jobs.restore.undo import Undo
from borg_ovirt.progress import Progress


class Made:
    """Something in the engine."""

    def __init__(self, name: str, log: list[str], *, fails: str = "", there: bool = True) -> None:
        self.name = name
        self._log = log
        self._fails = fails
        self._there = there

    def _do(self, what: str) -> None:
        self._log.append(f"{what} {self.name}")
        if what == self._fails:
            raise EngineRefused("No.")

    def make(self) -> None:
        self._do("make")

    def remove(self) -> bool:
        self._do("remove")
        return self._there

    def keep(self) -> None:
        self._do("keep")


class Words(Progress):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def undo(log: list[str], *made: Made, keep: bool = False, fails: bool = True) -> list[str]:
    words = Words()
    try:
        with Undo(keep, words) as undoing:
            for one in made:
                one_: Any = one
                undoing.make(one_)
            if fails:
                raise ZeroDivisionError
            undoing.forget()
    except (ZeroDivisionError, EngineRefused):
        pass
    return words.warnings


def test_the_latest_goes_first() -> None:
    log: list[str] = []
    assert undo(log, Made("disk", log), Made("VM", log)) == []
    assert log == ["make disk", "make VM", "remove VM", "remove disk"]


def test_what_was_asked_for_and_failed_is_removed_too() -> None:
    log: list[str] = []
    undo(log, Made("disk", log), Made("VM", log, fails="make"))
    assert log == ["make disk", "make VM", "remove VM", "remove disk"]


def test_what_cannot_be_removed_keeps_nothing_else_from_it() -> None:
    log: list[str] = []
    warnings = undo(log, Made("disk", log), Made("VM", log, fails="remove"), Made("more", log, there=False))
    assert log[-3:] == ["remove more", "remove VM", "remove disk"]
    assert len(warnings) == 2
    assert all("cleanup" in warning for warning in warnings)


def test_all_went_well_and_all_is_the_users() -> None:
    log: list[str] = []
    assert undo(log, Made("disk", log), Made("VM", log), fails=False) == []
    assert sorted(log) == ["keep VM", "keep disk", "make VM", "make disk"]


def test_keep_keeps_and_says_so() -> None:
    log: list[str] = []
    assert undo(log, Made("disk", log), keep=True) == ["kept: disk"]
    assert log == ["make disk", "keep disk"]


def test_an_error_without_anything_made_passes() -> None:
    with pytest.raises(ZeroDivisionError), Undo(False, Progress()):
        raise ZeroDivisionError
