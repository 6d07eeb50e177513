"""Uploads end to end: whatever lay on the target, it reads as the archive afterwards."""

from __future__ import annotations

import random
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import KiB, MiB
from borg_ovirt.errors import RestoreFailed
from borg_ovirt.pipe import holes
from borg_ovirt.pipe import upload as upload_module
from borg_ovirt.pipe.digests import BlockDigests
from borg_ovirt.pipe.upload import upload

from .fakes import Conductor, Content, Fault, FaultAt, Meter, Target, slice_up
from .strategies import archived


@pytest.fixture(autouse=True, scope="module")
def _small_scale() -> object:
    """Zeros are looked for byte by byte, and zeroed by the hundred, so that small disks show all cases."""
    patch = pytest.MonkeyPatch()
    patch.setattr(holes, "_PIECE", 1)
    patch.setattr(upload_module, "ZERO_REQUEST", 100)
    yield
    patch.undo()


def is_zero(data: bytes) -> bool:
    return not data.strip(b"\0")


@given(
    archived(),
    st.integers(0, 250),
    st.booleans(),
    st.booleans(),
    st.integers(1, 5),
    st.integers(1, 60),
    st.integers(1, 100),
    st.integers(1, 20),
    st.integers(1, 20),
    st.randoms(use_true_random=True),
)
def test_target_equals_content(
    disk: tuple[bytes, int],
    tail: int,
    blind: bool,
    new: bool,
    writers: int,
    request: int,
    window: int,
    min_gap: int,
    block: int,
    rng: random.Random,
) -> None:
    data, cell = disk
    content = Content(data, cell, blind=blind)
    before = bytes(len(data) + tail) if new else rng.randbytes(len(data) + tail)
    digests, meter = BlockDigests(len(data), block), Meter()
    with Conductor(rng) as conductor:
        target = Target(before, conductor)
        content.hook = conductor
        stats = upload(
            content,
            target,
            target_is_zero=new,
            writers=writers,
            request=request,
            window=window,
            min_gap=min_gap,
            digests=digests,
            progress=meter,
        )
    assert target.data == data + bytes(tail)
    assert not target.unflushed
    assert target.opened == target.closed <= writers
    assert digests.checksum() == Target(data).checksum("blake2b", block)
    assert content.fetched_on <= {threading.get_ident()}

    written = sum(length for what, _, length in target.requests if what == "write")
    zeroed = sum(length for what, _, length in target.requests if what == "zero")
    assert (stats.bytes_written, stats.bytes_zeroed) == (written, zeroed)
    assert stats.bytes_written + stats.bytes_zeroed + stats.bytes_skipped == target.size
    assert stats.bytes_skipped == 0 if not new else zeroed == 0
    assert meter.done == len(data)
    assert meter.totals["read"] == written
    assert stats.requests == len(target.requests)
    for what, offset, length in target.requests:
        if what == "write":
            assert length <= max(request, cell)
            assert not is_zero(data[offset : offset + length])
        else:
            assert length <= 100
    if not blind:
        assert content.fetched == sum(not is_zero(piece) for piece in slice_up(data, cell))


@given(archived(), st.booleans(), st.integers(1, 4), st.integers(0, 30), st.booleans())
def test_any_fault_ends_it_once_and_whole(
    disk: tuple[bytes, int], new: bool, writers: int, nth: int, in_target: bool
) -> None:
    data, cell = disk
    content = Content(data, cell)
    fault = FaultAt(nth)
    target = Target(bytes(len(data)) if new else b"?" * len(data))
    if in_target:
        target.hook = fault
    else:
        content.hook = fault
    raised = None
    try:
        upload(content, target, target_is_zero=new, writers=writers, request=cell, window=2 * cell)
    except Fault as error:
        raised = error
    assert raised is (fault.error if fault.hit else None)
    assert fault.hit or target.data == data
    assert target.opened == target.closed


def test_data_on_both_sides_of_zeros_is_not_joined() -> None:
    data = b"left" + bytes(4) + b"right" + bytes(3)
    target = Target(bytes(16))
    upload(Content(data, 4), target, target_is_zero=True, writers=1, request=60)
    assert target.data == data
    assert target.requests == [("write", 0, 4), ("write", 8, 8)]


def test_neighbours_share_requests() -> None:
    data = bytes(8) + b"x" * 40 + bytes(200)
    target = Target(b"?" * 256)
    upload(Content(data, 4), target, target_is_zero=False, writers=1, request=16)
    assert target.requests == [
        ("zero", 0, 8),
        ("write", 8, 16),
        ("write", 24, 16),
        ("write", 40, 8),
        ("zero", 48, 100),
        ("zero", 148, 100),
        ("zero", 248, 8),
    ]


def test_memory_is_bounded_while_a_writer_stalls() -> None:
    """With a window of four chunks and requests of two, the archive is not read past the seventh chunk."""
    data = random.Random(1).randbytes(400)
    content = Content(data, 4, ahead=1)
    ahead = []
    stalled = threading.Event()

    def fetched(what: str) -> None:
        if len(ahead) == 0 and content.fetched == 6:
            stalled.set()

    def stall(what: str) -> None:
        if not stalled.is_set():
            assert stalled.wait(20)
        if what == "write":
            ahead.append(content.fetched)

    content.hook = fetched
    target = Target(b"?" * 400, stall)
    upload(content, target, target_is_zero=True, writers=1, request=8, window=16)
    assert target.data == data
    assert all(count <= 2 * (number + 2) + 3 for number, count in enumerate(ahead))


def test_pieces_of_a_chunk_weigh_as_the_chunk() -> None:
    """A byte of a chunk keeps all of it in memory: the window counts that."""
    data = (b"x" + bytes(15)) * 100
    content = Content(data, 16, ahead=1)
    ahead: list[int] = []
    target = Target(bytes(1600))
    target.hook = lambda what: ahead.append(content.fetched) if what == "write" else None
    hold = threading.Event()
    content.hook = lambda what: hold.set() if content.fetched == 4 else None

    def stall(what: str) -> None:
        assert hold.wait(20)
        if what == "write":
            ahead.append(content.fetched)

    target.hook = stall
    stats = upload(content, target, target_is_zero=True, writers=1, request=16, window=48, min_gap=1)
    assert target.data == data
    assert stats.bytes_written == 100
    assert all(count <= number + 3 + 2 for number, count in enumerate(ahead))


def test_a_smaller_target_is_refused_untouched() -> None:
    target = Target(b"?" * 15)
    with pytest.raises(RestoreFailed, match="15 bytes, the archive 16"):
        upload(Content(b"x" * 16, 4), target, target_is_zero=False)
    assert target.opened == 0


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([4, 4, 4], "only 12 of its 16"),
        ([4, 4, 4, 4, 4], "more than its 16"),
        ([4, 4, 3, 5], "a chunk of 4 bytes at byte 8 instead of 3"),
    ],
)
def test_chunks_that_do_not_make_the_disk(sizes: list[int], message: str) -> None:
    content = Content(b"abcd" * 5, 4)
    content.size = 16
    content.chunks = [chunk._replace(size=size) for chunk, size in zip(content.chunks, sizes, strict=False)]
    with pytest.raises(RestoreFailed, match=message):
        upload(content, Target(b"?" * 16), target_is_zero=False)


def test_an_archive_that_ends_early() -> None:
    class Ending(Content):
        def fetch(self, chunks):  # type: ignore[no-untyped-def]
            yield from list(super().fetch(chunks))[:-1]

    with pytest.raises(RestoreFailed, match="a chunk of 0 bytes at byte 12 instead of 4"):
        upload(Ending(b"abcdefghijklmnop", 4), Target(bytes(16)), target_is_zero=True)


def test_an_interrupt_in_the_middle_cuts_writers() -> None:
    """Ctrl-C strikes the fetching thread while a writer hangs."""
    hanging, cut = threading.Event(), threading.Event()

    class Hanging(Target):
        def open(self):  # type: ignore[no-untyped-def]
            writer = super().open()

            def hang(what: str) -> None:
                hanging.set()
                assert writer.is_closed.wait(20), "the hanging connection was not cut"
                cut.set()

            self.hook = hang
            return writer

    def interrupt(what: str) -> None:
        if content.fetched == 4:
            assert hanging.wait(20)
            raise KeyboardInterrupt

    content = Content(b"x" * 64, 4)
    content.hook = interrupt
    target = Hanging(bytes(64))
    with pytest.raises(KeyboardInterrupt):
        upload(content, target, target_is_zero=True, writers=1, request=4)
    assert cut.is_set()
    assert target.opened == target.closed


def test_real_scale_leaves_holes_of_a_mebibyte() -> None:
    """With the true constants: one chunk of 4 MiB with data at both ends and a little in the middle."""
    patch = pytest.MonkeyPatch()
    patch.setattr(holes, "_PIECE", 64 * KiB)
    data = bytearray(4 * MiB)
    data[0] = data[2 * MiB] = data[-1] = 1
    assert holes.data_runs(memoryview(data), MiB) == [
        (0, 64 * KiB),
        (2 * MiB, 2 * MiB + 64 * KiB),
        (4 * MiB - 64 * KiB, 4 * MiB),
    ]
    assert holes.data_runs(memoryview(data), 2 * MiB) == [(0, 4 * MiB)]
    assert holes.data_runs(memoryview(bytes(4 * MiB)), MiB) == []
    assert holes.data_runs(memoryview(b"\0" * 100 + b"x"), 64 * KiB) == [(0, 101)]
    patch.undo()
