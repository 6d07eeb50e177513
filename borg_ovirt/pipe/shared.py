"""Archived contents read by several threads in turn: the repository behind them serves one at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from borg_ovirt.pipe.ports import Content, Piece

_BATCH = 4
"""Chunks fetched in one turn: enough to be asked for together, few enough to keep nobody waiting."""


class SharedContent:
    """A content that takes the lock for each batch of chunks it fetches, and lets go of it in between."""

    def __init__(self, content: Content, lock: threading.Lock) -> None:
        self._content = content
        self._lock = lock

    @property
    def size(self) -> int:
        return self._content.size

    @property
    def chunks(self) -> Sequence[Piece]:
        return self._content.chunks

    def is_zero(self, chunk: Any) -> bool:
        return self._content.is_zero(chunk)

    def fetch(self, chunks: Iterable[Any]) -> Iterator[memoryview]:
        """The bytes of the chunks, in order."""
        waiting = iter(chunks)
        while batch := list(islice(waiting, _BATCH)):
            with self._lock:
                views = list(self._content.fetch(batch))
            yield from views
