"""The beginning of an archived content: a qcow2 file without the spare room of the volume it lay on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from borg_ovirt.pipe.ports import Content, Piece


class _Cut(NamedTuple):
    """The beginning of a chunk."""

    chunk: Piece
    size: int


class TrimmedContent:
    """The first `size` bytes of a content; its last chunk may be a part of one."""

    def __init__(self, content: Content, size: int) -> None:
        if not 0 <= size <= content.size:
            raise ValueError(f"{size} bytes are not the beginning of {content.size}")
        self._content = content
        self.size = size
        self.chunks: list[Piece] = []
        room = size
        for chunk in content.chunks:
            if not room:
                break
            self.chunks.append(chunk if chunk.size <= room else _Cut(chunk, room))
            room -= self.chunks[-1].size

    def is_zero(self, chunk: Any) -> bool:
        """Of a part of a chunk the whole chunk is asked."""
        return self._content.is_zero(chunk.chunk if isinstance(chunk, _Cut) else chunk)

    def fetch(self, chunks: Iterable[Any]) -> Iterator[memoryview]:
        """The bytes of the chunks, in order."""
        sizes: deque[int] = deque()

        def originals() -> Iterator[Any]:
            for chunk in chunks:
                sizes.append(chunk.size)
                yield chunk.chunk if isinstance(chunk, _Cut) else chunk

        for view in self._content.fetch(originals()):
            yield view[: sizes.popleft()]
