"""Progress for logs and pipes: plain lines, and no more than one per disk every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TextIO

from borg_ovirt.progress import Gauge, Progress
from borg_ovirt.terminal import shown
from borg_ovirt.units import format_duration, format_size

EVERY = 10.0
"""Seconds between two lines of a disk: enough to see life, too few to fill a journal."""


class PlainProgress(Progress):
    """Writes one line per step and one per disk now and then; `quiet` leaves warnings only."""

    def __init__(
        self,
        stream: TextIO,
        *,
        quiet: bool = False,
        verbose: bool = False,
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._quiet = quiet
        self._verbose = verbose
        self._every = every
        self._clock = clock
        self._told: dict[int, float] = {}
        self._lock = threading.Lock()

    def step(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            self._line(text)

    def detail(self, text: str) -> None:
        """Only where it was asked for."""
        if self._verbose:
            self.step(text)

    def warn(self, text: str) -> None:
        """One line, even when quiet."""
        self._line(f"warning: {text}")

    def disk(self, name: str, size: int, to_read: int | None = None) -> Gauge:
        """A gauge that speaks after the first pause, not at once."""
        gauge = super().disk(name, size, to_read)
        with self._lock:
            self._told[id(gauge)] = self._clock()
        return gauge

    def _changed(self, gauge: Gauge) -> None:
        if self._quiet:
            return
        with self._lock:
            if gauge.finished:
                known = self._told.pop(id(gauge), None) is not None
                due = known and (self.overview is None or self._verbose)  # else its VM's line tells
            else:
                now = self._clock()
                due = now - self._told.get(id(gauge), now) >= self._every
                if due:
                    self._told[id(gauge)] = now
        if due:
            self._line(f"{gauge.name}: {describe(gauge)}")

    def _line(self, text: str) -> None:
        with self._lock:
            self._stream.write(shown(text) + "\n")
            self._stream.flush()


def describe(gauge: Gauge) -> str:
    """Where a disk stands, in one line of words."""
    share = 100 * gauge.done // gauge.size if gauge.size else 100
    parts = [f"{share}% of {format_size(gauge.size)}", f"{format_size(gauge.read)} read"]
    if gauge.zero:
        parts.append(f"{format_size(gauge.zero)} zero")
    if gauge.reused:
        parts.append(f"{format_size(gauge.reused)} unchanged")
    parts.append(f"{format_size(gauge.new)} new")
    if gauge.read:
        parts.append(f"{format_size(gauge.rate)}/s")
    if not gauge.finished and gauge.eta is not None:
        parts.append(f"about {format_duration(gauge.eta)} to go")
    if gauge.resumes:
        parts.append(f"{gauge.resumes} connection{'s' if gauge.resumes > 1 else ''} resumed")
    return ", ".join(parts)
