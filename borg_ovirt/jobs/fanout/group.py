"""The processes of all repositories of a backup: told together, asked together, and none spoils the others.

One thread. A cell lies in the shared memory until every repository has stored it; who keeps one there longer
than the limit, or leaves a question unanswered for so long, is killed and left behind.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from borg_ovirt.errors import BorgOvirtError, RepositoryError
from borg_ovirt.jobs.fanout.link import Link
from borg_ovirt.jobs.fanout.wire import (
    MEMORY,
    Ask,
    Done,
    Failed,
    Free,
    Log,
    Spec,
    Tell,
    make_memory,
    map_memory,
)

_ENDING = 60.0
"""Seconds for a process to roll back and close its repository."""


class Group:
    """Use as a context. When the last repository is lost, its error is raised."""

    def __init__(self, specs: Sequence[Spec], stall: float) -> None:
        self.live: list[Link] = []
        self.lost: list[tuple[Link, BorgOvirtError]] = []
        self._specs = specs
        self._stall = stall
        self._slot = MEMORY
        self._descriptor = make_memory()
        self._memory = map_memory(self._descriptor)

    def __enter__(self) -> Group:
        try:
            for spec in self._specs:
                self.live.append(Link(spec, self._descriptor, self._stall))
            for link, (id_, location) in self._answers(patient=True).items():
                link.id, link.location = id_, location
        except BaseException:
            for link in self.live:
                if not link.answers:  # it waits, perhaps for a lock, and does not listen to us
                    link.kill()
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let all end in order; who does not is killed."""
        links = [*self.live, *(link for link, _ in self.lost)]
        self.live = []
        for link in links:
            link.hang_up()
        for link in links:
            link.close(_ENDING)
        with suppress(OSError):
            os.close(self._descriptor)

    # Talking

    def tell(self, what: str, *words: Any) -> None:
        """Something to do, in order; what goes wrong shows later."""
        for link in list(self.live):
            self._send(link, Tell(what, words))

    def ask(self, what: str, *words: Any, patient: bool = False) -> dict[Link, Any]:
        """The answers of all that are still there. `patient`: as long as it takes."""
        for link in list(self.live):
            self._send(link, Ask(what, words))
        return self._answers(patient)

    def _send(self, link: Link, message: Tell | Ask) -> None:
        try:
            link.send(message)
        except RepositoryError as error:  # it does not read
            self.drop(link, error, at_once=True)
        except OSError:  # it has ended, perhaps with a last word
            self._listen(link)
            if link in self.live:
                self.drop(link, link.ended())

    def _answers(self, patient: bool) -> dict[Link, Any]:
        asked = time.monotonic()
        while missing := [link for link in self.live if not link.answers]:
            self._hear(None if patient else self._stall)
            now = time.monotonic()
            for link in missing:
                silent = now - max(asked, link.heard)
                if not patient and link in self.live and not link.answers and silent >= self._stall:
                    self.drop(link, link.stalled(), at_once=True)
        return {link: link.answers.pop() for link in self.live}

    def _hear(self, timeout: float | None) -> None:
        """Take all messages that are there; wait for the first."""
        while ready := wait([link.connection for link in self.live], timeout):
            for link in list(self.live):
                if link.connection in ready:
                    self._take(link)
            timeout = 0

    def _listen(self, link: Link) -> None:
        """The last words of one that does not listen any more."""
        while link in self.live and link.connection.poll():
            self._take(link)

    def _take(self, link: Link) -> None:
        try:
            message = link.connection.recv()
        except (EOFError, OSError):
            self.drop(link, link.ended())
            return
        link.heard = time.monotonic()
        if isinstance(message, Free):
            del link.held[message.slot]
        elif isinstance(message, Done):
            link.answers.append(message.value)
        elif isinstance(message, Failed):
            self.drop(link, message.error())
        elif isinstance(message, Log):
            logging.getLogger(message.name).log(message.level, "%s: %s", link.location, message.text)

    def drop(self, link: Link, error: BorgOvirtError, *, at_once: bool = False) -> None:
        """Go on without this repository; raises its error where it was the last."""
        self.live.remove(link)
        self.lost.append((link, error))
        link.held.clear()
        if at_once:
            link.kill()
        else:
            link.hang_up()
        if not self.live:
            raise error

    # Cells

    def use_cells(self, size: int) -> None:
        """Divide the shared memory into places of this size."""
        if size != self._slot:
            self.ask("settled")
            self._slot = size

    def store(self, data: memoryview) -> None:
        """Hand a cell to every repository."""
        slot = self._place(data)
        for link in list(self.live):
            link.held[slot] = time.monotonic()
            self._send(link, Tell("store", (slot, slot * self._slot, len(data))))

    def hashes(self, data: memoryview) -> list[bytes]:
        """The id of a cell in each repository that is still there."""
        slot = self._place(data)
        return list(self.ask("hash_of", slot * self._slot, len(data)).values())

    def _place(self, data: memoryview) -> int:
        """A free place, filled."""
        self._hear(0)
        while (slot := self._free()) is None:
            oldest = min(since for link in self.live for since in link.held.values())
            self._hear(max(0.0, oldest + self._stall - time.monotonic()))
            self._drop_stalled()
        begin = slot * self._slot
        self._memory[begin : begin + len(data)] = data
        return slot

    def _free(self) -> int | None:
        taken = {slot for link in self.live for slot in link.held}
        return next((slot for slot in range(MEMORY // self._slot) if slot not in taken), None)

    def _drop_stalled(self) -> None:
        now = time.monotonic()
        for link in list(self.live):
            if link.held and now - min(link.held.values()) >= self._stall:
                self.drop(link, link.stalled(), at_once=True)
