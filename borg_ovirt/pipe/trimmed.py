"""The beginning of an archived content: a qcow2 file without the spare room of the volume it lay on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from borg_ovirt.blocks import Chunk
from borg_ovirt.pipe.ports import Content


class TrimmedContent:
    """The first `size` bytes of a content; its last chunk may be a part of one, under an id of its own."""

    def __init__(self, content: Content, size: int) -> None:
        if not 0 <= size <= content.size:
            raise ValueError(f"{size} bytes are not the beginning of {content.size}")
        self._content = content
        self._whole: Chunk | None = None
        self.size = size
        self.chunks: list[Chunk] = []
        room = size
        for chunk in content.chunks:
            if not room:
                break
            if chunk.size > room:
                self._whole = chunk
                chunk = Chunk(b"trimmed", room)
            self.chunks.append(chunk)
            room -= chunk.size

    def is_zero(self, chunk: Chunk) -> bool:
        """Known by the id of the whole chunk."""
        if chunk.id == b"trimmed" and self._whole is not None:
            return self._content.is_zero(self._whole)
        return self._content.is_zero(chunk)

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        """The bytes of the chunks, in order."""
        sizes: deque[int] = deque()

        def originals() -> Iterator[Chunk]:
            for chunk in chunks:
                sizes.append(chunk.size)
                yield self._whole if chunk.id == b"trimmed" and self._whole is not None else chunk

        for view in self._content.fetch(originals()):
            yield view[: sizes.popleft()]
