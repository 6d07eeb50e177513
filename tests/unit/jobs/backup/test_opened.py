"""A repository of a run that fails: opened again for the next VM, given up after the second time in a row."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from borg_ovirt.errors import (
    RepositoryDamaged,
    RepositoryError,
    RepositoryLocked,
    TransferFailed,
)
from borg_ovirt.jobs.backup.opened import OneRepository


class Shelf:
    """Repositories that open, or do not, as the test wants."""

    location = "/srv/borg/vms"
    id = "0" * 64

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.refuse: Exception | None = None

    @contextmanager
    def open(self) -> Iterator[Any]:
        if self.refuse is not None:
            raise self.refuse
        self.opened += 1
        try:
            yield copy.copy(self)  # each opening is another
        finally:
            self.closed += 1


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def one(shelf: Shelf) -> Iterator[OneRepository]:
    repository = OneRepository("local", "local", shelf.open)
    with repository.opened():
        yield repository


def test_it_knows_where_it_is_and_is_closed_in_the_end(shelf: Shelf) -> None:
    repository = OneRepository("local", "local", shelf.open)
    with repository.opened():
        assert repository.states[0].location == "/srv/borg/vms"
    assert (shelf.opened, shelf.closed) == (1, 1)


def test_one_that_broke_is_opened_again_once(shelf: Shelf, one: OneRepository) -> None:
    told: list[str] = []
    one.conclude(one.store(), RepositoryError("The connection broke."))
    assert shelf.closed == 1
    with pytest.raises(RepositoryError, match="is not open: The connection broke"):
        one.store()
    one.recover(told.append)
    assert told == ["the repository local failed (The connection broke.); opening it again"]
    assert (shelf.opened, one.states[0].error, one.all_lost) == (2, None, None)
    one.recover(told.append)
    assert len(told) == 1
    one.conclude(one.store(), None)
    one.conclude(one.store(), RepositoryError("Once more."))
    assert one.all_lost is None  # it went well in between


def test_two_failures_in_a_row_are_enough(shelf: Shelf, one: OneRepository) -> None:
    told: list[str] = []
    one.conclude(one.store(), RepositoryError("The disk is full."))
    one.recover(told.append)
    one.conclude(one.store(), RepositoryError("The disk is full still."))
    assert one.all_lost == "not tried: the repository failed twice in a row (The disk is full still.)"
    one.recover(told.append)
    assert (shelf.opened, len(told)) == (2, 1)


def test_one_that_does_not_open_again_is_given_up(shelf: Shelf, one: OneRepository) -> None:
    told: list[str] = []
    one.conclude(one.store(), RepositoryError("The connection broke."))
    shelf.refuse = RepositoryLocked("Somebody has it.")
    one.recover(told.append)
    assert told[1] == "the repository local is given up for the rest of the run: Somebody has it."
    assert "Somebody has it" in str(one.all_lost)


@pytest.mark.parametrize("error", [TransferFailed("Cut."), RepositoryDamaged("A chunk is lost.")])
def test_what_is_not_the_repositorys_fault_leaves_it_open(
    shelf: Shelf, one: OneRepository, error: Exception
) -> None:
    for _ in range(3):
        one.conclude(one.store(), error)
        one.store()
    assert (shelf.opened, one.all_lost) == (1, None)


def test_who_was_under_way_when_it_was_lost_under_another_is_not_what_failed(
    shelf: Shelf, one: OneRepository
) -> None:
    mine, others = one.store(), one.store()
    assert one.conclude(others, RepositoryError("The connection broke."))
    one.recover(lambda text: None)
    assert not one.conclude(mine, RepositoryError("It is closed.")), "it may be tried again"
    assert one.conclude(mine, None)
    assert (one.all_lost, one.states[0].failures) == (None, 1)
    one.conclude(one.store(), RepositoryError("It broke again."))
    assert one.all_lost is not None
