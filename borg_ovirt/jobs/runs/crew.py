"""Several VMs in the works at a time: a thread for each, and the main thread that stores for all of them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from borg_ovirt.jobs.backup.storing import StoringThread

T = TypeVar("T")

_SWITCH = 0.0005
"""Seconds that a thread which asks the engine keeps Python to itself at most, instead of 5 ms. The one that
stores lets go of it for each hash and each compression, and wants it back at once."""


def together(count: int, storing: StoringThread, work: Callable[[T], bool], items: Sequence[T]) -> list[T]:
    """Do `work` for each item, begun in order, so many at a time; returns those for which it was False.

    A signal ends all that is under way; it is raised when they have ended, and nothing is begun after it.
    """
    todo, guard = iter(enumerate(items)), threading.Lock()
    refused: list[T] = []
    broken: list[Exception] = []

    def take(turn: ExitStack) -> T | None:
        with guard:  # in order: who is behind may have to wait for who is before it
            found = None if storing.stop.rung or broken else next(todo, None)
            if found is None:
                return None
            number, item = found
            turn.enter_context(storing.turn(number))
            return item

    def labour() -> None:
        try:
            with storing.stop.heeded():
                while True:
                    with ExitStack() as turn:
                        item = take(turn)
                        if item is None:
                            break
                        if not work(item):
                            refused.append(item)
        except KeyboardInterrupt:
            pass  # that of the main thread, which raises it
        except Exception as error:
            broken.append(error)
        finally:
            storing.wake()

    threads = [threading.Thread(target=labour, name=f"capture-{n}") for n in range(min(count, len(items)))]
    with _taking_turns_quickly():
        try:
            for thread in threads:
                thread.start()
        except BaseException as error:
            storing.stop.ring(error)
            raise
        finally:
            storing.serve(lambda: any(thread.is_alive() for thread in threads))
    if broken:
        raise broken[0]
    return sorted(refused, key=items.index)


@contextmanager
def _taking_turns_quickly() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
