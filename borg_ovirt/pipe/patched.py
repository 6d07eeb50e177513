"""An archived content with a few bytes exchanged on the way: a layer that is to name another parent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from borg_ovirt.blocks import Chunk
from borg_ovirt.pipe.ports import Content
from borg_ovirt.qcow2 import Patch


class PatchedContent:
    """A content whose bytes at the patch are others. Its chunks there have ids of their own."""

    def __init__(self, content: Content, patch: Patch) -> None:
        if not 0 <= patch.offset <= patch.offset + len(patch.data) <= content.size:
            raise ValueError("the patch lies outside of the content")
        self._content = content
        self._touched: dict[bytes, tuple[Chunk, int]] = {}
        """Id given to a touched chunk -> the chunk itself, and where it begins."""
        stand_ins = []
        offset = 0
        for index, chunk in enumerate(content.chunks):
            if offset >= patch.offset + len(patch.data):
                break
            if offset + chunk.size > patch.offset:
                id_ = b"patched" + index.to_bytes(8, "big")
                self._touched[id_] = (chunk, offset)
                chunk = Chunk(id_, chunk.size)
            stand_ins.append(chunk)
            offset += chunk.size
        self._patch = patch
        self.chunks: Sequence[Chunk] = _Headed(stand_ins, content.chunks)

    @property
    def size(self) -> int:
        return self._content.size

    def is_zero(self, chunk: Chunk) -> bool:
        """A touched chunk holds data, whatever it was before."""
        return chunk.id not in self._touched and self._content.is_zero(chunk)

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        """The bytes of the chunks, in order, with the patch laid over them."""
        asked: deque[Chunk] = deque()

        def originals() -> Iterator[Chunk]:
            for chunk in chunks:
                asked.append(chunk)
                yield self._touched[chunk.id][0] if chunk.id in self._touched else chunk

        for view in self._content.fetch(originals()):
            touched = self._touched.get(asked.popleft().id)
            yield view if touched is None else self._laid(view, touched[1])

    def _laid(self, view: memoryview, begin: int) -> memoryview:
        data = bytearray(view)
        patch = self._patch
        first = max(patch.offset, begin)
        last = min(patch.offset + len(patch.data), begin + len(data))
        data[first - begin : last - begin] = patch.data[first - patch.offset : last - patch.offset]
        return memoryview(data)


class _Headed(Sequence[Chunk]):
    """A sequence whose first elements are others; the rest is not copied."""

    def __init__(self, head: list[Chunk], chunks: Sequence[Chunk]) -> None:
        self._head = head
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Chunk]: ...

    def __getitem__(self, index: int | slice) -> Chunk | Sequence[Chunk]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        return self._head[place] if 0 <= place < len(self._head) else self._chunks[index]
