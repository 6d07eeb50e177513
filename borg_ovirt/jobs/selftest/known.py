"""A disk whose every byte is known: what a selftest writes, changes, and compares with what came back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from borg_ovirt.blocks import KiB, MiB
from borg_ovirt.pipe.ports import Reader

SIZE = 64 * MiB
_PIECE = MiB
_WRITTEN = ((0, 8 * MiB), (24 * MiB + 4 * KiB, 3 * MiB), (SIZE - MiB, MiB))
"""Offset and length: both ends, and a run off every grid; the rest is zeros."""
_REWRITTEN = ((24 * MiB + 512 * KiB, 64 * KiB), (40 * MiB, 256 * KiB))
"""Over data, and over zeros."""
_CLEARED = (2 * MiB, MiB)


@dataclass(frozen=True)
class Part:
    """A run of the disk."""

    start: int
    size: int


class KnownDisk:
    """A content (see `pipe.ports`) made from a seed, or from another one by a few changes."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.chunks: Sequence[Part] = [Part(start, _PIECE) for start in range(0, len(data), _PIECE)]

    @classmethod
    def of(cls, seed: str) -> KnownDisk:
        """The first state."""
        data, chance = bytearray(SIZE), random.Random(seed)
        for start, length in _WRITTEN:
            data[start : start + length] = chance.randbytes(length)
        return cls(bytes(data))

    def changed(self, seed: str) -> KnownDisk:
        """The next state: something over data, something over zeros, some data cleared."""
        data, chance = bytearray(self._data), random.Random(seed)
        for start, length in _REWRITTEN:
            data[start : start + length] = chance.randbytes(length)
        start, length = _CLEARED
        data[start : start + length] = bytes(length)
        return KnownDisk(bytes(data))

    @property
    def size(self) -> int:
        return len(self._data)

    def is_zero(self, chunk: Part) -> bool:
        return bytes(self._of(chunk)).count(0) == chunk.size

    def fetch(self, chunks: Iterable[Part]) -> Iterator[memoryview]:
        for chunk in chunks:
            yield self._of(chunk)

    def differing(self, other: KnownDisk) -> set[int]:
        """The places of the chunks in which the two differ."""
        return {place for place, part in enumerate(self.chunks) if self._of(part) != other._of(part)}

    def first_difference(self, reader: Reader) -> int | None:
        """Read a disk of this size; the offset (of a MiB) from which on it is another, or None."""
        buffer = memoryview(bytearray(_PIECE))
        for part in self.chunks:
            for _ in reader.read(part.start, [buffer[: part.size]]):
                pass
            if buffer[: part.size] != self._of(part):
                return part.start
        return None

    def first_difference_of(self, pieces: Iterable[memoryview]) -> int | None:
        """The same of the pieces of a content, in their order."""
        at = 0
        for piece in pieces:
            if piece != self._data[at : at + len(piece)]:
                return at
            at += len(piece)
        return None if at == self.size else at

    def _of(self, part: Part) -> memoryview:
        return self._data[part.start : part.start + part.size]
