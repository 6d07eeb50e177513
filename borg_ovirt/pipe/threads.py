"""A group of threads that live and die together: the first error stops all, and none is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TypeVar

from borg_ovirt.errors import TransferFailed

_POLL = 0.5
"""Seconds between two cuts of a connection that comes back."""


class _Closable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closable)


class GroupStopped(Exception):
    """Tells a thread of the group that the work has ended; never leaves the group."""


class ThreadGroup:
    """Threads, the state they share under `changed`, and the connections they hold.

    The thread that made the group leads it: what went wrong in a member is raised there, once.
    """

    def __init__(self, name: str) -> None:
        self.changed = threading.Condition()
        """Guards what the group shares; notified whenever some of it changes."""
        self.stopped = False
        self._name = name
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []
        self._working = 0
        self._held: list[_Closable] = []

    def start(self, count: int, work: Callable[[], None]) -> None:
        """Start the members; each runs `work` once."""
        self._working = count
        for number in range(count):
            thread = threading.Thread(
                target=self._run, args=(work,), name=f"{self._name}-{number + 1}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        error: BaseException | None = None
        try:
            work()
        except GroupStopped:
            pass
        except BaseException as caught:
            error = caught
        with self.changed:
            self._working -= 1
            if error is not None and not self.stopped:
                self._error = error
                self.stopped = True
            self.changed.notify_all()

    @contextmanager
    def holding(self, resource: C) -> Iterator[C]:
        """Hold a connection so that the leader can cut it.

        It is closed here once more then: while it was being cut it may have tried to come back.
        """
        with self.changed:
            self._held.append(resource)
        try:
            self.check()
            yield resource
        finally:
            with self.changed:
                self._held = [held for held in self._held if held is not resource]
            _close(resource)

    def check(self) -> None:
        """Leave the work (in a member) when it has ended."""
        if self.stopped:
            raise GroupStopped

    def member_wait(self, ready: Callable[[], bool]) -> None:
        """A member waits for the others, holding `changed`."""
        while not ready():
            self.check()
            self.changed.wait()
        self.check()

    def lead_check(self) -> None:
        """Raise (in the leader) what went wrong in a member."""
        if self._error is not None:
            raise self._error

    def lead_wait(self, ready: Callable[[], bool]) -> None:
        """The leader waits for its members, holding `changed`."""
        while True:
            self.lead_check()
            if ready():
                return
            if not self._working:
                raise TransferFailed(f"All {self._name} threads ended before the work was done.")
            self.changed.wait()

    def stop(self) -> None:
        """End the work: wake who waits, cut the connections of who reads or writes."""
        with self.changed:
            self.stopped = True
            held = list(self._held)
            self.changed.notify_all()
        for resource in held:
            _close(resource)

    def __enter__(self) -> ThreadGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Without an exception the members are let finish; with one they are stopped."""
        try:
            if kind is None:
                with self.changed:
                    while self._working:
                        self.lead_check()
                        self.changed.wait()
                    self.lead_check()
        finally:
            self.stop()
            for thread in self._threads:
                while thread.is_alive():
                    thread.join(_POLL)
                    self.stop()  # whose connection came back is cut again


def _close(resource: _Closable) -> None:
    """What was to be moved was moved and counted, or has failed already: an error here tells nothing new."""
    with suppress(Exception):
        resource.close()
