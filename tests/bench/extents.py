"""`python -m bench.extents SIZE COUNT`: so many extents of a disk, read as they come and laid on the grid."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from borg_ovirt.blocks import CELL
from borg_ovirt.ovirt.data.answers import extents
from borg_ovirt.pipe.malloc import tune_malloc
from borg_ovirt.pipe.plan import make_plan

_AT_ONCE = 10_000


class Answer:
    """The body of the daemon's answer, made as it is read."""

    def __init__(self, size: int, count: int) -> None:
        self._pieces = self._made(size, count)
        self._rest = b""

    def _made(self, size: int, count: int) -> Iterator[bytes]:
        length = size // count
        yield b"["
        for first in range(0, count, _AT_ONCE):
            some = range(first, min(first + _AT_ONCE, count))
            told = [
                {"start": n * length, "length": length, "zero": bool(n % 2), "hole": bool(n % 2)}
                for n in some
            ]
            yield (", " if first else "").encode() + json.dumps(told)[1:-1].encode()
        yield b"]"

    def read(self, most: int) -> bytes:
        while len(self._rest) < most and (piece := next(self._pieces, None)):
            self._rest += piece
        block, self._rest = self._rest[:most], self._rest[most:]
        return block


def main() -> None:
    size, count = int(sys.argv[1]), int(sys.argv[2])
    tune_malloc()
    plan = make_plan(size // count * count, CELL, extents(Answer(size, count).read, "disk"), None)
    print(plan.bytes_to_fetch)


if __name__ == "__main__":
    main()
