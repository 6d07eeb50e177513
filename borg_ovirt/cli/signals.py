"""Ctrl-C, SIGTERM and SIGHUP unwind the job in order; a second one leaves at once.

The first raises in the main thread, so every `with` on the way out ends what it began in the engine and in
the repository. The journal of engine objects makes the abrupt way safe too: the next run removes what stayed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalReceived(KeyboardInterrupt):
    """A signal asked the job to end. Like Ctrl-C, no `except Exception` swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@contextmanager
def orderly(tell: Callable[[str], None]) -> Iterator[None]:
    """Within this context the first signal raises `SignalReceived`, and the second ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if stopping:
            try:
                tell(f"{name} again: leaving at once; the next run or `borg-ovirt cleanup` removes the rest.")
            finally:
                os._exit(128 + number)
        stopping = True
        try:
            tell(f"{name}: ending what was begun in the engine and the repository; once more leaves at once.")
        finally:  # whatever became of the words
            raise SignalReceived(number)

    before = {number: signal.getsignal(number) for number in _HANDLED}
    for number, previous in before.items():
        # A job under nohup keeps ignoring the hang-up.
        if previous is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
