"""What every target and every source promises the pipe, asked of each that there is.

A file, a disk behind an imageio daemon (a tiny one, in memory), the same under watch, and the fakes that the
tests of the pipe use: what the fakes allow, the real ones must allow, and what they refuse they must refuse.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from borg_ovirt.blocks import Extent
from borg_ovirt.ovirt.data.imageio import Source, Target
from borg_ovirt.ovirt.data.transfer_session import Persistence, TransferSession, Urls
from borg_ovirt.pipe.digests import BlockDigests
from borg_ovirt.pipe.download import download
from borg_ovirt.pipe.file_target import FileTarget
from borg_ovirt.pipe.plan import make_plan
from borg_ovirt.pipe.proof import Proof, prove
from borg_ovirt.pipe.upload import upload
from borg_ovirt.pipe.watched import Alarm, Bucket, WatchedSource
from unit.ovirt.script import Answer, Request, Script, as_json
from unit.pipe import fakes

TICKET = "/images/0f8fad5b-d9cb-469f-a165-70867728950e"
SIZE = 40_000
CELL = 4096


class Daemon:
    """A disk behind HTTP, as the imageio daemon has it."""

    def __init__(self, script: Script, data: bytes) -> None:
        self.data = bytearray(data)
        self.flushed = bytes(data)
        features = {"features": ["extents", "zero", "flush"], "max_readers": 8, "max_writers": 8}
        script.on("OPTIONS", TICKET, as_json(features))
        script.on("GET", TICKET, self.get)
        script.on("PUT", TICKET, self.put)
        script.on("PATCH", TICKET, self.patch)
        script.on("GET", f"{TICKET}/extents", lambda request: as_json(self.extents()))
        self.session = TransferSession(
            "disk test",
            Urls(script.url + TICKET, None),
            ca_file=None,
            persistence=Persistence(3, 0.001, 0.002),
            use_socket=False,
        )
        self.session.open()

    def get(self, request: Request) -> Answer:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"])
        assert found
        return Answer(206, bytes(self.data[int(found[1]) : int(found[2]) + 1]), "application/octet-stream")

    def put(self, request: Request) -> Answer:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/\*", request.headers["Content-Range"])
        assert found
        start, end = int(found[1]), int(found[2]) + 1
        if end > len(self.data) or end - start != len(request.body):
            return Answer(416, "out of range", "text/plain")
        self.data[start:end] = request.body
        return Answer()

    def patch(self, request: Request) -> Answer:
        asked = json.loads(request.body)
        if asked["op"] == "zero":
            self.data[asked["offset"] : asked["offset"] + asked["size"]] = bytes(asked["size"])
        else:
            self.flushed = bytes(self.data)
        return Answer()

    def extents(self) -> list[dict[str, Any]]:
        return [
            {
                "start": at,
                "length": min(CELL, len(self.data) - at),
                "zero": not self.data[at : at + CELL].strip(b"\0"),
            }
            for at in range(0, len(self.data), CELL)
        ]


class Place(NamedTuple):
    """A target, and what lies in it (as far as it is flushed)."""

    target: Any
    content: Callable[[], bytes]


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    yield made
    made.close()
    assert made.unforeseen == []


@pytest.fixture(params=["memory", "file", "daemon"])
def place(request: pytest.FixtureRequest, tmp_path: Path, script: Script) -> Iterator[Place]:
    """Each kind of target, full of something else."""
    before = random.Random(1).randbytes(SIZE)
    if request.param == "memory":
        fake = fakes.Target(before)
        yield Place(fake, lambda: bytes(fake.data) if not fake.unflushed else b"not flushed")
    elif request.param == "file":
        path = tmp_path / "disk"
        path.write_bytes(before)
        descriptor = os.open(path, os.O_RDWR)
        yield Place(FileTarget(descriptor, SIZE), path.read_bytes)
        os.close(descriptor)
    else:
        daemon = Daemon(script, before)
        yield Place(Target(daemon.session, SIZE), lambda: daemon.flushed)
        daemon.session.close()


def disk(size: int = SIZE) -> bytes:
    """Data, zeros within a cell and over many, and a short end."""
    dice = random.Random(2)
    data = bytearray(dice.randbytes(size))
    data[5000:9000] = bytes(4000)
    data[12288:30000] = bytes(30000 - 12288)
    return bytes(data)


def test_what_was_uploaded_lies_there_and_is_proven(place: Place) -> None:
    data = disk()
    digests = BlockDigests(SIZE, CELL)
    upload(
        fakes.Content(data, CELL),
        place.target,
        target_is_zero=False,
        request=8192,
        min_gap=1,
        digests=digests,
    )
    assert place.content() == data
    assert prove(digests, place.target) in (Proof.READ_BACK, Proof.CHECKSUM)


def test_a_larger_target_reads_as_zeros_after_it(place: Place) -> None:
    data = disk(30_500)
    upload(fakes.Content(data, CELL), place.target, target_is_zero=False)
    assert place.content() == data + bytes(SIZE - 30_500)


def test_pieces_lie_one_after_the_other(place: Place) -> None:
    writer = place.target.open()
    writer.zero(0, SIZE)
    writer.flush()
    writer.close()
    other = place.target if not isinstance(place.target, fakes.Target) else fakes.Target(bytes(SIZE))
    writer = other.open()
    writer.write(100, [memoryview(b"abc"), memoryview(b""), memoryview(b"de")])
    writer.flush()
    writer.close()
    reader = other.open_reader()
    views = [memoryview(bytearray(4)), memoryview(bytearray(3))]
    assert [bytes(view) for view in reader.read(99, views)] == [b"\0abc", b"de\0"]
    reader.close()
    reader.close()
    writer.close()


@pytest.fixture(params=["memory", "daemon", "watched"])
def source(request: pytest.FixtureRequest, script: Script) -> Iterator[Any]:
    """Each kind of source of the same disk."""
    data = disk()
    if request.param == "memory":
        yield fakes.Source(
            data,
            [
                Extent(at, min(CELL, SIZE - at), not data[at : at + CELL].strip(b"\0"))
                for at in range(0, SIZE, CELL)
            ],
        )
        return
    daemon = Daemon(script, data)
    inner = Source(daemon.session, SIZE)
    yield inner if request.param == "daemon" else WatchedSource(inner, Bucket(1 << 30), Alarm())
    daemon.session.close()


@pytest.mark.parametrize("readers", [1, 4])
def test_every_byte_of_a_source_arrives(source: Any, readers: int) -> None:
    plan = make_plan(SIZE, CELL, source.extents("zero"), min_gap=1)
    assert plan.count_cells().zero == 4
    sink = fakes.Sink(CELL)
    stats = download(plan, source, sink, readers=readers, span=2 * CELL)
    assert sink.content == disk()
    assert stats.bytes_read == plan.bytes_to_fetch


def test_a_reader_closed_twice_is_closed(source: Any) -> None:
    reader = source.open()
    views = [memoryview(bytearray(10)), memoryview(bytearray(10))]
    assert b"".join(bytes(view) for view in reader.read(SIZE - 20, views)) == disk()[-20:]
    reader.close()
    reader.close()


def test_extents_are_the_whole_disk_without_gaps(source: Any) -> None:
    position = 0
    for extent in source.extents("zero"):
        assert extent.start == position
        assert not extent.zero or not disk()[extent.start : extent.end].strip(b"\0")
        position = extent.end
    assert position == source.size == SIZE
