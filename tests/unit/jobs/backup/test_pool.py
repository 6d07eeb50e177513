"""Whom the others do not wait for any longer, by a clock of the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from borg_ovirt.blocks import MiB
from borg_ovirt.errors import RepositoryError
from borg_ovirt.jobs.backup.workers import pool as pools
from borg_ovirt.jobs.backup.workers.pool import WorkerPool
from borg_ovirt.jobs.backup.workers.worker import RepositoryBehind, Worker

CELL = memoryview(bytes(4 * MiB))
STALL = 30.0


class Fake(Worker):
    """A repository that stores a cell in so many seconds of the test's."""

    def __init__(self, name: str, seconds: float) -> None:
        self.name = self.location = name
        self.stall = STALL
        self.seconds = seconds
        self.heard = 0.0
        self.held = {}
        self.ready = seconds
        self.killed = False

    def send(self, message: Any) -> None:
        pass

    def kill(self) -> None:
        self.killed = True


class Pool(WorkerPool):
    """Time passes where it waits."""

    def __init__(self, *workers: Fake) -> None:
        super().__init__(STALL)
        self.live = list(workers)
        self.now = 0.0

    def _hear(self, timeout: float | None) -> None:
        until = self.now + (timeout or 0.0)
        while self.now < until:
            self.now += 1.0
            for worker in self.live:
                assert isinstance(worker, Fake)
                if worker.held and self.now >= worker.ready:
                    del worker.held[min(worker.held, key=lambda slot: worker.held[slot])]
                    worker.heard, worker.ready = self.now, self.now + worker.seconds
                    until = self.now


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(*workers: Fake) -> Pool:
        made = Pool(*workers)
        monkeypatch.setattr(pools.time, "monotonic", lambda: made.now)
        return made.__enter__()  # type: ignore[return-value]

    return make


def store(pool: Pool, cells: int) -> None:
    for _ in range(cells):
        pool.store(CELL)


def test_one_that_moves_but_is_waited_for_too_long_in_all_is_given_up(pool: Any) -> None:
    fast, slow = Fake("fast", 0.0), Fake("slow", 3.0)  # a cell waits for 24 s at most, among eight
    both = pool(fast, slow)
    store(both, 8 + 6)
    assert both.live == [fast, slow]
    store(both, 20)
    assert both.live == [fast]
    assert slow.killed
    assert isinstance(both.lost[0][1], RepositoryBehind)


def test_each_vm_begins_anew(pool: Any) -> None:
    fast, slow = Fake("fast", 0.0), Fake("slow", 3.0)
    whole = pool(fast, slow)
    for _ in range(4):
        store(whole.narrowed([fast, slow]), 8)
    assert whole.live == [fast, slow]


def test_nobody_is_behind_where_all_are_slow(pool: Any) -> None:
    both = pool(Fake("one", 3.0), Fake("other", 3.0))
    store(both, 60)
    assert len(both.live) == 2


def test_one_that_does_not_move_is_no_slow_one(pool: Any) -> None:
    fast, dead = Fake("fast", 0.0), Fake("dead", 1e9)
    both = pool(fast, dead)
    store(both, 9)
    assert both.live == [fast]
    error = both.lost[0][1]
    assert isinstance(error, RepositoryError)
    assert not isinstance(error, RepositoryBehind)
