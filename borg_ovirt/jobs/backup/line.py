"""The line of the VMs of a run, the neediest first: who is next to be begun, of those that must wait for it.

A VM that is on its way is waited for by those behind it, but for as long as it waits for something that they
may hold: it goes aside then, and they pass.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from borg_ovirt.stopping import check

_POLL = 1.0


class Line:
    """Numbers are places in the order of the run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._coming: set[int] = set()
        self._head: int | None = None

    def join(self, number: int) -> None:
        """It is on its way."""
        with self._changed:
            self._coming.add(number)

    def leave(self, number: int) -> None:
        """It has begun, or does without, or has failed: nobody waits for it."""
        with self._changed:
            self._coming.discard(number)
            if self._head == number:
                self._head = None
            self._changed.notify_all()

    @contextmanager
    def aside(self, number: int) -> Iterator[None]:
        """It waits for something else meanwhile."""
        self.leave(number)
        try:
            yield
        finally:
            self.join(number)

    @contextmanager
    def head(self, number: int) -> Iterator[Callable[[], None]]:
        """Wait to be the next; what is given is called when somebody else may be."""
        self.join(number)
        try:
            with self._changed:
                while self._head is not None or min(self._coming) != number:
                    self._changed.wait(_POLL)
                    check()
                self._head = number
            yield lambda: self.leave(number)
        finally:
            self.leave(number)
