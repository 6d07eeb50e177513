"""Bytes of an archived disk from anywhere, out of a cache of chunks that reads ahead.

One thread of its own fetches, because Borg serves one; any number of threads read.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

from borg_ovirt.blocks import MiB
from borg_ovirt.pipe.ports import Content

CACHE = 256 * MiB
_AHEAD = 32 * MiB
"""Bytes fetched ahead of a reader that goes forward."""
_BATCH = 4
"""Chunks fetched together: enough to be asked for ahead over ssh, few enough to keep nobody waiting."""


class ChunkCache:
    """Fetches chunks of any of the contents in its own thread and keeps the latest ones."""

    def __init__(self, limit: int = CACHE) -> None:
        self._limit = max(limit, 2 * _AHEAD)  # what is fetched must stay until it is taken
        self._changed = threading.Condition()
        self._held: OrderedDict[Any, memoryview] = OrderedDict()
        self._size = 0
        self._wanted: dict[Any, Content] = {}
        """What somebody waits for, in the order of asking."""
        self._ahead: deque[tuple[Any, Content]] = deque()
        self._failed: dict[Any, BaseException] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="chunks", daemon=True)

    def __enter__(self) -> ChunkCache:
        self._thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def get(self, content: Content, chunk: Any) -> memoryview:
        """The bytes of a chunk; raises what fetching it raised."""
        with self._changed:
            while True:
                if (held := self._held.get(chunk)) is not None:
                    self._held.move_to_end(chunk)
                    return held
                if chunk in self._failed:
                    raise self._failed.pop(chunk)
                if self._closed:
                    raise RuntimeError("the cache is closed")
                if chunk not in self._wanted:
                    self._wanted[chunk] = content
                    self._changed.notify_all()
                self._changed.wait()

    def look_ahead(self, content: Content, chunks: list[Any]) -> None:
        """Fetch these when nobody waits; what was to be fetched ahead before is forgotten."""
        with self._changed:
            self._ahead = deque((chunk, content) for chunk in chunks if chunk not in self._held)
            self._changed.notify_all()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            content, chunks = batch
            fetched = content.fetch(chunks)
            for chunk in chunks:
                try:
                    view, error = next(fetched), None
                except BaseException as problem:  # whoever waits gets it; the others ask again
                    view, error = memoryview(b""), problem
                with self._changed:
                    if error is None:
                        self._keep(chunk, view)
                    elif self._wanted.pop(chunk, None) is not None:
                        self._failed[chunk] = error
                    self._changed.notify_all()
                if error is not None:
                    break

    def _next(self) -> tuple[Content, list[Any]] | None:
        """What to fetch now: of one content, what is waited for before what may be needed."""
        with self._changed:
            while True:
                if self._closed:
                    return None
                if self._wanted:
                    content = next(iter(self._wanted.values()))
                    return content, [c for c, of in self._wanted.items() if of is content][:_BATCH]
                chunks: list[Any] = []
                while self._ahead and len(chunks) < _BATCH:
                    chunk, content = self._ahead.popleft()
                    if chunk not in self._held and chunk not in chunks:
                        chunks.append(chunk)
                if chunks:
                    return content, chunks
                self._changed.wait()

    def _keep(self, chunk: Any, view: memoryview) -> None:
        self._wanted.pop(chunk, None)
        if chunk in self._held:
            return
        self._held[chunk] = view
        self._size += len(view)
        while self._size > self._limit and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._size -= len(gone)


class RandomAccess:
    """One content, readable from anywhere by any thread. `content.fetch` is left to the cache's thread."""

    def __init__(self, content: Content, cache: ChunkCache, cell: int | None = None) -> None:
        """`cell`: all chunks but the last have this size, which saves a look at each of a huge disk."""
        self.size = content.size
        self._content = content
        self._cache = cache
        self._cell = cell
        self._ends = array("Q")
        end = 0
        for chunk in content.chunks if cell is None else ():
            end += chunk.size
            self._ends.append(end)
        self._next = 0
        """Where the last read ended: who goes on there reads forward."""
        self._told = -1

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        """The bytes in pieces; they must lie inside."""
        end = offset + length
        if not 0 <= offset <= end <= self.size:
            raise ValueError(f"bytes {offset} to {end} of {self.size}")
        index = self._place(offset)
        # Several connections share the work of one reader, so their requests come a little out of order.
        if offset > 0 and abs(offset - self._next) <= _AHEAD:
            self._read_ahead(self._place(end - 1) if length else index)
        self._next = end
        while offset < end:
            chunk = self._content.chunks[index]
            after = self._end(index)
            start = after - chunk.size
            taken = min(end, after) - offset
            if self._content.is_zero(chunk):
                yield memoryview(bytes(taken))
            else:
                yield self._cache.get(self._content, chunk)[offset - start : offset - start + taken]
            offset += taken
            index += 1

    def extents(self, offset: int, length: int, most: int = 4096) -> list[tuple[int, int, bool]]:
        """Offset, length and whether it is zeros, of the chunks there, merged; `most` at most."""
        end = min(offset + length, self.size)
        found: list[tuple[int, int, bool]] = []
        index = self._place(offset)
        while offset < end:
            chunk = self._content.chunks[index]
            taken = min(end, self._end(index)) - offset
            zero = self._content.is_zero(chunk)
            if found and found[-1][2] == zero:
                start, before, _ = found[-1]
                found[-1] = (start, before + taken, zero)
            elif len(found) == most:
                break
            else:
                found.append((offset, taken, zero))
            offset += taken
            index += 1
        return found

    def _place(self, offset: int) -> int:
        return bisect_right(self._ends, offset) if self._cell is None else offset // self._cell

    def _end(self, index: int) -> int:
        return self._ends[index] if self._cell is None else min((index + 1) * self._cell, self.size)

    def _read_ahead(self, index: int) -> None:
        """Told once for each chunk that is reached: the next ones that hold data."""
        if index == self._told:
            return
        self._told = index
        chunks: list[Any] = []
        budget = _AHEAD
        for place in range(index + 1, min(index + 4096, len(self._content.chunks))):
            chunk = self._content.chunks[place]
            if not self._content.is_zero(chunk):
                budget -= chunk.size
                if budget < 0:
                    break
                chunks.append(chunk)
        self._cache.look_ahead(self._content, chunks)
