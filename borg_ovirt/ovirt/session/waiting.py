"""Waiting for the engine: polls that start quick, slow down, and end at a deadline."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from borg_ovirt import stopping, waits
from borg_ovirt.errors import Timeout

T = TypeVar("T")
log = logging.getLogger(__name__)

TELL = 15.0
"""Seconds of waiting after which it is told what is waited for."""


class Absence:
    """How long the engine was away in all: no limit of ours goes on meanwhile. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        self._before = 0.0
        self._absent = 0

    @property
    def seconds(self) -> float:
        with self._lock:
            now = time.monotonic() - self._since if self._since is not None else 0.0
            return self._before + now

    def begins(self, since: float) -> None:
        """A request met an engine that was away since then; requests of several threads may."""
        with self._lock:
            self._absent += 1
            if self._since is None:
                self._since = since

    def ends(self) -> None:
        """That request was answered, or gave up."""
        with self._lock:
            self._absent -= 1
            if self._absent == 0 and self._since is not None:
                self._before += time.monotonic() - self._since
                self._since = None


@dataclass(frozen=True)
class Patience:
    """How long each kind of waiting may take, in seconds. Generous: engines are slow, not dead."""

    engine: float = 180.0
    """An engine that is away (restart, network) is waited for so long after its last sign of life."""
    hiccup: float = 30.0
    """An engine that is well, but fails at one request, is asked again for this long."""
    settle: float = 60.0
    """After a restart the engine learns the states of its storage domains within this time."""
    lock: float = 300.0
    """Somebody else's lock on a disk or a VM."""
    ovf: float = 300.0
    """The OVF is withheld while something works on a disk: as for any lock."""
    start: float = 900.0
    """A transfer or a backup becomes usable."""
    end: float = 900.0
    """A transfer or a backup reaches its end, a disk is unlocked again."""
    snapshot: float = 3600.0
    """A snapshot is taken."""
    merge: float = 24 * 3600.0
    """A snapshot is merged away."""
    machine: float = 900.0
    """A VM starts, stops or is removed; a disk is made or removed."""
    unclear: float = 10.0
    """What a request made whose answer was lost shows up within this time, or not at all."""
    first: float = 0.02
    """The first pause between two polls."""
    most: float = 5.0
    """The longest pause between two polls."""
    unwind: float = 180.0
    """What could not be ended at once is tried again for this long before it is left to the next run."""
    absence: Absence = field(default_factory=Absence, repr=False, compare=False)

    def pauses(self) -> Iterator[float]:
        """Pauses between polls: short at first, then longer and longer up to `most`."""
        pause = self.first
        while True:
            yield pause
            pause = min(pause * 1.25, self.most)

    def wait(self, what: str, probe: Callable[[], T | None], seconds: float, hint: str | None = None) -> T:
        """Ask `probe` until it gives something other than None; after `seconds` raise `Timeout`.

        The time for which the engine was away does not count. What takes longer is told once.
        """
        started, away = time.monotonic(), self.absence.seconds
        told = not what
        with ExitStack() as shown:
            for pause in self.pauses():
                found = probe()
                if found is not None:
                    return found
                waited = time.monotonic() - started
                left = seconds + self.absence.seconds - away - waited
                if left <= 0:
                    break
                if pause == self.first:
                    shown.enter_context(waits.wait(f"waiting for {what or 'the engine'}"))
                if waited > TELL and not told:
                    log.warning("waiting for %s", what)
                    told = True
                stopping.pause(min(pause, left))
        raise Timeout(f"Waited {seconds:.0f} s for {what}, in vain.", hint)

    def look(self, probe: Callable[[], T | None]) -> T | None:
        """Look for what a request may have made though its answer was lost."""
        try:
            return self.wait("", probe, self.unclear)
        except Timeout:
            return None
