"""A sparse raw file as a content: what was flattened into it goes on as if an archive held it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from borg_ovirt.blocks import CELL, Chunk

_ZERO = b"zero"


class FileContent:
    """A raw file in cells; those that lie in holes are known to be zeros. Use as a context manager."""

    def __init__(self, path: Path, cell: int = CELL) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  (closed at the end of the context)
        self._cell = cell
        self.size = os.fstat(self._file.fileno()).st_size
        self.chunks = list(self._chunks())

    def __enter__(self) -> FileContent:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def is_zero(self, chunk: Chunk) -> bool:
        """Whether the cell lies in a hole."""
        return chunk.id == _ZERO

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        """The bytes of the cells, in order."""
        for chunk in chunks:
            if self.is_zero(chunk):
                yield memoryview(bytes(chunk.size))
                continue
            offset = int.from_bytes(chunk.id, "big") * self._cell
            yield memoryview(os.pread(self._file.fileno(), chunk.size, offset))

    def _chunks(self) -> Iterator[Chunk]:
        data = self._next_data(0)
        for index in range(-(-self.size // self._cell)):
            start = index * self._cell
            end = min(start + self._cell, self.size)
            if data < start:
                data = self._next_data(start)
            yield Chunk(index.to_bytes(8, "big") if data < end else _ZERO, end - start)

    def _next_data(self, offset: int) -> int:
        try:
            return os.lseek(self._file.fileno(), offset, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return self.size
