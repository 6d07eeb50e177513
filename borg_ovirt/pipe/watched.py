"""A source whose readers keep to a rate and end at once when somebody says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from borg_ovirt.blocks import Extent, MiB
from borg_ovirt.pipe.ports import Reader, Source


class Bucket:
    """So many bytes per second for all readers that share it; short bursts are let through. Thread-safe."""

    def __init__(
        self,
        rate: float,
        *,
        burst: float = 16 * MiB,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = min(burst, rate)
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until = clock()

    def take(self, size: int, wait: Callable[[float], object] = time.sleep) -> None:
        """Wait until so many bytes may have moved; `wait` may cut a pause short."""
        with self._lock:
            now = self._clock()
            # Time that nobody used is kept for a burst, but no longer than that.
            self._paid_until = max(self._paid_until, now - self._burst / self._rate) + size / self._rate
            pause = self._paid_until - now
        if pause > 0:
            wait(pause)


class Alarm:
    """Ends every reader that heeds it, with the error it was rung with. Thread-safe."""

    def __init__(self) -> None:
        self._error: Exception | None = None
        self._readers: set[WatchedReader] = set()
        self._lock = threading.Lock()

    def ring(self, error: Exception) -> None:
        """The first error counts; readers under way fail at once."""
        with self._lock:
            self._error = self._error or error
            readers = list(self._readers)
        for reader in readers:
            reader.close()

    def check(self) -> None:
        """Raise the error, if it rang."""
        if self._error is not None:
            raise self._error

    def join(self, reader: WatchedReader) -> None:
        with self._lock:
            self._readers.add(reader)

    def leave(self, reader: WatchedReader) -> None:
        with self._lock:
            self._readers.discard(reader)


class WatchedSource:
    """A source behind a bucket and an alarm."""

    def __init__(self, inner: Source, bucket: Bucket | None, alarm: Alarm) -> None:
        self._inner = inner
        self._bucket = bucket
        self._alarm = alarm

    @property
    def size(self) -> int:
        return self._inner.size

    def extents(self, context: str) -> Iterator[Extent]:
        for extent in self._inner.extents(context):
            self._alarm.check()
            yield extent

    def open(self) -> WatchedReader:
        self._alarm.check()
        return WatchedReader(self._inner.open(), self._bucket, self._alarm)


class WatchedReader:
    """One connection of a watched source."""

    def __init__(self, inner: Reader, bucket: Bucket | None, alarm: Alarm) -> None:
        self._inner = inner
        self._bucket = bucket
        self._alarm = alarm
        self._closed = threading.Event()
        alarm.join(self)

    @property
    def resumes(self) -> int:
        return self._inner.resumes

    @resumes.setter
    def resumes(self, value: int) -> None:
        self._inner.resumes = value

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        self._alarm.check()
        try:
            for view in self._inner.read(offset, views):
                if self._bucket is not None:
                    self._bucket.take(len(view), self._closed.wait)
                self._alarm.check()
                yield view
        except Exception:
            self._alarm.check()  # a connection that the alarm cut fails for the alarm's reason
            raise

    def close(self) -> None:
        """End the connection; a reader that waits for its rate goes on at once and finds it closed."""
        self._alarm.leave(self)
        self._closed.set()
        self._inner.close()
