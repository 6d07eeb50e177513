"""Places for readers at a storage domain or a host, shared by all our processes on this machine.

A place is a locked file, so that a process that dies gives its places back.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path

from borg_ovirt import stopping

_PAUSE = 0.5


@contextmanager
def places(
    directory: Path,
    limits: Mapping[str, int],
    wanted: int,
    *,
    waiting: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
) -> Iterator[int]:
    """Take up to `wanted` places at each name of `limits`, at least one; yields how many at the narrowest.

    Names are taken in order, so that two processes never wait for each other. `waiting` is entered with the
    name that has to be waited for.
    """
    with ExitStack() as stack:
        got = wanted
        for name in sorted(limits):
            got = min(got, _take(directory, name, limits[name], got, stack, waiting))
        yield got


def _take(
    directory: Path,
    name: str,
    limit: int,
    wanted: int,
    stack: ExitStack,
    waiting: Callable[[str], AbstractContextManager[None]],
) -> int:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def take() -> int:
        got = 0
        for number in range(limit):
            if got < wanted and (handle := try_lock(directory / f"{name}.{number}.lock")):
                stack.callback(handle.close)
                got += 1
        return got

    if got := take():
        return got
    with waiting(name):
        while not (got := take()):
            stopping.pause(_PAUSE)
    return got


def try_lock(path: Path) -> TextIOWrapper | None:
    """The file, locked for us until it is closed; None when somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = path.open("a", encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    return handle
