"""Readers that keep to a rate, and end when the alarm rings."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import DomainFull, TransferFailed
from borg_ovirt.pipe.watched import Alarm, Bucket, WatchedReader, WatchedSource


class Time:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class Inner:
    """A source of zeros whose readers fail once they are closed."""

    size = 1 << 20

    def extents(self, context: str) -> Iterator[Extent]:
        yield Extent(0, self.size, False)

    def open(self) -> InnerReader:
        return InnerReader()


class InnerReader:
    resumes = 0

    def __init__(self) -> None:
        self.closed = False

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        for view in views:
            if self.closed:
                raise TransferFailed("the connection was cut")
            yield view

    def close(self) -> None:
        self.closed = True


def test_the_long_run_keeps_to_the_rate() -> None:
    clock = Time()
    bucket = Bucket(1000, burst=500, clock=clock)
    for _ in range(100):
        bucket.take(100, clock.wait)
    assert clock.now - 100 == pytest.approx(10, abs=0.51)


def test_a_burst_after_a_pause_is_limited() -> None:
    clock = Time()
    bucket = Bucket(1000, burst=500, clock=clock)
    clock.now += 3600
    for _ in range(10):
        bucket.take(100, clock.wait)
    assert clock.now - 3700 == pytest.approx(0.5)


def test_readers_share_the_bucket() -> None:
    bucket = Bucket(1 << 20, burst=1)
    started = time.monotonic()
    threads = [threading.Thread(target=bucket.take, args=(1 << 17,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.49


def views(count: int) -> list[memoryview]:
    return [memoryview(bytearray(1000)) for _ in range(count)]


def test_bytes_pass_unchanged() -> None:
    source = WatchedSource(Inner(), None, Alarm())
    given = views(3)
    assert list(source.open().read(0, given)) == given
    assert list(source.extents("zero")) == [Extent(0, Inner.size, False)]
    assert source.size == Inner.size


def test_the_alarm_ends_a_reader_with_its_reason() -> None:
    alarm = Alarm()
    source = WatchedSource(Inner(), None, alarm)
    reading = source.open().read(0, views(3))
    next(reading)
    alarm.ring(DomainFull("data is full"))
    with pytest.raises(DomainFull, match="data is full"):
        next(reading)
    with pytest.raises(DomainFull):
        source.open()
    with pytest.raises(DomainFull):
        list(source.extents("zero"))


def test_the_first_reason_counts() -> None:
    alarm = Alarm()
    alarm.ring(DomainFull("data is full"))
    alarm.ring(DomainFull("so is other"))
    with pytest.raises(DomainFull, match="data is full"):
        alarm.check()


def test_the_alarm_cuts_readers_under_way() -> None:
    alarm = Alarm()
    under_way, ended = InnerReader(), InnerReader()
    WatchedReader(under_way, None, alarm)
    WatchedReader(ended, None, alarm).close()
    ended.closed = False
    alarm.ring(DomainFull("data is full"))
    assert under_way.closed, "its connection is closed under it"
    assert not ended.closed, "what has ended is left alone"


def test_a_reader_that_waits_for_its_rate_is_woken_by_close() -> None:
    alarm = Alarm()
    reader = WatchedSource(Inner(), Bucket(10, burst=1), alarm).open()
    ended: list[BaseException] = []

    def read() -> None:
        try:
            list(reader.read(0, views(5)))  # at this rate it would take minutes
        except TransferFailed as error:
            ended.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    reader.close()
    thread.join(5)
    assert not thread.is_alive()
    assert len(ended) == 1
