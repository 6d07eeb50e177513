"""Where a run of many VMs stands: how many are begun and done, bytes read, time left."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from borg_ovirt.units import format_duration, format_size

if TYPE_CHECKING:
    from borg_ovirt.progress import Gauge


class Overview:
    """Of one run, from its first VM on."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begun = 0
        self.done = 0
        self.disks: list[Gauge] = []
        self.started = time.monotonic()
        self._lock = threading.Lock()

    def begin(self) -> None:
        """The next VM's turn has come."""
        with self._lock:
            self.begun += 1

    def end(self) -> int:
        """A VM is through, however it ended; returns how many are."""
        with self._lock:
            self.done += 1
            return self.done

    @property
    def read(self) -> int:
        """Bytes, of all VMs."""
        return sum(gauge.read for gauge in self.disks)

    @property
    def left(self) -> float | None:
        """Seconds, if the VMs to come take as long as those before them; None before one is done."""
        if not self.done:
            return None
        return (time.monotonic() - self.started) / self.done * (self.total - self.done)

    def __str__(self) -> str:
        parts = [f"VM {self.begun} of {self.total}", f"{self.done} done", f"{format_size(self.read)} read"]
        parts.append(f"{format_duration(time.monotonic() - self.started)} so far")
        if self.left and self.total > 1:
            parts.append(f"about {format_duration(self.left)} left")
        return ", ".join(parts)
