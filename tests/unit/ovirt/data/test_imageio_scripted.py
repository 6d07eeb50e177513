"""The data connection against a daemon that answers as told: every byte counted, no ticket shown."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator

import pytest
from unit.ovirt.script import HANG_UP, Answer, Request, Script, as_json

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import CheckpointLost, TransferFailed
from borg_ovirt.ovirt.data import transfer_session
from borg_ovirt.ovirt.data.imageio import Source, Target, export_size
from borg_ovirt.ovirt.data.imageio_connection import TicketGone
from borg_ovirt.ovirt.data.transfer_session import MAX_CONNECTIONS, Persistence, TransferSession, Urls

TICKET = "/images/0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "/images/7c9e6679-7425-40de-944b-e07fc1f90ae7"
FEATURES = as_json({"features": ["extents", "zero", "flush", "checksum"], "max_readers": 8, "max_writers": 4})
STUBBORN = Persistence(attempts=4, first=0.001, most=0.002)
DATA = bytes(range(250)) * 4

Open = Callable[..., TransferSession]


@pytest.fixture
def daemon(script: Script) -> Script:
    """A daemon with one ticket for `DATA`, of which it gives what is asked for."""
    for ticket in (TICKET, OTHER):
        script.on("OPTIONS", ticket, FEATURES)
        script.on("GET", ticket, give())
    return script


@pytest.fixture
def open_session(daemon: Script) -> Iterator[Open]:
    made: list[TransferSession] = []

    def open_(**options: object) -> TransferSession:
        facts = {"ca_file": None, "persistence": STUBBORN, "use_socket": False, **options}
        urls = facts.pop("urls", Urls(daemon.url + TICKET, None))
        session = TransferSession("disk root", urls, **facts)  # type: ignore[arg-type]
        made.append(session)
        session.open()
        return session

    yield open_
    for session in made:
        session.close()


def span(request: Request) -> tuple[int, int]:
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"])
    assert found
    return int(found[1]), int(found[2]) + 1


def give(*, most: int | None = None, more: int = 0) -> Callable[[Request], Answer]:
    """The bytes that are asked for; at most so many of them, or so many more."""

    def answer(request: Request) -> Answer:
        start, end = span(request)
        wanted = DATA[start : end + more]
        return Answer(206, wanted[:most], "application/octet-stream", length=len(wanted))

    return answer


def read(source: Source, start: int = 0, end: int = len(DATA)) -> tuple[bytes, int]:
    """Bytes in pieces of 100, and how often a connection was taken up again."""
    reader = source.open()
    views = [memoryview(bytearray(min(100, end - at))) for at in range(start, end, 100)]
    try:
        found = b"".join(bytes(view) for view in reader.read(start, views))
    finally:
        reader.close()
    return found, reader.resumes


def test_bytes_in_one_request(daemon: Script, open_session: Open) -> None:
    assert read(Source(open_session(), len(DATA)), 50, 650) == (DATA[50:650], 0)
    assert [span(r) for r in daemon.asked("GET")] == [(50, 650)]


def test_a_body_that_ends_early_is_taken_up_at_the_next_byte(daemon: Script, open_session: Open) -> None:
    daemon.on("GET", TICKET, give(most=333), give(most=333), give())
    assert read(Source(open_session(), len(DATA))) == (DATA, 2)
    assert [span(r)[0] for r in daemon.asked("GET")] == [0, 333, 666]


def test_attempts_without_a_byte_are_counted_and_end(daemon: Script, open_session: Open) -> None:
    """Each byte that moves starts the count again."""
    away = [Answer(500, "no storage", "text/plain")] * 2
    daemon.on("GET", TICKET, give(most=333), *away, give(most=333), *away, give())
    assert read(Source(open_session(), len(DATA))) == (DATA, 6)
    daemon.on("GET", TICKET, Answer(500, "no storage", "text/plain"))
    with pytest.raises(TransferFailed, match="4 attempts made no progress") as caught:
        read(Source(open_session(), len(DATA)))
    assert TICKET not in str(caught.value)


@pytest.mark.parametrize("more", [-1, 1])
def test_another_length_than_asked_for_is_no_answer(daemon: Script, open_session: Open, more: int) -> None:
    daemon.on("GET", TICKET, give(more=more))
    with pytest.raises(TransferFailed, match=f"offers {600 + more} bytes .* 600 were asked for"):
        read(Source(open_session(), len(DATA)), 0, 600)


def test_a_refusal_is_told_at_once_without_the_ticket(daemon: Script, open_session: Open) -> None:
    said = f"ticket {TICKET.rsplit('/', 1)[1]} may not be read"
    daemon.on("GET", TICKET, Answer(405, said, "text/plain"))
    with pytest.raises(TransferFailed, match="may not be read") as caught:
        read(Source(open_session(), len(DATA)))
    assert TICKET.rsplit("/", 1)[1] not in str(caught.value)
    assert len(daemon.asked("GET")) == 1


def test_a_lost_ticket_is_renewed_once_for_all(daemon: Script, open_session: Open) -> None:
    daemon.on("GET", TICKET, Answer(403, "unknown ticket", "text/plain"))
    renewed: list[int] = []

    def renew() -> Urls:
        renewed.append(1)
        return Urls(daemon.url + OTHER, None)

    session = open_session(renew=renew)
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(read(Source(session, len(DATA)))[0])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 4
    assert (len(renewed), session.renewals, session.generation) == (1, 1, 1)


def test_a_lost_ticket_that_cannot_be_renewed_ends_it(daemon: Script, open_session: Open) -> None:
    daemon.on("GET", TICKET, Answer(403, "unknown ticket", "text/plain"))
    with pytest.raises(TransferFailed, match="ended too early"):
        read(Source(open_session(), len(DATA)))


def test_the_proxy_is_used_where_the_host_cannot_be_reached(daemon: Script, open_session: Open) -> None:
    session = open_session(urls=Urls(f"http://127.0.0.1:1{TICKET}", daemon.url + OTHER))
    assert session.method.startswith("proxy 127.0.0.1:")
    assert read(Source(session, len(DATA))) == (DATA, 0)
    with pytest.raises(TransferFailed, match="gave no address"):
        open_session(urls=Urls(None, None))


def test_no_more_than_eight_connections(open_session: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_session, "CONNECT_TIMEOUT", 0.05)
    session = open_session()
    dialled = [session.dial() for _ in range(MAX_CONNECTIONS)]
    with pytest.raises(TransferFailed, match="More than 8 connections"):
        session.dial()
    session.hang_up(dialled.pop())
    session.hang_up(session.dial())
    session.close()
    for connection in dialled:
        session.hang_up(connection)
    with pytest.raises(TransferFailed, match="was closed"):
        session.dial()


def test_a_waiting_ticket_is_touched(daemon: Script, open_session: Open) -> None:
    session = open_session()
    asked = len(daemon.asked("OPTIONS"))
    session.touch()
    assert len(daemon.asked("OPTIONS")) == asked + 1
    assert session.idle < 5
    session.close()
    session.touch()
    assert len(daemon.asked("OPTIONS")) == asked + 1


# -- extents -------------------------------------------------------------------------------------------


def extent(start: int, length: int, zero: bool = False, **more: bool) -> dict[str, object]:
    return {"start": start, "length": length, "zero": zero, **more}


def extents(session: TransferSession, size: int, context: str = "zero") -> list[Extent]:
    return list(Source(session, size).extents(context))


def test_extents_with_their_flags(daemon: Script, open_session: Open) -> None:
    listed = [extent(0, 600), extent(600, 400, zero=True, dirty=False)]
    daemon.on("GET", f"{TICKET}/extents", as_json(listed))
    assert extents(open_session(), 1000, "dirty") == [Extent(0, 600, False), Extent(600, 400, True, False)]
    assert daemon.asked("GET")[0].query == {"context": "dirty"}


def test_a_list_that_breaks_off_goes_on_where_it_broke(daemon: Script, open_session: Open) -> None:
    listed = [extent(0, 300), extent(300, 300, zero=True), extent(600, 400)]
    text = json.dumps(listed)
    cut = Answer(200, text[: text.index('{"start": 600')], "application/json", length=len(text))
    daemon.on("GET", f"{TICKET}/extents", cut, as_json(listed))
    assert extents(open_session(), 1000) == [
        Extent(0, 300, False),
        Extent(300, 300, True),
        Extent(600, 400, False),
    ]


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ([extent(0, 300), extent(400, 600)], "gap at byte 300"),
        ([extent(0, 300), extent(300, 300)], "end at byte 600 of 1000"),
        ([extent(0, 300), {"start": 300, "length": 700}], "does not say whether it is zero"),
        ([extent(0, 1000) | {"zero": "no"}], "does not say whether it is zero"),
        ([extent(0, -1)], "length -1"),
        ([extent(0, 500), extent(500, 0), extent(500, 500)], "is empty"),
        ({"start": 0}, "no list of objects"),
    ],
)
def test_a_list_that_is_none_is_refused(
    daemon: Script, open_session: Open, listed: object, words: str
) -> None:
    daemon.on("GET", f"{TICKET}/extents", as_json(listed))
    with pytest.raises(TransferFailed, match=words):
        extents(open_session(), 1000)


def test_no_record_of_changes_is_a_lost_checkpoint(daemon: Script, open_session: Open) -> None:
    daemon.on("GET", f"{TICKET}/extents", Answer(404, "no dirty context", "text/plain"))
    with pytest.raises(CheckpointLost, match="no dirty extents"):
        extents(open_session(), 1000, "dirty")
    with pytest.raises(TransferFailed, match="No extents"):
        extents(open_session(), 1000, "zero")


def test_the_length_of_a_file_is_where_its_extents_end(daemon: Script, open_session: Open) -> None:
    daemon.on("GET", f"{TICKET}/extents", as_json([extent(0, 300), extent(300, 4096)]), as_json([]))
    session = open_session()
    assert export_size(session) == 4396
    with pytest.raises(TransferFailed, match="offers nothing"):
        export_size(session)


# -- writing -------------------------------------------------------------------------------------------


def test_what_is_written_where(daemon: Script, open_session: Open) -> None:
    daemon.on("PUT", TICKET, Answer())
    daemon.on("PATCH", TICKET, Answer())
    target = Target(open_session(), 1000)
    writer = target.open()
    writer.write(100, [memoryview(b"abc"), memoryview(b"de")])
    writer.write(200, [])
    writer.zero(500, 400)
    writer.flush()
    writer.close()
    (put,) = daemon.asked("PUT")
    assert (put.headers["Content-Range"], put.body, put.query) == (
        "bytes 100-104/*",
        b"abcde",
        {"flush": "n"},
    )
    assert [json.loads(r.body) for r in daemon.asked("PATCH")] == [
        {"op": "zero", "offset": 500, "size": 400, "flush": False},
        {"op": "flush"},
    ]
    assert target.max_writers == 4


def test_a_write_that_broke_is_repeated_and_a_refused_one_is_not(daemon: Script, open_session: Open) -> None:
    daemon.on("PUT", TICKET, HANG_UP, Answer(500), Answer())
    session = open_session()
    writer = Target(session, 1000).open()
    writer.write(0, [memoryview(b"abc")])
    assert [r.body for r in daemon.asked("PUT")] == [b"abc"] * 3
    daemon.on("PUT", TICKET, Answer(416, "out of range", "text/plain"))
    with pytest.raises(TransferFailed, match="out of range"):
        writer.write(900, [memoryview(b"abc")])
    assert len(daemon.asked("PUT")) == 4
    writer.close()


def test_a_flush_that_fails_is_no_flush(daemon: Script, open_session: Open) -> None:
    daemon.on("PATCH", TICKET, Answer(500, "no space left", "text/plain"))
    with pytest.raises(TransferFailed, match="made no progress"):
        Target(open_session(), 1000).open().flush()


def test_the_checksum_where_there_is_one(daemon: Script, open_session: Open) -> None:
    daemon.on("GET", f"{TICKET}/checksum", as_json({"checksum": "ab12"}))
    assert Target(open_session(), 1000).checksum("blake2b", 4096) == "ab12"
    assert daemon.asked("GET")[0].query == {"algorithm": "blake2b", "block_size": "4096"}
    daemon.on("GET", f"{TICKET}/checksum", Answer(405))
    assert Target(open_session(), 1000).checksum("blake2b", 4096) is None
    daemon.on("GET", f"{TICKET}/checksum", as_json({"checksum": 7}))
    with pytest.raises(TransferFailed, match="checksum is no text"):
        Target(open_session(), 1000).checksum("blake2b", 4096)
    daemon.on("OPTIONS", TICKET, as_json({"features": ["extents"]}))
    assert Target(open_session(), 1000).checksum("blake2b", 4096) is None


def test_a_ticket_in_no_error_of_a_connection(daemon: Script, open_session: Open) -> None:
    daemon.on("OPTIONS", TICKET, Answer(403, f"{TICKET.rsplit('/', 1)[1]} is unknown", "text/plain"))
    session = TransferSession(
        "disk root", Urls(daemon.url + TICKET, None), ca_file=None, persistence=STUBBORN, use_socket=False
    )
    session._addresses = session._candidates()
    with session.connection() as connection, pytest.raises(TicketGone) as caught:
        connection.send("OPTIONS")
    assert TICKET.rsplit("/", 1)[1] not in str(caught.value)
    for shown in (repr(Urls(TICKET, TICKET)), repr(session._addresses)):
        assert TICKET not in shown
