"""The processes of all repositories of a run: notified and asked together, and none spoils the others.

One thread. A cell lies in the shared memory until every repository has stored it; who keeps one there longer
than the limit, leaves a question unanswered for so long, or makes the others wait for so long in all while
one VM is stored, is killed and left behind.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import copy
from multiprocessing.connection import wait
from typing import Any

from borg_ovirt.errors import BorgOvirtError, RepositoryError
from borg_ovirt.jobs.backup.workers.messages import (
    MEMORY,
    Failed,
    Log,
    Notify,
    Release,
    Reply,
    Request,
    Spec,
    make_memory,
    map_memory,
)
from borg_ovirt.jobs.backup.workers.worker import Worker

_ENDING = 60.0
"""Seconds for a process to roll back and close its repository."""


class WorkerPool:
    """Use as a context. When the last repository is lost, its error is raised."""

    def __init__(self, stall: float) -> None:
        self.live: list[Worker] = []
        self.lost: list[tuple[Worker, BorgOvirtError]] = []
        """Since `take_lost`."""
        self._started: list[Worker] = []
        self._stall = stall
        self._slots = [MEMORY]
        """The size of the places that the shared memory is divided into: the same for all parts."""
        self._whole: WorkerPool | None = None
        self._lag: dict[Worker, float] = {}
        """For how long the others waited for each."""
        self._late = False

    def __enter__(self) -> WorkerPool:
        self._descriptor = make_memory()
        self._memory = map_memory(self._descriptor)
        return self

    def __exit__(self, *exc: object) -> None:
        """Let all end in order; who does not is killed."""
        self.live = []
        for worker in self._started:
            worker.hang_up()
        for worker in self._started:
            worker.close(_ENDING)
        with suppress(OSError):
            os.close(self._descriptor)

    def open(self, specs: Mapping[str, Spec]) -> list[Worker]:
        """A process for each repository; who cannot open his is lost. As long as it takes."""
        for worker in [worker for worker in self._started if worker.name in specs]:
            worker.close(_ENDING)  # it may still be rolling back, and holds the lock as long
            self._started.remove(worker)
        fresh: list[Worker] = []
        try:
            for name, spec in specs.items():
                fresh.append(Worker(name, spec, self._descriptor, self._stall))
                self._started.append(fresh[-1])
            self.live += fresh
            for worker, (id_, location) in self._answers(fresh, patient=True).items():
                worker.id, worker.location = id_, location
        except BorgOvirtError:
            raise
        except BaseException:
            for worker in fresh:
                if worker.id is None and not worker.answers:
                    worker.kill()  # it waits, perhaps for a lock, and does not listen to us
            raise
        return [worker for worker in fresh if worker in self.live]

    def narrowed(self, workers: Sequence[Worker]) -> WorkerPool:
        """Some of the repositories alone, for a backup of their own; one pool of them works at a time."""
        part = copy(self)
        part.live = [worker for worker in workers if worker in self.live]
        part.lost = []
        part._whole = self
        part._lag = {}
        return part

    @property
    def outdated(self) -> bool:
        """Whether it still has, or missed too late, one that was lost under another part."""
        return self._late or not set(self.live) <= set(self._root().live)

    def _root(self) -> WorkerPool:
        return self if self._whole is None else self._whole._root()

    def take_lost(self) -> dict[str, BorgOvirtError]:
        """By name who was lost since this was last asked, and why."""
        lost, self.lost = self.lost, []
        return {worker.name: error for worker, error in lost}

    def forget_lost(self, name: str) -> None:
        """It is opened again at once."""
        self.lost = [(worker, error) for worker, error in self.lost if worker.name != name]

    # Talking

    def _let_go(self) -> None:
        """Of those that another part has lost; the last one's error is raised."""
        for worker in [worker for worker in self.live if worker not in self._root().live]:
            self.drop(worker, RepositoryError(f"The repository {worker.location} was lost under another VM."))

    def notify(self, what: str, *words: Any) -> None:
        """Something to do, in order; what goes wrong shows later."""
        self._let_go()
        for worker in list(self.live):
            self._send(worker, Notify(what, words))

    def request(self, what: str, *words: Any, patient: bool = False) -> dict[Worker, Any]:
        """The answers of all that are still there. `patient`: as long as it takes."""
        self._let_go()
        asked = list(self.live)
        for worker in asked:
            self._send(worker, Request(what, words))
        return self._answers(asked, patient)

    def _send(self, worker: Worker, message: Notify | Request) -> None:
        try:
            worker.send(message)
        except RepositoryError as error:  # it does not read
            self.drop(worker, error, at_once=True)
        except OSError:  # it has ended, perhaps with a last word
            self._listen(worker)
            if worker in self.live:
                self.drop(worker, worker.ended())

    def _answers(self, workers: Sequence[Worker], patient: bool) -> dict[Worker, Any]:
        asked = time.monotonic()
        while missing := [worker for worker in workers if worker in self.live and not worker.answers]:
            self._hear(None if patient else self._stall)
            now = time.monotonic()
            for worker in missing:
                silent = now - max(asked, worker.heard)
                if not patient and worker in self.live and not worker.answers and silent >= self._stall:
                    self.drop(worker, worker.stalled(), at_once=True)
        return {worker: worker.answers.pop() for worker in workers if worker in self.live}

    def _hear(self, timeout: float | None) -> None:
        """Take all messages that are there; wait for the first."""
        while ready := wait([worker.connection for worker in self.live], timeout):
            for worker in list(self.live):
                if worker.connection in ready:
                    self._take(worker)
            timeout = 0

    def _listen(self, worker: Worker) -> None:
        """The last words of one that does not listen any more."""
        while worker in self.live and worker.connection.poll():
            self._take(worker)

    def _take(self, worker: Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self.drop(worker, worker.ended())
            return
        worker.heard = time.monotonic()
        if isinstance(message, Release):
            del worker.held[message.slot]
        elif isinstance(message, Reply):
            worker.answers.append(message.value)
        elif isinstance(message, Failed):
            self.drop(worker, message.error())
        elif isinstance(message, Log):
            logging.getLogger(message.name).log(message.level, "%s: %s", worker.location, message.text)

    def drop(self, worker: Worker, error: BorgOvirtError, *, at_once: bool = False) -> None:
        """Go on without this repository; raises its error where it was the last."""
        late = worker not in self._root().live
        part: WorkerPool | None = self
        while part is not None:
            if worker in part.live:  # else another part has met it before
                part.live.remove(worker)
                part.lost.append((worker, error))
                part._late |= late
            part = part._whole
        worker.held.clear()
        if at_once:
            worker.kill()
        else:
            worker.hang_up()
        if not self.live:
            raise error

    # Cells

    def use_cells(self, size: int) -> None:
        """Divide the shared memory into places of this size."""
        if size != self._slots[0]:
            self.request("caught_up")
            self._slots[0] = size

    def store(self, data: memoryview) -> None:
        """Hand a cell to every repository."""
        slot = self._place(data)
        for worker in list(self.live):
            worker.held[slot] = time.monotonic()
            self._send(worker, Notify("store", (slot, slot * self._slots[0], len(data))))

    def same(self, data: memoryview, vm_id: str, path: str, index: int) -> list[bool]:
        """Whether the cell of each one's base of that VM's item has these bytes."""
        slot = self._place(data)
        return list(self.request("same", slot * self._slots[0], len(data), vm_id, path, index).values())

    def _place(self, data: memoryview) -> int:
        """A free place, filled."""
        self._hear(0)
        while (slot := self._free()) is None:
            oldest = min(since for worker in self.live for since in worker.held.values())
            began, last = time.monotonic(), self._last()
            self._hear(max(0.0, oldest + self._stall - began))
            for worker in last:
                self._lag[worker] = self._lag.get(worker, 0.0) + time.monotonic() - began
            self._drop_stalled()
        begin = slot * self._slots[0]
        self._memory[begin : begin + len(data)] = data
        return slot

    def _free(self) -> int | None:
        taken = {slot for worker in self.live for slot in worker.held}
        return next((slot for slot in range(MEMORY // self._slots[0]) if slot not in taken), None)

    def _last(self) -> list[Worker]:
        """Who has all that is there still to store, while another has done the half of it."""
        places = MEMORY // self._slots[0]
        ahead = any(len(worker.held) <= places // 2 for worker in self.live)
        return [worker for worker in self.live if ahead and len(worker.held) == places]

    def _drop_stalled(self) -> None:
        now = time.monotonic()
        for worker in list(self.live):
            held_up = bool(worker.held) and now - min(worker.held.values()) >= self._stall
            if held_up or self._lag.get(worker, 0.0) >= self._stall:
                moves = now - worker.heard < self._stall
                self.drop(worker, worker.behind() if moves else worker.stalled(), at_once=True)
