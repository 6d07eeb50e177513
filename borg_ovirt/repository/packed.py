"""A disk's list of chunks in 36 bytes each: a list of tuples would take six times that."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import overload

from borg_ovirt.blocks import Chunk

_ENTRY = struct.Struct("=32sI")
_SIZE = struct.Struct("=I")
_BLOCK = 1024


class PackedChunks(Sequence[Chunk]):
    """Chunks in the order of the disk, growing at the end."""

    def __init__(self) -> None:
        self._data = bytearray()

    def append(self, chunk_id: bytes, size: int, count: int = 1) -> None:
        """Add a chunk so many times; ids are 32 bytes."""
        self._data += _ENTRY.pack(chunk_id, size) * count

    def total(self) -> int:
        """The sum of their sizes."""
        with memoryview(self._data) as data, data.cast("I") as words, words[8::9] as sizes:
            return sum(sizes)

    def on_grid(self, size: int) -> bool:
        """Whether all have this size but the last, which may be shorter, so that places tell offsets."""
        with memoryview(self._data) as data, data.cast("I") as words, words[8::9] as sizes:
            whole = sizes[:-1].tobytes() == _SIZE.pack(size) * (len(self) - 1) if len(self) > 1 else True
            return whole and (not len(self) or 0 < sizes[-1] <= size)

    def others(self, chunk: Chunk, first: int, end: int) -> Iterator[int]:
        """The places first..end where another chunk stands; runs of this one cost next to nothing."""
        wanted = _ENTRY.pack(*chunk)
        block = wanted * _BLOCK
        for start in range(first, end, _BLOCK):
            stop = min(start + _BLOCK, end)
            if self._data[start * _ENTRY.size : stop * _ENTRY.size] != block[: (stop - start) * _ENTRY.size]:
                for place in range(start, stop):
                    if self._data[place * _ENTRY.size : (place + 1) * _ENTRY.size] != wanted:
                        yield place

    def __len__(self) -> int:
        return len(self._data) // _ENTRY.size

    @overload
    def __getitem__(self, index: int) -> Chunk: ...

    @overload
    def __getitem__(self, index: slice) -> PackedChunks: ...

    def __getitem__(self, index: int | slice) -> Chunk | PackedChunks:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            part = PackedChunks()
            if step == 1:
                part._data = self._data[start * _ENTRY.size : max(start, stop) * _ENTRY.size]
            else:
                for position in range(start, stop, step):
                    part.append(*self[position])
            return part
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return Chunk(*_ENTRY.unpack_from(self._data, (index % len(self)) * _ENTRY.size))

    def __iter__(self) -> Iterator[Chunk]:
        done = 0
        while done < len(self):  # in blocks, since it may grow meanwhile
            block = bytes(self._data[done * _ENTRY.size : (done + _BLOCK) * _ENTRY.size])
            yield from map(Chunk._make, _ENTRY.iter_unpack(block))
            done += len(block) // _ENTRY.size
