"""What was read ahead is what would have been read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from borg_ovirt.blocks import Extent
from borg_ovirt.pipe.download import download
from borg_ovirt.pipe.fetch import Buffers
from borg_ovirt.pipe.held import Held, size_held
from borg_ovirt.pipe.plan import make_plan

CELL = 64
DATA = bytes(range(1, 201)) + bytes(120)


class Reading:
    """A source that counts what is read of it, and was cut once."""

    size = len(DATA)

    def __init__(self) -> None:
        self.read_bytes = 0
        self.resumes = 1

    def extents(self, context: str) -> Iterator[Extent]:
        yield Extent(0, 250, zero=False)
        yield Extent(250, len(DATA) - 250, zero=True)

    def open(self) -> Reading:
        return self

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        for view in views:
            view[:] = DATA[offset : offset + len(view)]
            offset += len(view)
            self.read_bytes += len(view)
            yield view

    def close(self) -> None:
        pass


class Sink:
    def __init__(self) -> None:
        self.data = b""

    def prepare(self, data: memoryview) -> bytes:
        return bytes(data)

    def store(self, prepared: bytes) -> bool:
        self.data += prepared
        return True

    def zero(self, size: int, count: int = 1) -> None:
        self.data += bytes(size * count)

    def reuse(self, reference: object) -> None:
        raise AssertionError


def test_it_is_read_once_and_stored_as_if_it_were_read_then() -> None:
    source = Reading()
    plan = make_plan(source.size, CELL, source.extents("zero"), min_gap=8)
    held = Held(plan, source, readers=1, buffers=Buffers(CELL, 4))
    assert source.read_bytes == plan.bytes_to_fetch == 250
    assert size_held(plan) == 256
    sink = Sink()
    stats = download(plan, held, sink, readers=1)
    assert sink.data == DATA
    assert source.read_bytes == 250
    assert (stats.bytes_read, stats.resumes) == (250, 1)
