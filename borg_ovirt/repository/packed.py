"""A disk's list of chunks in 36 bytes each: a list of tuples would take six times that."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import overload

from borg_ovirt.blocks import Chunk

_ENTRY = struct.Struct("<32sI")
_BLOCK = 1024


class PackedChunks(Sequence[Chunk]):
    """Chunks in the order of the disk, growing at the end."""

    def __init__(self) -> None:
        self._data = bytearray()

    def append(self, chunk_id: bytes, size: int) -> None:
        """Add a chunk; ids are 32 bytes."""
        self._data += _ENTRY.pack(chunk_id, size)

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
