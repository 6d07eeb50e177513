"""A group of threads: the first error ends all, and nobody waits for what never comes."""

# ruff: noqa: PT012  (what fails in these tests is the leaving of a block)

from __future__ import annotations

import threading

import pytest

from borg_ovirt.errors import TransferFailed
from borg_ovirt.pipe.threads import ThreadGroup

from .fakes import Fault


class Connection:
    """Counts how often it was closed; `work` waits until it is."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self.closes = 0

    def close(self) -> None:
        self.closes += 1
        self.closed.set()


def test_threads_that_end_too_early_are_an_error() -> None:
    group = ThreadGroup("reader")
    with pytest.raises(TransferFailed, match="All reader threads ended"), group:
        group.start(2, lambda: None)
        with group.changed:
            group.lead_wait(lambda: False)


def test_an_error_of_a_member_is_raised_once_in_the_leader() -> None:
    fault = Fault("of a member")

    def work() -> None:
        raise fault

    group = ThreadGroup("writer")
    with pytest.raises(Fault) as caught, group:
        group.start(3, work)
        with group.changed:
            group.lead_wait(lambda: False)
    assert caught.value is fault
    assert group.stopped


def test_leaving_waits_for_the_work() -> None:
    go_on, done = threading.Event(), []

    def work() -> None:
        assert go_on.wait(20)
        done.append(threading.get_ident())

    with ThreadGroup("reader") as group:
        group.start(3, work)
        go_on.set()
    assert len(set(done)) == len(done) == 3


def test_an_error_of_the_leader_cuts_the_connections() -> None:
    connection = Connection()
    held = threading.Event()
    group = ThreadGroup("reader")

    def work() -> None:
        with group.holding(connection):
            held.set()
            assert connection.closed.wait(20), "the connection was not cut"

    with pytest.raises(Fault), group:
        group.start(1, work)
        assert held.wait(20)
        raise Fault
    assert connection.closes >= 2, "its own thread closes it once more"


def test_who_waits_is_woken_at_the_end() -> None:
    group = ThreadGroup("reader")
    waiting = threading.Event()

    def work() -> None:
        def ready() -> bool:
            waiting.set()
            return False

        with group.changed:
            group.member_wait(ready)

    with pytest.raises(Fault), group:
        group.start(2, work)
        assert waiting.wait(20)
        raise Fault
