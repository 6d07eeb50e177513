"""One thread stores for all backups of a run, for a repository takes one archive at a time; others read.

What changes little is read ahead into bounded memory, so that its VM is let go of before its turn
to be stored comes. What changes much is stored as it is read, and begun shortly before its turn. Of those
that wait the neediest is the first: a number is a VM's place in the order of the run.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

from borg_ovirt.blocks import MiB
from borg_ovirt.jobs.backup.line import Line
from borg_ovirt.pipe.fetch import Buffers
from borg_ovirt.stopping import Stop, check, due, heard, listening, pause
from borg_ovirt.waits import wait

T = TypeVar("T")

QUESTION, ARCHIVE = 0, 1
"""Who asks something is answered before the next archive is made."""
ROOM = 128 * MiB
"""Bytes that all VMs together may hold until their turn comes."""
LEAD = 30.0
"""So many seconds before its turn the capture of a VM is begun whose bytes do not fit; engines take ten."""
_READING_AHEAD = 2
_POLL = 1.0


class Storing:
    """A backup alone: it stores for itself, as it reads."""

    shared = False

    def do(self, work: Callable[[], T], rank: int = QUESTION) -> T:
        """What touches a repository."""
        return work()

    def heeding(self, broken: Callable[[Exception], None]) -> AbstractContextManager[None]:
        """Inside, who asks has `broken` called with what goes wrong, before anybody else is served."""
        return nullcontext()

    @contextmanager
    def buffers(self, cell: int, count: int) -> Iterator[Buffers]:
        """To read ahead with."""
        yield Buffers(cell, count)

    def hold(self, size: int) -> bool:
        """Whether so many bytes may be held until it is one's turn; then they are given back by `release`."""
        return False

    def release(self, size: int) -> None:
        """They are stored, or forgotten."""

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """This thread is about the VM with this place in the order."""
        yield

    def aside(self) -> AbstractContextManager[None]:
        """It waits for what others may hold: they need not wait for it meanwhile."""
        return nullcontext()

    @contextmanager
    def in_line(self, *, large: bool) -> Iterator[Callable[[], None]]:
        """What is large waits until it is soon its turn. What is given is called when that has come."""
        yield lambda: None

    @contextmanager
    def streaming(self, left: Callable[[], float]) -> Iterator[None]:
        """The turn of one that is stored as it is read; `left` tells for how many seconds more."""
        yield


class _Request:
    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.unwinding = not listening()
        """Part of an end: a signal does not keep it from being done."""
        self.claimed = threading.Lock()
        """Taken by whoever decides what becomes of it: the storing thread, or one that gives up."""
        self.answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()


class StoringThread(Storing):
    """The thread that makes it stores for all others, in `serve`."""

    shared = True

    def __init__(self, stop: Stop) -> None:
        self.stop = stop
        self._owner = threading.get_ident()
        self._inbox: queue.SimpleQueue[tuple[int, int, int, _Request] | None] = queue.SimpleQueue()
        self._waiting: list[tuple[int, int, int, _Request]] = []
        self._current: _Request | None = None
        self._order = itertools.count()
        self._line = Line()
        self._here = threading.local()
        self._left: Callable[[], float] | None = None
        self._guard = threading.Lock()
        self._free = ROOM
        self._sets: queue.SimpleQueue[Buffers | None] = queue.SimpleQueue()
        for _ in range(_READING_AHEAD):
            self._sets.put(None)

    # -- the other threads -------------------------------------------------------------------------

    def do(self, work: Callable[[], T], rank: int = QUESTION) -> T:
        """Let the storing thread do it, and wait for what comes of it."""
        if threading.get_ident() == self._owner:
            return work()
        check()
        with ExitStack() as shown:
            if rank == ARCHIVE:
                shown.enter_context(wait("waiting for its turn to be stored"))

            broken = getattr(self._here, "broken", None)

            def begun() -> T:
                shown.close()
                try:
                    return work()
                except Exception as error:
                    if broken is not None:
                        broken(error)
                    raise

            return self._answered(_Request(begun), rank)  # type: ignore[no-any-return]

    def _answered(self, request: _Request, rank: int) -> Any:
        number = self._number if rank == ARCHIVE else 0
        self._inbox.put((rank, number, next(self._order), request))
        while True:
            try:
                result, error = request.answer.get(timeout=_POLL)
            except queue.Empty:
                # What is under way meets the signal by itself, or is done all the same.
                if due() and request.claimed.acquire(blocking=False):
                    check()
                continue
            if isinstance(error, KeyboardInterrupt):
                heard()
            if error is not None:
                raise error
            return result

    @contextmanager
    def heeding(self, broken: Callable[[Exception], None]) -> Iterator[None]:
        self._here.broken = broken
        try:
            yield
        finally:
            self._here.broken = None

    @contextmanager
    def buffers(self, cell: int, count: int) -> Iterator[Buffers]:
        """One of a few sets: so many VMs are read ahead at a time."""
        while True:
            try:
                found = self._sets.get(timeout=_POLL)
                break
            except queue.Empty:
                check()
        try:
            if found is None or (found.size, found.count) != (cell, max(1, count)):
                found = Buffers(cell, count)
            yield found
        finally:
            self._sets.put(found)

    def hold(self, size: int) -> bool:
        with self._guard:
            if size > self._free:
                return False
            self._free -= size
            return True

    def release(self, size: int) -> None:
        with self._guard:
            self._free += size

    @property
    def _number(self) -> int:
        return getattr(self._here, "number", 0)

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        self._here.number = number
        self._line.join(number)
        try:
            yield
        finally:
            self._line.leave(number)

    def aside(self) -> AbstractContextManager[None]:
        return self._line.aside(self._number)

    @contextmanager
    def in_line(self, *, large: bool) -> Iterator[Callable[[], None]]:
        """One at a time begins before its turn, the neediest, and no earlier than it must."""
        if not large:
            self._line.leave(self._number)
            yield lambda: None
            return
        with ExitStack() as stack:
            with wait("waiting for its turn to be begun"):
                leave = stack.enter_context(self._line.head(self._number))
                while (left := self._left) is not None and left() > LEAD:
                    pause(_POLL)
            yield leave

    @contextmanager
    def streaming(self, left: Callable[[], float]) -> Iterator[None]:
        self._left = left
        try:
            yield
        finally:
            self._left = None

    # -- the storing thread ------------------------------------------------------------------------

    def serve(self, busy: Callable[[], bool]) -> None:
        """Do what the others bring, as long as they are busy. After a signal they end, and so does this."""
        signalled: KeyboardInterrupt | None = None
        while True:
            try:
                while self._serve_one(busy):
                    pass
                break
            except KeyboardInterrupt as error:
                signalled = error
                self.stop.ring(error)
                if self._current is not None:
                    self._current.answer.put((None, error))
        if signalled is not None:
            raise signalled

    def wake(self) -> None:
        """Somebody is no longer busy."""
        self._inbox.put(None)

    def _serve_one(self, busy: Callable[[], bool]) -> bool:
        """False when nobody is busy any more."""
        wait = not self._waiting
        while True:
            try:
                found = self._inbox.get(timeout=_POLL) if wait else self._inbox.get_nowait()
            except queue.Empty:
                break
            wait = False
            if found is not None:
                heapq.heappush(self._waiting, found)
        if not self._waiting:
            return busy() or not self._inbox.empty()
        request = heapq.heappop(self._waiting)[-1]
        self._current = request
        if request.claimed.acquire(blocking=False):
            self._carry_out(request)
        self._current = None
        return True

    def _carry_out(self, request: _Request) -> None:
        try:
            if self.stop.rung and not request.unwinding:
                request.answer.put((None, self.stop.error))
                return
            result, error = request.work(), None
        except BaseException as raised:  # whatever it is, it is the affair of who asked
            result, error = None, raised
        request.answer.put((result, error))
        if isinstance(error, KeyboardInterrupt):
            raise error
