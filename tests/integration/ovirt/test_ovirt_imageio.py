"""The data client against the real daemon and real qemu-nbd."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from ovirt_bed import QUICK, Bed, Cutter, MiB, noise

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import CertificateError, CheckpointLost, TransferFailed
from borg_ovirt.ovirt.data.imageio import Source, Target
from borg_ovirt.ovirt.data.transfer_session import TransferSession, Urls

SIZE = 24 * MiB
PIECES = {0: noise(1, 3 * MiB), 7 * MiB: noise(2, 9 * MiB), SIZE - MiB: noise(3, MiB)}


def views(*lengths: int) -> list[memoryview]:
    return [memoryview(bytearray(length)) for length in lengths]


def read(source: Source, offset: int, lengths: list[int]) -> tuple[bytes, int]:
    reader = source.open()
    data = b"".join(bytes(view) for view in reader.read(offset, views(*lengths)))
    reader.close()
    return data, reader.resumes


@pytest.fixture
def image(bed: Bed) -> Path:
    return bed.image(SIZE, PIECES)


def test_reads_what_qemu_sees(bed: Bed, image: Path) -> None:
    lease = bed.lease(bed.ticket(bed.serve(image).url, SIZE))
    truth = bed.raw(image)
    source = Source(lease, SIZE)
    extents = list(source.extents("zero"))
    assert [(e.start, e.length) for e in extents if not e.zero] == [
        (offset, len(data)) for offset, data in PIECES.items()
    ]
    assert extents[-1].end == SIZE
    data, resumes = read(source, 6 * MiB + 123, [4 * MiB, 4 * MiB, 77])
    assert data == truth[6 * MiB + 123 : 14 * MiB + 200]
    assert resumes == 0
    assert lease.method.startswith("direct localhost:")


def test_one_request_and_one_connection_for_a_run_and_for_the_next(bed: Bed, image: Path) -> None:
    relay = Cutter(bed.daemon.port, [])
    ticket = bed.ticket(bed.serve(image).url, SIZE)
    lease = bed.lease(ticket, urls=Urls(bed.url(ticket, relay.port), None))
    reader = Source(lease, SIZE).open()
    before = relay.made
    for _ in range(3):
        assert len(b"".join(map(bytes, reader.read(0, views(*[MiB] * 8))))) == 8 * MiB
    assert relay.made == before + 1
    assert reader.bytes_read == 24 * MiB
    reader.close()
    relay.close()


def test_a_cut_connection_is_taken_up_at_the_next_byte(bed: Bed, image: Path) -> None:
    ticket = bed.ticket(bed.serve(image).url, SIZE)
    relay = Cutter(bed.daemon.port, [1 << 30, 5 * MiB + 4321, 3 * MiB])
    lease = bed.lease(ticket, urls=Urls(bed.url(ticket, relay.port), None))
    data, resumes = read(Source(lease, SIZE), 0, [4 * MiB] * 6)
    relay.close()
    assert data == bed.raw(image)
    assert resumes == 2


def test_a_cut_list_of_extents_is_taken_up(bed: Bed) -> None:
    fragmented = bed.image(64 * MiB, {})
    arguments = [part for k in range(0, 65536, 128) for part in ("-c", f"write -q -P 1 {k}k 64k")]
    subprocess.run(["qemu-io", "-f", "qcow2", *arguments, fragmented], check=True)
    ticket = bed.ticket(bed.serve(fragmented).url, 64 * MiB)
    whole = list(Source(bed.lease(ticket), 64 * MiB).extents("zero"))
    assert len(whole) == 1024
    relay = Cutter(bed.daemon.port, [1 << 30, 30_000, 50_000])
    cut = Source(bed.lease(ticket, urls=Urls(bed.url(ticket, relay.port), None)), 64 * MiB)
    found = list(cut.extents("zero"))
    relay.close()
    assert found == whole
    assert relay.made == 4


def test_the_daemon_hangs_up_on_a_slow_consumer_and_is_asked_again(bed: Bed) -> None:
    size = 64 * MiB
    image = bed.image(size, {0: noise(4, size)}, "raw")
    lease = bed.lease(bed.ticket(bed.serve(image).url, size, inactivity_timeout=1))
    reader = Source(lease, size).open()
    digest = hashlib.sha256()
    stall = threading.Event()
    for number, view in enumerate(reader.read(0, views(*[4 * MiB] * 16))):
        digest.update(view)
        if number == 0:
            stall.wait(2.5)
    reader.close()
    assert digest.digest() == hashlib.sha256(image.read_bytes()).digest()
    assert reader.resumes >= 1


def test_backend_death_is_an_error_after_bounded_attempts(bed: Bed, image: Path) -> None:
    server = bed.serve(image)
    source = Source(bed.lease(bed.ticket(server.url, SIZE)), SIZE)
    reader = source.open()
    stream = reader.read(0, views(MiB, MiB, 16 * MiB))
    next(stream)
    server.stop()
    with pytest.raises(TransferFailed, match=r"disk test broke: .*attempts made no progress"):
        list(stream)
    reader.close()


def test_no_error_shows_the_ticket(bed: Bed, image: Path) -> None:
    server = bed.serve(image)
    ticket = bed.ticket(server.url, SIZE)
    lease = bed.lease(ticket)
    server.stop()
    with pytest.raises(TransferFailed) as caught:
        read(Source(lease, SIZE), 0, [MiB])
    bed.daemon.remove_ticket(ticket)
    with pytest.raises(TransferFailed) as gone:
        read(Source(lease, SIZE), 0, [MiB])
    for error in (caught, gone):
        told = str(error.value) + repr(error.getrepr(style="long", showlocals=False))
        assert ticket not in str(error.value)
        assert ticket not in str(error.value.__cause__ or "")
        assert told
    assert ticket not in repr(Urls(bed.url(ticket), None))


def test_a_lost_ticket_is_renewed(bed: Bed, image: Path) -> None:
    server = bed.serve(image)
    first = bed.ticket(server.url, SIZE)
    renewed: list[str] = []

    def renew() -> Urls:
        renewed.append(bed.ticket(server.url, SIZE))
        return Urls(bed.url(renewed[-1]), None)

    lease = bed.lease(first, renew=renew)
    reader = Source(lease, SIZE).open()
    stream = reader.read(0, views(*[4 * MiB] * 2))
    got = bytes(next(stream))
    bed.daemon.restart()  # a crash: the daemon forgets its tickets
    got += b"".join(map(bytes, stream))
    got += b"".join(map(bytes, reader.read(8 * MiB, views(4 * MiB))))
    reader.close()
    assert got == bed.raw(image)[: 12 * MiB]
    assert len(renewed) == 1
    assert lease.renewals == 1
    assert reader.resumes >= 1


def test_the_proxy_is_used_when_the_host_cannot_be_reached(bed: Bed, image: Path) -> None:
    ticket = bed.ticket(bed.serve(image).url, SIZE)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = int(unused.getsockname()[1])
    lease = bed.lease(ticket, urls=Urls(bed.url(ticket, closed), bed.url(ticket)))
    assert lease.method == f"proxy localhost:{bed.daemon.port}"
    data, _ = read(Source(lease, SIZE), 0, [SIZE])
    assert data == bed.raw(image)


def test_the_unix_socket_is_preferred_where_it_knows_the_ticket(bed: Bed, image: Path) -> None:
    ticket = bed.ticket(bed.serve(image).url, SIZE)
    lease = bed.lease(ticket, use_socket=True)
    assert lease.method == f"unix socket {bed.daemon.data_path}"
    data, _ = read(Source(lease, SIZE), 0, [SIZE])
    assert data == bed.raw(image)


def test_a_wrong_ca_is_told_as_such(bed: Bed, image: Path, tmp_path: Path) -> None:
    from ovirtbox.pki import make_pki

    other = make_pki(tmp_path / "other")
    ticket = bed.ticket(bed.serve(image).url, SIZE)
    with pytest.raises(CertificateError, match="localhost"):
        bed.lease(ticket, ca_file=str(other.ca_file))


def test_dirty_extents_and_their_absence(bed: Bed, image: Path) -> None:
    subprocess.run(["qemu-img", "bitmap", "--add", image, "cp1"], check=True)
    writes = ["-c", "write -q -P 7 1M 64k", "-c", "write -q -z 8M 1M"]
    subprocess.run(["qemu-io", "-f", "qcow2", *writes, image], check=True)
    dirty = bed.lease(bed.ticket(bed.serve(image, bitmap="cp1").url, SIZE, dirty=True))
    found = [e for e in Source(dirty, SIZE).extents("dirty") if e.dirty]
    assert found == [Extent(MiB, 65536, False, True), Extent(8 * MiB, MiB, True, True)]
    plain = bed.lease(bed.ticket(bed.serve(image).url, SIZE))
    with pytest.raises(CheckpointLost, match="no dirty extents"):
        list(Source(plain, SIZE).extents("dirty"))


def test_extents_past_the_disk_are_told_and_short_ones_refused(bed: Bed) -> None:
    image = bed.image(SIZE, {SIZE - MiB: noise(9, MiB)}, "raw")
    lease = bed.lease(bed.ticket(bed.serve(image).url, SIZE))
    extents = list(Source(lease, SIZE - 12345).extents("zero"))
    assert extents[-1].end == SIZE  # a disk that grew must not be cut off: who lays them out decides
    with pytest.raises(TransferFailed, match=f"end at byte {SIZE} of {SIZE + MiB}"):
        list(Source(lease, SIZE + MiB).extents("zero"))


def test_no_more_than_eight_connections(bed: Bed, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("borg_ovirt.ovirt.data.transfer_session.CONNECT_TIMEOUT", 0.3)
    lease = bed.lease(bed.ticket(bed.serve(image).url, SIZE))
    wires = [lease.dial() for _ in range(8)]
    with pytest.raises(TransferFailed, match="More than 8"):
        lease.dial()
    lease.touch()  # all places taken: the ticket is not idle, and nothing may hang
    lease.hang_up(wires[0])
    lease.hang_up(lease.dial())


def test_closing_the_source_frees_a_reader_that_waits(bed: Bed) -> None:
    size = 64 * MiB
    image = bed.image(size, {0: noise(4, size)}, "raw")
    source = Source(bed.lease(bed.ticket(bed.serve(image).url, size)), size)
    outcome: list[BaseException | bytes] = []
    started = threading.Event()

    def work() -> None:
        try:
            for _ in source.open().read(0, views(*[MiB] * 64)):
                started.set()
                source_closed.wait(10)
        except TransferFailed as error:
            outcome.append(error)

    source_closed = threading.Event()
    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(10)
    source.close()
    source_closed.set()
    thread.join(20)
    assert not thread.is_alive()
    assert "was closed" in str(outcome[0])


def test_leaving_a_read_early_does_not_spoil_the_next(bed: Bed, image: Path) -> None:
    reader = Source(bed.lease(bed.ticket(bed.serve(image).url, SIZE)), SIZE).open()
    stream = reader.read(0, views(*[MiB] * 20))
    next(stream)
    stream.close()
    data = b"".join(map(bytes, reader.read(7 * MiB, views(MiB))))
    reader.close()
    assert data == PIECES[7 * MiB][:MiB]


# -- writing -------------------------------------------------------------------------------------------


def test_writes_zeros_flushes_and_reads_back(bed: Bed) -> None:
    image = bed.image(SIZE, {0: noise(5, SIZE)})
    target = Target(bed.lease(bed.ticket(bed.serve(image, writable=True).url, SIZE, "write")), SIZE)
    wanted = bytearray(noise(5, SIZE))
    a, b = noise(6, 4 * MiB), noise(7, 12345)
    writer = target.open()
    writer.write(3 * MiB, [memoryview(a), memoryview(b)])
    wanted[3 * MiB : 7 * MiB + 12345] = a + b
    writer.zero(10 * MiB, 5 * MiB + 512)
    wanted[10 * MiB : 15 * MiB + 512] = bytes(5 * MiB + 512)
    writer.flush()
    writer.close()
    reader = target.open_reader()
    assert b"".join(map(bytes, reader.read(0, views(SIZE)))) == bytes(wanted)
    reader.close()
    assert target.export_size() == SIZE
    assert target.max_writers == 8
    target.close()
    bed.clear()
    assert bed.raw(image) == bytes(wanted)


def test_checksum_is_the_hash_of_block_hashes(bed: Bed) -> None:
    image = bed.image(SIZE, {MiB: noise(8, 2 * MiB)})
    truth = bed.raw(image)
    target = Target(bed.lease(bed.ticket(bed.serve(image, writable=True).url, SIZE, "write")), SIZE)
    outer = hashlib.sha256()
    for start in range(0, SIZE, 4 * MiB):
        outer.update(hashlib.sha256(truth[start : start + 4 * MiB]).digest())
    assert target.checksum("sha256", 4 * MiB) == outer.hexdigest()


def test_a_cut_upload_is_repeated(bed: Bed) -> None:
    image = bed.image(SIZE, {})
    ticket = bed.ticket(bed.serve(image, writable=True).url, SIZE, "write")
    relay = Cutter(bed.daemon.port, [1 << 30, 3000])
    target = Target(bed.lease(ticket, urls=Urls(bed.url(ticket, relay.port), None)), SIZE)
    data = noise(10, 16 * MiB)
    writer = target.open()
    for offset in range(0, 16 * MiB, MiB):
        writer.write(offset, [memoryview(data)[offset : offset + MiB]])
    writer.flush()
    writer.close()
    relay.close()
    bed.clear()
    assert bed.raw(image)[: 16 * MiB] == data
    assert relay.made >= 3


def test_a_refused_write_says_why_at_once(bed: Bed) -> None:
    image = bed.image(SIZE, {})
    ticket = bed.ticket(bed.serve(image, writable=True).url, SIZE - MiB, "write")
    writer = Target(bed.lease(ticket), SIZE).open()
    with pytest.raises(TransferFailed, match="416"):
        writer.write(SIZE - MiB, [memoryview(bytes(MiB))])
    writer.close()


def test_a_full_domain_ends_in_an_error(bed: Bed) -> None:
    image = bed.image(SIZE, {})
    server = bed.serve(image, writable=True, broken_writes=True)
    writer = Target(bed.lease(bed.ticket(server.url, SIZE, "write")), SIZE).open()
    with pytest.raises(TransferFailed, match="broke"):
        writer.write(0, [memoryview(noise(1, MiB))])
    writer.close()


def test_a_lost_upload_ticket_is_renewed(bed: Bed) -> None:
    image = bed.image(SIZE, {})
    server = bed.serve(image, writable=True)

    def renew() -> Urls:
        return Urls(bed.url(bed.ticket(server.url, SIZE, "write")), None)

    ticket = bed.ticket(server.url, SIZE, "write")
    lease = TransferSession(
        "disk test",
        Urls(bed.url(ticket), None),
        ca_file=str(bed.pki.ca_file),
        renew=renew,
        persistence=QUICK,
        use_socket=False,
    )
    lease.open()
    writer = Target(lease, SIZE).open()
    first, second = noise(11, MiB), noise(12, MiB)
    writer.write(0, [memoryview(first)])
    bed.daemon.remove_ticket(ticket)
    writer.write(MiB, [memoryview(second)])
    writer.flush()
    writer.close()
    bed.clear()
    assert bed.raw(image)[: 2 * MiB] == first + second
    assert lease.renewals == 1
