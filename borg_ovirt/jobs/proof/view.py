"""A disk of an archive as a guest would read it, from any offset, image or chain."""

from __future__ import annotations

import subprocess
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from borg_ovirt.errors import RestoreFailed
from borg_ovirt.pipe.ports import Content

_BLOCK = 4096


class View(Protocol):
    """Bytes of a disk."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there; fewer where the disk ends before."""
        ...


class ImageView:
    """A disk of chunks: only those that are asked for are fetched, and the last one is kept."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._ends = list(accumulate(chunk.size for chunk in content.chunks))
        self._kept: tuple[int, bytes] = (-1, b"")

    @property
    def size(self) -> int:
        return self._content.size

    def read(self, offset: int, length: int) -> bytes:
        parts = []
        end = min(offset + length, self.size)
        while offset < end:
            place = bisect_right(self._ends, offset)
            start = self._ends[place - 1] if place else 0
            part = self._chunk(place)[offset - start : end - start]
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def _chunk(self, place: int) -> bytes:
        if self._kept[0] != place:
            (data,) = self._content.fetch([self._content.chunks[place]])
            self._kept = (place, bytes(data))
        return self._kept[1]


class ChainView:
    """A chain of layers that lie staged in files, read through qemu-img."""

    def __init__(self, description: str, size: int, place: Path) -> None:
        self.size = size
        self._description = description
        self._out = place / "read"

    def read(self, offset: int, length: int) -> bytes:
        first = offset // _BLOCK
        end = -(-min(offset + length, self.size) // _BLOCK)
        if end <= first:
            return b""
        done = subprocess.run(
            [
                *("qemu-img", "dd", "-O", "raw", f"bs={_BLOCK}", f"skip={first}", f"count={end}"),
                *(f"if={self._description}", f"of={self._out}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            why = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
            raise RestoreFailed(f"qemu-img could not read through the chain: {why}")
        data = self._out.read_bytes()
        skipped = offset - first * _BLOCK
        return data[skipped : skipped + min(length, self.size - offset)]
