"""Answers that come in drops, each in time, end all the same: no run hangs on one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import EngineUnreachable, TransferFailed
from borg_ovirt.ovirt.data import answers, imageio, imageio_connection
from borg_ovirt.ovirt.data.imageio import Source
from borg_ovirt.ovirt.data.imageio_connection import Address, Broken, ImageioConnection
from borg_ovirt.ovirt.data.transfer_session import Persistence, TransferSession, Urls
from borg_ovirt.ovirt.session import web
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.waiting import Patience

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 900000\r\n\r\n"
LONG = 60.0
"""Seconds within which all that is here is over by far."""


class Dripping:
    """A server that says its first words at once, and then one byte after the other for ever."""

    def __init__(self, at_once: bytes, drops: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._said = at_once, drops
        self._over = threading.Event()
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=(client,), daemon=True).start()

    def _drip(self, client: socket.socket) -> None:
        at_once, drops = self._said
        with client, contextlib.suppress(OSError):
            client.recv(65536)
            client.sendall(at_once)
            while not self._over.wait(0.01):
                client.sendall(drops)

    def close(self) -> None:
        self._over.set()
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[bytes, bytes], Dripping]]:
    made: list[Dripping] = []

    def make(at_once: bytes, drops: bytes = b" ") -> Dripping:
        made.append(Dripping(at_once, drops))
        return made[-1]

    yield make
    for server in made:
        server.close()


@contextlib.contextmanager
def ends() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < LONG


def connect(server: Dripping) -> ImageioConnection:
    return ImageioConnection(
        Address("direct", "127.0.0.1", server.port, False, "/images/x"), ssl.create_default_context()
    )


@pytest.mark.parametrize("at_once", [b"", b"HTTP/1.1 200 OK\r\nX: ", HEAD], ids=["nothing", "head", "body"])
def test_a_short_answer_of_the_daemon(serve: Callable[..., Dripping], at_once: bytes) -> None:
    connection = connect(serve(at_once, b"x"))
    with ends(), pytest.raises(Broken):
        connection.drain(connection.send("OPTIONS", timeout=0.3))


@pytest.fixture
def session(
    serve: Callable[..., Dripping], monkeypatch: pytest.MonkeyPatch
) -> Callable[[bytes, bytes], TransferSession]:
    monkeypatch.setattr(imageio_connection, "DATA_TIMEOUT", 0.3)
    monkeypatch.setattr(
        ImageioConnection.send,
        "__kwdefaults__",
        {**(ImageioConnection.send.__kwdefaults__ or {}), "timeout": 0.3},
    )

    def make(at_once: bytes, drops: bytes) -> TransferSession:
        url = f"http://127.0.0.1:{serve(at_once, drops).port}/images/x"
        found = TransferSession(
            "disk web01",
            Urls(url, None),
            ca_file=None,
            persistence=Persistence(2, 0.0, 0.0),
            use_socket=False,
        )
        found._addresses = found._candidates()
        return found

    return make


def test_the_bytes_of_a_disk(session: Callable[[bytes, bytes], TransferSession]) -> None:
    head = HEAD.replace(b"200 OK", b"206 Partial Content")
    reader = Source(session(head, b"x"), 900000).open()
    with ends(), pytest.raises(TransferFailed, match="no progress"):
        list(reader.read(0, [memoryview(bytearray(900000))]))


@pytest.mark.parametrize("drops", [b" ", b"[", b'{"a":'])
def test_a_list_of_extents(session: Callable[[bytes, bytes], TransferSession], drops: bytes) -> None:
    with ends(), pytest.raises(TransferFailed, match="no progress"):
        list(Source(session(HEAD + b"[", drops), 1 << 40).extents("zero"))


def test_what_comes_at_a_pace_is_read_to_its_end(
    serve: Callable[..., Dripping], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than the timeout in all: the bytes count, and not the time."""
    monkeypatch.setattr(imageio_connection, "_LEAST", 10)
    connection = connect(serve(HEAD.replace(b"900000", b"100"), b"x" * 2))
    assert connection.drain(connection.send("GET", timeout=0.3)) == b"x" * 100


def test_a_list_of_blanks() -> None:
    with pytest.raises(TransferFailed, match="blank"):
        list(answers.extents(lambda size: b"[" + b" " * size, "disk web01"))


def test_extents_may_stand_apart() -> None:
    blocks = iter([b"[", b" " * 60_000, b'{"start": 0, "length": 9, "zero": true}', b" " * 60_000, b"]"])
    assert list(answers.extents(lambda _: next(blocks), "disk")) == [Extent(0, 9, True)]


@pytest.mark.parametrize("at_once", [b"HTTP/1.1 200 OK\r\nX: ", HEAD], ids=["head", "body"])
def test_the_login_page(
    serve: Callable[..., Dripping], at_once: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "CONNECT_TIMEOUT", 0.2)
    url = f"http://127.0.0.1:{serve(at_once, b'x').port}/x"
    with ends(), pytest.raises(EngineUnreachable, match="No answer in time"):
        web.ask(url, ca_file=None, timeout=0.3, form={})


def test_the_api(serve: Callable[..., Dripping]) -> None:
    url = f"http://127.0.0.1:{serve(HEAD + b'<vms>').port}/ovirt-engine/api"
    engine = Engine(EngineAccess(url, "u", "p", timeout=1), patience=Patience(engine=0.0))
    engine._token = "t"
    with ends(), pytest.raises(EngineUnreachable, match="no answer in time"):
        engine.call("list the VMs", lambda s: s.vms_service().list())


def test_the_daemon_is_given_time_to_begin_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none to go on with it."""
    asked: list[object] = []

    class Connection:
        def send(self, *_: object, timeout: float) -> object:
            asked.append(timeout)
            return self

        def hurry(self) -> None:
            asked.append("hurry")

        def read(self, size: int) -> bytes:
            return b"[]"

    assert list(imageio._extents(Connection(), "disk")) == []  # type: ignore[arg-type]
    assert asked == [imageio.SLOW_TIMEOUT, "hurry"]
