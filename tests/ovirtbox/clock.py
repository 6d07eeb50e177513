"""The engine's clock: ticks drive every state machine, and tests may shift the time of day."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

log = logging.getLogger("ovirtbox.clock")

Call = Callable[[], object]


class Clock:
    """One scheduler thread calls what is due. Slow work does not belong on it: give that to `work`."""

    def __init__(self, tick: float) -> None:
        self.tick = tick
        self._shift = timedelta(0)
        self._due: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._every: list[Call] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._workers: set[threading.Thread] = set()

    # --- time ---

    def now(self) -> datetime:
        return datetime.now(timezone.utc) + self._shift

    def monotonic(self) -> float:
        """Seconds that only grow; a shift is a jump forward."""
        return time.monotonic() + self._shift.total_seconds()

    def shift(self, by: timedelta) -> None:
        self._shift += by

    def aged(self, since: float, seconds: float) -> bool:
        """Have `seconds` (of shifted time) gone by since `since`, a value of `monotonic`?"""
        return self.monotonic() - since >= seconds

    # --- what happens later ---

    def after(self, ticks: float, call: Call) -> None:
        """Call once, that many ticks from now, on the scheduler thread."""
        with self._wake:
            heapq.heappush(self._due, (time.monotonic() + ticks * self.tick, next(self._order), call))
            self._wake.notify()

    def every_tick(self, call: Call) -> None:
        """Call at each tick from now on (until False is returned, if it ever is)."""
        with self._wake:
            self._every.append(call)

    def work(self, job: Call) -> threading.Thread:
        """Run a slow job (qemu-img, a merge) on a thread of its own; `stop` waits for it."""

        def run() -> None:
            try:
                _guarded(job)
            finally:
                with self._wake:
                    self._workers.discard(thread)

        thread = threading.Thread(target=run, name="ovirtbox-work", daemon=True)
        with self._wake:
            self._workers.add(thread)
        thread.start()
        return thread

    # --- life ---

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="ovirtbox-clock", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(30)
        for worker in list(self._workers):
            worker.join(30)

    def idle(self) -> bool:
        """Nothing is due and no slow job runs (the calls of `every_tick` apart)."""
        with self._wake:
            return not self._due and not self._workers

    def _run(self) -> None:
        next_tick = time.monotonic() + self.tick
        while True:
            with self._wake:
                if self._stopping:
                    return
                until = min(next_tick, self._due[0][0]) if self._due else next_tick
                pause = until - time.monotonic()
                if pause > 0:
                    self._wake.wait(pause)
                if self._stopping:
                    return
                ready = []
                while self._due and self._due[0][0] <= time.monotonic():
                    ready.append(heapq.heappop(self._due)[2])
                ticking: list[Call] = []
                if time.monotonic() >= next_tick:
                    ticking = list(self._every)
                    next_tick = time.monotonic() + self.tick
            for call in ready:
                _guarded(call)
            for call in ticking:
                if _guarded(call) is False:
                    with self._wake:
                        self._every.remove(call)


def _guarded(call: Call) -> object:
    try:
        return call()
    except Exception:
        log.exception("A scheduled call failed: %r", call)
        return None
