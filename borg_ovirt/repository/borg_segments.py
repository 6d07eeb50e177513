"""Whether a chunk can lie where Borg's index says: the file of that segment may be lost, or cut off.

The index is Borg's own list of what it wrote. It knows nothing of a file that a file system lost, and Borg
meets that only when it reads the chunk.
"""

from __future__ import annotations

import os
from typing import Any

_HEADER = 41
"""Bytes before the data of a chunk in a segment."""


class Segments:
    """The files of a repository on this machine, looked at once each. Any thread."""

    def __init__(self, repository: Any) -> None:
        self._repository = repository
        self._sizes: dict[int, int] = {}
        self._known = int(repository.io.get_latest_segment() or 0)
        """Later ones are being written, by us or by others: their sizes say nothing yet."""

    def hold(self, id_: bytes) -> bool:
        """Whether the chunk is in the index, and its segment is there and long enough."""
        if self._found(id_):
            return True
        follow = getattr(self._repository, "follow", None)  # without a lock: somebody may have compacted
        return follow is not None and follow() and self._found(id_)

    def _found(self, id_: bytes) -> bool:
        if id_ not in self._repository:
            return False
        segment, offset = self._repository.index[id_][:2]
        return bool(segment > self._known or offset + _HEADER <= self._size(segment))

    def _size(self, segment: int) -> int:
        if segment not in self._sizes:
            try:
                size = os.stat(self._repository.io.segment_filename(segment)).st_size
            except FileNotFoundError:
                size = 0
            self._sizes[segment] = size
        return self._sizes[segment]
