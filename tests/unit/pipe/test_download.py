"""Downloads end to end: whatever the disk and however the threads run, the archive holds the truth."""

from __future__ import annotations

import random
import threading
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from borg_ovirt.blocks import Extent, MiB
from borg_ovirt.errors import TransferFailed
from borg_ovirt.pipe import fetch, threads
from borg_ovirt.pipe.download import DownloadStats, download
from borg_ovirt.pipe.fetch import Buffers
from borg_ovirt.pipe.plan import Plan, make_plan, plan_reuse

from .fakes import Base, Conductor, Fault, FaultAt, Meter, Sink, Source
from .strategies import Change, changes


def random_disk(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def all_data(data: bytes, cell: int) -> Plan:
    return make_plan(len(data), cell, [Extent(0, len(data), False)])


def check_books(plan: Plan, source: Source, stats: DownloadStats, meter: Meter) -> None:
    """Every byte is counted once, and the same everywhere."""
    assert source.bytes_served == plan.bytes_to_fetch == stats.bytes_read == meter.totals["read"]
    assert stats.bytes_read + stats.bytes_zero + stats.bytes_reused == plan.size == meter.done
    assert (stats.bytes_new, stats.resumes) == (meter.totals["new"], meter.totals["resumes"])
    assert source.opened == source.closed == stats.resumes


@given(
    changes(),
    st.booleans(),
    st.integers(1, 8),
    st.integers(1, 40),
    st.integers(1, 64),
    st.randoms(use_true_random=True),
)
def test_any_disk_arrives_whole(
    change: Change, full: bool, readers: int, min_gap: int, span: int, rng: random.Random
) -> None:
    base = None if full else Base(change.old, change.cell)
    sink = Sink(change.cell)
    if base:
        base.fill(sink.repository)
    plan = make_plan(len(change.data), change.cell, change.extents, base, min_gap=min_gap)
    assert not plan.mismatches
    buffers = Buffers(change.cell, rng.randint(1, 12))
    meter = Meter()
    with Conductor(rng) as conductor:
        source = Source(change.data, hook=conductor)
        sink.hook = conductor
        with patch.object(fetch, "REQUEST", rng.randint(1, 40)):
            stats = download(
                plan,
                source,
                sink,
                base=base,
                readers=readers,
                buffers=buffers,
                span=span,
                opening=rng.randint(0, 80),
                progress=meter,
            )
    assert sink.content == change.data
    assert [c.size for c in sink.chunks] == [plan.cell_size(i) for i in range(plan.cells)]
    assert sink.stored_on <= {threading.get_ident()}
    assert threading.get_ident() not in sink.prepared_on
    assert buffers.free == buffers.count
    check_books(plan, source, stats, meter)


@given(changes(), st.integers(1, 6), st.integers(0, 60), st.booleans(), st.booleans())
def test_any_fault_ends_it_once_and_whole(
    change: Change, readers: int, nth: int, in_source: bool, in_sink: bool
) -> None:
    base = Base(change.old, change.cell)
    sink = Sink(change.cell)
    base.fill(sink.repository)
    fault = FaultAt(nth)
    source = Source(change.data)
    if in_source:
        source.hook = fault
    if in_sink:
        sink.hook = fault
    plan = make_plan(len(change.data), change.cell, change.extents, base)
    buffers = Buffers(change.cell, 4)
    raised = None
    try:
        download(plan, source, sink, base=base, readers=readers, buffers=buffers)
    except Fault as error:
        raised = error
    assert raised is (fault.error if fault.hit else None)
    assert fault.hit or sink.content == change.data
    assert source.opened == source.closed
    assert buffers.free == 4


def test_the_first_request_is_larger_than_all_others() -> None:
    """qemu-nbd keeps the buffers of the others then: see `fetch.REQUEST`."""
    data = random_disk(1, 32 * MiB)
    source = Source(data)
    download(all_data(data, 4 * MiB), source, Sink(4 * MiB), readers=1)
    assert source.requests == [8 * MiB, *[2 * MiB] * 12]


def test_a_connection_that_does_not_open() -> None:
    data = random_disk(1, 64)
    source = Source(data)
    opened = FaultAt(2)

    class Refusing(Source):
        def open(self):  # type: ignore[no-untyped-def]
            opened()
            return source.open()

    # The first two readers wait with their spans until the third was refused.
    source.hook = lambda offset, length: wait_for(lambda: opened.hit)
    with pytest.raises(Fault):
        download(all_data(data, 4), Refusing(data), Sink(4), readers=3, span=4, opening=0)
    assert source.opened == source.closed == 2


def wait_for(condition: object, timeout: float = 20.0) -> None:
    """Spin politely until the condition holds."""
    tick = threading.Event()
    for _ in range(int(timeout / 0.005)):
        if condition():  # type: ignore[operator]
            return
        tick.wait(0.005)
    raise AssertionError("what was waited for never came")


@pytest.mark.parametrize("at", [0, 3, 31, 32, 50, 62])
def test_a_short_read_is_never_taken_for_data(at: int) -> None:
    data = random_disk(2, 63)
    source = Source(data)
    source.short_from = at
    sink = Sink(4)
    with pytest.raises(TransferFailed, match=r"The source of disk root gave \d pieces of 4 at byte"):
        download(make_plan(63, 4, [Extent(0, 63, False)], name="disk root"), source, sink, span=16, opening=0)
    assert sink.content == data[: len(sink.content)]


@pytest.mark.parametrize("fault", ["surplus", "halves"])
def test_other_pieces_than_asked_for_are_refused(fault: str) -> None:
    data = random_disk(3, 64)
    source = Source(data)
    setattr(source, fault, True)
    with pytest.raises(TransferFailed, match="other pieces"):
        download(all_data(data, 4), source, Sink(4))


def test_a_source_shorter_than_the_plan_is_refused() -> None:
    source = Source(b"x" * 60)
    with pytest.raises(TransferFailed, match="60 bytes, not 64"):
        download(all_data(b"x" * 64, 4), source, Sink(4))
    assert source.opened == 0


def test_a_plan_that_does_not_add_up_is_an_error() -> None:
    """What arrived is compared with what was asked for, whoever was wrong."""
    plan = make_plan(64, 4, [Extent(0, 64, True)])
    plan.starts.append(0)
    plan.ends.append(4)
    with pytest.raises(TransferFailed, match="0 bytes of the disk arrived, 4 were asked for"):
        download(plan, Source(bytes(64)), Sink(4))


def test_memory_is_bounded_while_the_first_reader_stalls() -> None:
    """The first span hangs: the others fill their buffers and wait, then all goes on in order."""
    data = random_disk(4, 400)
    prepared = threading.Semaphore(0)
    go_on = threading.Event()
    outstanding = 0
    peak = 0
    lock = threading.Lock()

    def hook(what: str) -> None:
        nonlocal outstanding, peak
        with lock:
            outstanding += {"prepare": 1, "store": -1}[what]
            peak = max(peak, outstanding)
        if what == "prepare":
            prepared.release()

    def stall(offset: int, length: int) -> None:
        if offset == 0:
            # Two spans of two cells fit beside the first one.
            for _ in range(4):
                assert prepared.acquire(timeout=20)
            go_on.set()

    source, sink = Source(data, hook=stall), Sink(4, hook=hook)
    buffers = Buffers(4, 6)
    download(all_data(data, 4), source, sink, readers=3, buffers=buffers, span=8, opening=0)
    assert go_on.is_set()
    assert sink.content == data
    assert peak == 6


def test_few_cells_need_few_buffers() -> None:
    data = bytes(400) + b"x" * 4
    plan = make_plan(404, 4, [Extent(0, 400, True), Extent(400, 4, False)])
    buffers = Buffers(4, 50)
    for _ in range(3):
        source = Source(data)
        download(plan, source, Sink(4), buffers=buffers)
        assert source.opened == 1, "readers without work need no connection"
    assert len(buffers._all) == 1


def test_nothing_to_read_needs_no_connection() -> None:
    source = Source(bytes(64))
    sink = Sink(4)
    stats = download(make_plan(64, 4, [Extent(0, 64, True)]), source, sink)
    assert (source.opened, stats.bytes_zero, sink.content) == (0, 64, bytes(64))


def test_data_that_is_zero_is_stored_as_zeros_without_hashing() -> None:
    data = bytes(30)
    sink = Sink(4)
    stats = download(all_data(data, 4), Source(data), sink)
    assert (stats.bytes_read, stats.bytes_new, sink.content) == (30, 0, data)
    assert not sink.prepared_on


def test_new_and_known_chunks_are_told_apart() -> None:
    data = b"aaaabbbbaaaa"
    sink = Sink(4)
    first = download(all_data(data, 4), Source(data), sink)
    assert (first.bytes_read, first.bytes_new) == (12, 8)
    again = download(all_data(data, 4), Source(data), sink)
    assert (again.bytes_read, again.bytes_new) == (12, 0)


def test_a_stale_buffer_never_shines_through_a_gap() -> None:
    """The gap of the second cell lies where the first cell's bytes were."""
    data = b"\xff" * 8 + b"\1\0\0\0\0\0\0\1"
    extents = [Extent(0, 9, False), Extent(9, 6, True), Extent(15, 1, False)]
    sink = Sink(8)
    source = Source(data)
    stats = download(make_plan(16, 8, extents, min_gap=2), source, sink, readers=1, buffers=Buffers(8, 1))
    assert sink.content == data
    assert (stats.bytes_read, stats.bytes_zero) == (10, 6)


def test_an_interrupt_in_the_middle_cuts_readers() -> None:
    """Ctrl-C strikes the storing thread while the readers hang."""
    data = random_disk(6, 64)
    hanging = threading.Event()

    class Hanging(Source):
        def open(self):  # type: ignore[no-untyped-def]
            reader = super().open()

            def hook(offset: int, length: int) -> None:
                if offset >= 32:
                    hanging.set()
                    assert reader.is_closed.wait(20), "the hanging connection was not cut"

            self.hook = hook
            return reader

    def interrupt(what: str) -> None:
        if what == "store":
            assert hanging.wait(20)
            raise KeyboardInterrupt

    source = Hanging(data)
    with pytest.raises(KeyboardInterrupt):
        download(all_data(data, 4), source, Sink(4, hook=interrupt), readers=1)
    assert source.closed == 1


def test_the_first_of_two_errors_is_the_one_told() -> None:
    """Both readers fail, one after the other, while the storing thread is busy."""
    threads: dict[int, threading.Thread] = {}
    storing = threading.Event()
    first, second = Fault("first"), Fault("second")

    def ended(offset: int) -> bool:
        return offset in threads and not threads[offset].is_alive()

    def fail(offset: int, length: int) -> None:
        threads[offset] = threading.current_thread()
        if offset == 4:
            assert storing.wait(20)
            raise first
        if offset == 8:
            wait_for(lambda: ended(4))
            raise second

    def busy(what: str) -> None:
        if what == "store":
            storing.set()
            wait_for(lambda: ended(8))

    source = Source(random_disk(7, 16), hook=fail)
    with pytest.raises(Fault) as caught:
        download(all_data(source.data, 4), source, Sink(4, hook=busy), readers=2, span=8, opening=0)
    assert caught.value is first


def test_a_connection_that_opens_too_late_reads_nothing() -> None:
    data = random_disk(8, 16)
    openers: list[threading.Thread] = []

    class Late(Source):
        def open(self):  # type: ignore[no-untyped-def]
            openers.append(threading.current_thread())
            if openers[0] is not threading.current_thread():
                wait_for(lambda: not openers[0].is_alive())
            return super().open()

    def fail(offset: int, length: int) -> None:
        wait_for(lambda: len(openers) == 2)
        raise Fault

    source = Late(data, hook=fail)
    with pytest.raises(Fault):
        download(all_data(data, 4), source, Sink(4), readers=2, span=8, opening=0)
    assert (source.opened, source.closed) == (2, 2)
    assert source.hooked == 1, "the late one read"


def test_a_connection_that_comes_back_is_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader may take a cut for the network's fault and reconnect: not for ever."""
    monkeypatch.setattr(threads, "_POLL", 0.01)
    hanging = threading.Event()
    cuts = []

    class Stubborn(Source):
        def open(self):  # type: ignore[no-untyped-def]
            reader = super().open()

            def hook(offset: int, length: int) -> None:
                if offset >= 8:
                    hanging.set()
                    while len(cuts) < 3:
                        reader.is_closed.clear()
                        assert reader.is_closed.wait(20), "the connection came back and was left alone"
                        cuts.append(offset)

            self.hook = hook
            return reader

    def fail(what: str) -> None:
        if what == "store":
            assert hanging.wait(20)
            raise Fault

    source = Stubborn(random_disk(9, 16))
    with pytest.raises(Fault):
        download(all_data(source.data, 4), source, Sink(4, hook=fail), readers=1)
    assert cuts == [8, 8, 8]


def test_readers_are_limited() -> None:
    for readers in (0, 9):
        with pytest.raises(ValueError, match="readers"):
            download(all_data(b"x" * 8, 4), Source(b"x" * 8), Sink(4), readers=readers)


def test_reuse_without_base_is_a_programming_error() -> None:
    base = Base(b"x" * 8, 4)
    plan = make_plan(8, 4, [Extent(0, 8, False, False)], base)
    with pytest.raises(ValueError, match="base"):
        download(plan, Source(b"x" * 8), Sink(4))


def test_what_is_only_reused_needs_no_source() -> None:
    old = bytes(8) + b"abcd" + bytes(4) + b"ef"
    base, sink, meter = Base(old, 4), Sink(4), Meter()
    base.fill(sink.repository)
    plan = plan_reuse(base, "layer 1")
    stats = download(plan, None, sink, base=base, progress=meter)
    assert sink.content == old
    assert (stats.bytes_zero, stats.bytes_reused, stats.bytes_read) == (12, 6, 0)
    assert meter.done == len(old)
    with pytest.raises(ValueError, match="no source"):
        download(all_data(b"x" * 8, 4), None, Sink(4))
