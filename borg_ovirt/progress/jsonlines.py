"""Progress for programs: JSON lines in the shape of Borg's `--log-json`, so one parser reads both tools."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from borg_ovirt.progress import Gauge, Progress
from borg_ovirt.progress.plain import describe
from borg_ovirt.redact import json_text

EVERY = 0.5
"""Seconds between two lines of a disk."""


class JsonProgress(Progress):
    """Each step is a `log_message`; each disk is an operation of `progress_percent` lines."""

    def __init__(
        self, stream: TextIO, *, every: float = EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._every = every
        self._clock = clock
        self._told: dict[int, tuple[int, float]] = {}
        self._operations = 0
        self._lock = threading.Lock()

    def step(self, text: str) -> None:
        """A message of level INFO."""
        self._message("INFO", text)

    def warn(self, text: str) -> None:
        """A message of level WARNING."""
        self._message("WARNING", text)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A `progress_message` when it begins and one when it is over."""
        with self._lock:
            self._operations += 1
            line = {"type": "progress_message", "operation": self._operations, "msgid": "borg_ovirt.wait"}
        self._emit({**line, "finished": False, "message": text, "time": time.time()})
        try:
            yield
        finally:
            self._emit({**line, "finished": True, "message": "", "time": time.time()})

    def disk(self, name: str, size: int, to_read: int | None = None) -> Gauge:
        """A gauge with an operation number of its own."""
        gauge = super().disk(name, size, to_read)
        with self._lock:
            self._operations += 1
            self._told[id(gauge)] = (self._operations, float("-inf"))
        return gauge

    def _changed(self, gauge: Gauge) -> None:
        with self._lock:
            known = self._told.get(id(gauge))
            if known is None:
                return
            operation, told = known
            now = self._clock()
            if gauge.finished:
                del self._told[id(gauge)]
            elif now - told < self._every:
                return
            else:
                self._told[id(gauge)] = (operation, now)
        self._emit(percent(gauge, operation))

    def _message(self, level: str, text: str) -> None:
        self._emit(log_message(level, text, time.time()))

    def _emit(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._stream.write(json_text(line) + "\n")
            self._stream.flush()


def log_message(level: str, text: str, when: float, name: str = "borg_ovirt") -> dict[str, Any]:
    """One `log_message` of Borg's shape."""
    return {"type": "log_message", "time": when, "message": text, "levelname": level, "name": name}


def percent(gauge: Gauge, operation: int) -> dict[str, Any]:
    """One `progress_percent` of Borg's shape; the counts that Borg has no word for stand beside it."""
    line: dict[str, Any] = {
        "type": "progress_percent",
        "operation": operation,
        "msgid": "borg_ovirt.disk",
        "finished": gauge.finished,
        "time": time.time(),
    }
    if gauge.finished:
        return {**line, "message": "", **_counts(gauge)}
    return {
        **line,
        "message": f"{gauge.name}: {describe(gauge)}",
        "current": gauge.done,
        "total": gauge.size,
        "info": [gauge.name],
        **_counts(gauge),
    }


def _counts(gauge: Gauge) -> dict[str, Any]:
    return {
        "disk": gauge.name,
        "read": gauge.read,
        "zero": gauge.zero,
        "reused": gauge.reused,
        "new": gauge.new,
        "resumes": gauge.resumes,
    }
