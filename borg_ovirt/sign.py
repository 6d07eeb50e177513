"""A sign on the door of a process: what it does now, for whoever finds its lock.

It is the name of a thread of its own, which the kernel shows to everybody as long as the process lives.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MARK = "VM "
_LONGEST = 15
"""Characters of a thread's name."""
_thread: list[threading.Thread] = []


def hang_out(number: int, of: int) -> None:
    """`VM 17 of 60`."""
    if not _thread:
        _thread.append(threading.Thread(target=threading.Event().wait, name="sign", daemon=True))
        _thread[0].start()
    with suppress(OSError):
        path = Path(f"/proc/self/task/{_thread[0].native_id}/comm")
        path.write_text(f"{_MARK}{number} of {of}"[:_LONGEST])


def read(pid: int) -> str | None:
    """That of the process, or of the one that it works for; None where there is none."""
    for one in _with_parent(pid):
        with suppress(OSError):
            for task in sorted(Path(f"/proc/{one}/task").iterdir()):
                name = (task / "comm").read_text().strip()
                if name.startswith(_MARK):
                    return name
    return None


def _with_parent(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError, ValueError, IndexError):
        yield int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
