"""Several VMs in the works at a time: a thread for each, and the main thread that stores for all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from borg_ovirt.jobs.backup.storing import StoringThread

T = TypeVar("T")


def together(count: int, storing: StoringThread, work: Callable[[T], bool], items: Sequence[T]) -> list[T]:
    """Do `work` for each item, begun in order, so many at a time; returns those for which it was False.

    A signal ends all that is under way; it is raised when they have ended, and nothing is begun after it.
    """
    todo, guard = iter(items), threading.Lock()
    refused: list[T] = []
    broken: list[Exception] = []

    def take() -> T | None:
        with guard:
            return None if storing.stop.rung or broken else next(todo, None)

    def labour() -> None:
        try:
            with storing.stop.heeded():
                while (item := take()) is not None:
                    if not work(item):
                        refused.append(item)
        except KeyboardInterrupt:
            pass  # that of the main thread, which raises it
        except Exception as error:
            broken.append(error)
        finally:
            storing.wake()

    threads = [threading.Thread(target=labour, name=f"capture-{n}") for n in range(min(count, len(items)))]
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
