"""Writes an archived disk to a target: data in large requests over several connections, zeros never as bytes.

The calling thread takes the chunks from the archive (Borg wants one thread) and gathers neighbours into
requests; writer threads send them. What waits and what is under way is bounded together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from borg_ovirt.blocks import GiB, MiB
from borg_ovirt.errors import RestoreFailed
from borg_ovirt.pipe.digests import BlockDigests
from borg_ovirt.pipe.holes import data_runs
from borg_ovirt.pipe.ports import Content, Meter, Target, Writer
from borg_ovirt.pipe.threads import ThreadGroup
from borg_ovirt.pipe.walk import walk

WRITERS = 4
REQUEST = 8 * MiB
"""Bytes of one request at most."""
WINDOW = 32 * MiB
"""Bytes of chunks waiting or under way at most, besides the request that is being gathered. Twice as much,
and requests twice as large, were no faster with four writers."""
ZERO_REQUEST = GiB
"""Zeros of one request at most: slow storage may write them, and an upload given up should end soon."""


@dataclass
class UploadStats:
    """What one upload sent, in bytes."""

    bytes_written: int = 0
    """Sent as data."""
    bytes_zeroed: int = 0
    """Zeroed by request, without bytes; a stale tail past the archived size counts too."""
    bytes_skipped: int = 0
    """Zeros that the target holds already."""
    requests: int = 0


def upload(
    content: Content,
    target: Target,
    *,
    target_is_zero: bool,
    writers: int = WRITERS,
    request: int = REQUEST,
    window: int = WINDOW,
    min_gap: int = MiB,
    digests: BlockDigests | None = None,
    progress: Meter | None = None,
    name: str = "the disk",
    only: Container[int] | None = None,
) -> UploadStats:
    """Make the target read as the content, and as zeros after it; flushed when this returns.

    `target_is_zero` promises a new target that reads as zeros everywhere: zeros are skipped then. `digests`
    (of the content's size) is filled on the way, for a proof that needs no second read of the archive.
    `only`: the places of the chunks that are written; the target holds the others already.
    """
    if target.size < content.size:
        raise RestoreFailed(
            f"The target of {name} has {target.size} bytes, the archive {content.size}.",
            "Restore to a disk of at least the archived size.",
        )
    sending = _Sending(target, content.size, window, digests, progress)
    gather = _Gatherer(request, sending.send, sending.skip if target_is_zero else None)
    with sending.group:
        sending.group.start(writers, sending.work)
        for offset, size, view in walk(content, name, only):
            if view is None:
                gather.zeros(offset, size)
                continue
            done = 0
            for start, end in data_runs(view, min_gap):
                gather.zeros(offset + done, start - done)
                gather.data(offset + start, view[start:end], size)
                done = end
            if digests is not None and done:
                if digests.whole(offset, size):
                    gather.hash(offset, view)
                else:
                    digests.feed(offset, view)
            gather.zeros(offset + done, size - done)
        gather.zeros(content.size, target.size - content.size)
        gather.flush()
        sending.close()
    if digests is not None:
        digests.finish()
    return sending.stats


@dataclass
class _Request:
    """Neighbouring bytes to write, or, without views, to zero."""

    offset: int
    length: int = 0
    views: list[memoryview] = field(default_factory=list)
    blocks: list[tuple[int, memoryview]] = field(default_factory=list)
    """Whole blocks to hash on the way, with their offsets."""
    weight: int = 0
    """Bytes of memory that it keeps: a small piece of a chunk keeps all of it."""

    @property
    def end(self) -> int:
        return self.offset + self.length


class _Gatherer:
    """Makes large requests of neighbours; `skip` takes the zeros where none have to be written."""

    def __init__(
        self, limit: int, send: Callable[[_Request], None], skip: Callable[[int, int], None] | None
    ) -> None:
        self._limit = limit
        self._send = send
        self._skip = skip
        self._open: _Request | None = None

    def data(self, offset: int, view: memoryview, weight: int) -> None:
        current = self._open
        if (
            current is None
            or not current.views
            or current.end != offset
            or current.weight + weight > self._limit
        ):
            current = self._begin(offset)
        current.views.append(view)
        current.length += len(view)
        current.weight += weight

    def hash(self, offset: int, view: memoryview) -> None:
        """Hash a block with the request that holds (the last of) its data."""
        assert self._open is not None
        self._open.blocks.append((offset, view))

    def zeros(self, offset: int, length: int) -> None:
        if self._skip is not None:
            self._skip(offset, length)
            return
        while length:
            current = self._open
            if current is None or current.views or current.end != offset or current.length == ZERO_REQUEST:
                current = self._begin(offset)
            taken = min(length, ZERO_REQUEST - current.length)
            current.length += taken
            offset += taken
            length -= taken

    def flush(self) -> None:
        if self._open is not None:
            self._send(self._open)
            self._open = None

    def _begin(self, offset: int) -> _Request:
        self.flush()
        self._open = _Request(offset)
        return self._open


class _Sending:
    """The requests on their way, and the writers that carry them out."""

    def __init__(
        self,
        target: Target,
        size: int,
        window: int,
        digests: BlockDigests | None,
        progress: Meter | None,
    ) -> None:
        self.group = ThreadGroup("writer")
        self.stats = UploadStats()
        self._target = target
        self._size = size
        self._window = window
        self._digests = digests
        self._progress = progress
        self._queue: deque[_Request] = deque()
        self._weight = 0
        self._closed = False

    def send(self, request: _Request) -> None:
        """Hand a request to the writers, once there is room for it."""
        with self.group.changed:
            self.group.lead_wait(lambda: not self._weight or self._weight + request.weight <= self._window)
            self._weight += request.weight
            self._queue.append(request)
            self.group.changed.notify_all()

    def skip(self, offset: int, length: int) -> None:
        """Zeros that are there already."""
        self.group.lead_check()
        self.stats.bytes_skipped += length
        self._tell(offset, length, zero=True)

    def close(self) -> None:
        """No more requests."""
        with self.group.changed:
            self._closed = True
            self.group.changed.notify_all()

    def work(self) -> None:
        request = self._next()
        if request is None:
            return
        with self.group.holding(self._target.open()) as writer:
            while request is not None:
                self._carry_out(writer, request)
                request = self._next()
            # Each its own: NBD promises to flush only what the same connection wrote.
            writer.flush()

    def _next(self) -> _Request | None:
        with self.group.changed:
            self.group.member_wait(lambda: bool(self._queue) or self._closed)
            return self._queue.popleft() if self._queue else None

    def _carry_out(self, writer: Writer, request: _Request) -> None:
        if request.views:
            writer.write(request.offset, request.views)
        else:
            writer.zero(request.offset, request.length)
        if self._digests is not None:
            for offset, view in request.blocks:
                self._digests.put(offset, view)
        with self.group.changed:
            self._weight -= request.weight
            self.stats.requests += 1
            if request.views:
                self.stats.bytes_written += request.length
            else:
                self.stats.bytes_zeroed += request.length
            self.group.changed.notify_all()
        self._tell(request.offset, request.length, zero=not request.views)

    def _tell(self, offset: int, length: int, *, zero: bool) -> None:
        """The meter counts the archived size: a tail after it is no part of it."""
        length = min(length, self._size - offset)
        if self._progress is None or length <= 0:
            return
        if zero:
            self._progress.advance(zero=length)
        else:
            self._progress.advance(read=length, new=length)
