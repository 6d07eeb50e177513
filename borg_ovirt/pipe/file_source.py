"""A sparse raw file as a content: what was flattened into it goes on as if an archive held it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from borg_ovirt.blocks import CELL


class _Cell(NamedTuple):
    """A cell of the file."""

    offset: int
    size: int
    hole: bool


class FileContent:
    """A raw file in cells; those that lie in holes are known to be zeros. Use as a context manager."""

    def __init__(self, path: Path, cell: int = CELL) -> None:
        self._file = open(path, "rb")  # noqa: SIM115  (closed at the end of the context)
        self.size = os.fstat(self._file.fileno()).st_size
        self.chunks = list(self._cells(cell))

    def __enter__(self) -> FileContent:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def is_zero(self, chunk: _Cell) -> bool:
        """Whether the cell lies in a hole."""
        return chunk.hole

    def fetch(self, chunks: Iterable[_Cell]) -> Iterator[memoryview]:
        """The bytes of the cells, in order."""
        for cell in chunks:
            data = bytes(cell.size) if cell.hole else os.pread(self._file.fileno(), cell.size, cell.offset)
            yield memoryview(data)

    def _cells(self, cell: int) -> Iterator[_Cell]:
        data = self._next_data(0)
        for start in range(0, self.size, cell):
            end = min(start + cell, self.size)
            if data < start:
                data = self._next_data(start)
            yield _Cell(start, end - start, hole=data >= end)

    def _next_data(self, offset: int) -> int:
        try:
            return os.lseek(self._file.fileno(), offset, os.SEEK_DATA)
        except OSError:  # only a hole is left
            return self.size
