"""Waiting for the engine: polls that start quick, slow down, and end at a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from borg_ovirt.errors import Timeout

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long each kind of waiting may take, in seconds. Generous: engines are slow, not dead."""

    engine: float = 180.0
    """An engine that does not answer (restart, network) is asked again for this long."""
    lock: float = 300.0
    """Somebody else's lock on a disk or a VM."""
    ovf: float = 120.0
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

    def pauses(self) -> Iterator[float]:
        """Pauses between polls: short at first, then longer and longer up to `most`."""
        pause = self.first
        while True:
            yield pause
            pause = min(pause * 1.25, self.most)

    def wait(self, what: str, probe: Callable[[], T | None], seconds: float, hint: str | None = None) -> T:
        """Ask `probe` until it gives something other than None; after `seconds` raise `Timeout`."""
        deadline = time.monotonic() + seconds
        for pause in self.pauses():
            found = probe()
            if found is not None:
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
        raise Timeout(f"Waited {seconds:.0f} s for {what}, in vain.", hint)

    def look(self, probe: Callable[[], T | None]) -> T | None:
        """Look for what a request may have made though its answer was lost."""
        try:
            return self.wait("", probe, self.unclear)
        except Timeout:
            return None
