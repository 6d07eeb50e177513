"""What a command cost: wall and CPU seconds, and the peak memory of its largest process.

The kernel counts the memory of whoever forks as memory of the command that the fork then becomes. So the
command is started by a small process of its own (this file as a program), never by the caller.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Costs(NamedTuple):
    """Of one command and its children."""

    status: int
    wall: float
    """Seconds."""
    cpu: float
    """Seconds, of user and system."""
    peak: int
    """Bytes, of the largest process."""


def measured(words: Sequence[str], result: Path) -> list[str]:
    """The command line that runs `words` and leaves their costs in the file `result`."""
    return [sys.executable, "-I", "-S", __file__, str(result), *words]


def read(result: Path) -> Costs:
    return Costs(*json.loads(result.read_text()))


def _main(result: str, *words: str) -> None:
    started = time.monotonic()
    child = os.posix_spawnp(words[0], words, os.environ)
    _, status, usage = os.wait4(child, 0)
    costs = (
        os.waitstatus_to_exitcode(status),
        time.monotonic() - started,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
    )
    Path(result).write_text(json.dumps(costs))


if __name__ == "__main__":
    _main(*sys.argv[1:])
