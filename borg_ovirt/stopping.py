"""A signal reaches the main thread only; this brings it to the threads that work for it.

A thread that takes part hears it once, at its next pause, as the exception the main thread got. What follows
is its unwinding, which pauses as long as it must.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_here = threading.local()


class Stop:
    """Rung once, by the main thread."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self.error: BaseException = KeyboardInterrupt()

    @property
    def rung(self) -> bool:
        """Whether everything is to end."""
        return self._rung.is_set()

    def ring(self, error: BaseException) -> None:
        """All who take part end, with this exception."""
        self.error = error
        self._rung.set()

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """This thread takes part."""
        _here.stop = self
        try:
            yield
        finally:
            _here.stop = None

    def hear(self, seconds: float) -> None:
        """Wait for so long, or until it rings: then it is raised, and never again in this thread."""
        if self._rung.wait(seconds):
            _here.stop = None
            raise self.error


def pause(seconds: float) -> None:
    """Sleep; where a signal comes meanwhile, its exception is raised."""
    stop: Stop | None = getattr(_here, "stop", None)
    if stop is None:
        time.sleep(seconds)
    else:
        stop.hear(seconds)


def listening() -> bool:
    """Whether this thread takes part, and has heard nothing yet."""
    return getattr(_here, "stop", None) is not None


def heard() -> None:
    """It met the exception in another way: it is not to be raised once more."""
    _here.stop = None


def due() -> bool:
    """Whether the next pause or check raises the signal's exception."""
    stop: Stop | None = getattr(_here, "stop", None)
    return stop is not None and stop.rung


def check() -> None:
    """Raise the exception if the signal came."""
    stop: Stop | None = getattr(_here, "stop", None)
    if stop is not None:
        stop.hear(0.0)
