"""Standard output and error as the work needs them: words that nobody can take never stop it.

A reader may go away (`| head`, a closed terminal, a parent that died), a disk may be full, a descriptor may
be closed from the start. Then what is written is dropped, `lost` tells why, and the job goes on or is unwound
like any other. A character that the terminal's encoding lacks is written escaped.
"""

from __future__ import annotations

import io
import locale
import os
import select
import sys
from typing import TextIO

_OUT, _ERR = 1, 2


class _Descriptor(io.FileIO):
    """A descriptor that takes whatever is written; `lost` is the first reason why something was dropped."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "w", closefd=False)
        self.lost: OSError | None = None

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        left = view
        try:
            while left:
                written = super().write(left)
                if written is None:  # ssh may have set the terminal that we share not to block
                    select.select([], [self.fileno()], [])
                else:
                    left = left[written:]
        except OSError as error:
            self.lost = self.lost or error
        return len(view)


_output: _Descriptor | None = None


def guard() -> None:
    """Give this process standard streams that cannot fail. For the entry of a program, before it opens files.

    A standard descriptor that is closed gets /dev/null: otherwise the next file opened would be in its place,
    a segment of the repository, say, and take what a child prints.
    """
    global _output
    for number in (0, _OUT, _ERR):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
    _output = _Descriptor(_OUT)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_output), _encoding(sys.stdout), "backslashreplace", line_buffering=_output.isatty()
    )
    # Unbuffered: a signal's handler may write in the midst of another line.
    raw = _Descriptor(_ERR)
    sys.stderr = io.TextIOWrapper(raw, _encoding(sys.stderr), "backslashreplace", write_through=True)


def _encoding(stream: TextIO | None) -> str:
    return getattr(stream, "encoding", None) or locale.getpreferredencoding(False)


def lost() -> OSError | None:
    """Why standard output did not take all that was written to it; None if it did."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return _output.lost if _output is not None else None
