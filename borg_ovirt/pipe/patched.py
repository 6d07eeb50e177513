"""An archived content with a few bytes exchanged on the way: a layer that is to name another parent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, overload

from borg_ovirt.pipe.ports import Content, Piece
from borg_ovirt.qcow2 import Patch


class _Touched(NamedTuple):
    """A chunk under the patch."""

    chunk: Piece
    begin: int
    """Where it begins in the content, in bytes."""

    @property
    def size(self) -> int:
        return self.chunk.size


class PatchedContent:
    """A content whose bytes at the patch are others."""

    def __init__(self, content: Content, patch: Patch) -> None:
        if not 0 <= patch.offset <= patch.offset + len(patch.data) <= content.size:
            raise ValueError("the patch lies outside of the content")
        self._content = content
        self._patch = patch
        head: list[Piece] = []
        offset = 0
        for chunk in content.chunks:
            if offset >= patch.offset + len(patch.data):
                break
            head.append(_Touched(chunk, offset) if offset + chunk.size > patch.offset else chunk)
            offset += chunk.size
        self.chunks: Sequence[Piece] = _Headed(head, content.chunks)

    @property
    def size(self) -> int:
        return self._content.size

    def is_zero(self, chunk: Any) -> bool:
        """A touched chunk holds data, whatever it was before."""
        return not isinstance(chunk, _Touched) and self._content.is_zero(chunk)

    def fetch(self, chunks: Iterable[Any]) -> Iterator[memoryview]:
        """The bytes of the chunks, in order, with the patch laid over them."""
        asked: deque[Any] = deque()

        def originals() -> Iterator[Any]:
            for chunk in chunks:
                asked.append(chunk)
                yield chunk.chunk if isinstance(chunk, _Touched) else chunk

        for view in self._content.fetch(originals()):
            chunk = asked.popleft()
            yield self._laid(view, chunk.begin) if isinstance(chunk, _Touched) else view

    def _laid(self, view: memoryview, begin: int) -> memoryview:
        data = bytearray(view)
        patch = self._patch
        first = max(patch.offset, begin)
        last = min(patch.offset + len(patch.data), begin + len(data))
        data[first - begin : last - begin] = patch.data[first - patch.offset : last - patch.offset]
        return memoryview(data)


class _Headed(Sequence[Piece]):
    """A sequence whose first elements are others; the rest is not copied."""

    def __init__(self, head: list[Piece], chunks: Sequence[Piece]) -> None:
        self._head = head
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, index: int) -> Piece: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Piece]: ...

    def __getitem__(self, index: int | slice) -> Piece | Sequence[Piece]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index + len(self) if index < 0 else index
        return self._head[place] if 0 <= place < len(self._head) else self._chunks[index]
