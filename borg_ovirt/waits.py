"""What a thread waits for, told to whoever shows it to people."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

_here = threading.local()


@contextmanager
def shown_by(show: Callable[[str], AbstractContextManager[None]]) -> Iterator[None]:
    """`show` is entered with a text for as long as this thread waits for what the text says."""
    before = getattr(_here, "show", None)
    _here.show = show
    try:
        yield
    finally:
        _here.show = before


def wait(text: str) -> AbstractContextManager[None]:
    """Inside, this thread does nothing but wait: `starting the backup of VM web01`."""
    show: Callable[[str], AbstractContextManager[None]] | None = getattr(_here, "show", None)
    return nullcontext() if show is None else show(text)
