"""What is wrong with a certificate is told as what it is: by login, SDK, doctor, data connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from ovirt_bed import PATIENCE, QUICK
from ovirtbox.box import Box, DiskSpec
from ovirtbox.pki import Pki, make_pki

from borg_ovirt.errors import CertificateError
from borg_ovirt.ovirt.capture.image import capture_image
from borg_ovirt.ovirt.data import ways
from borg_ovirt.ovirt.data.transfer_session import TransferSession, Urls
from borg_ovirt.ovirt.facts.vm import find_vm
from borg_ovirt.ovirt.session import sso
from borg_ovirt.ovirt.session.ca import engine_certificate_end
from borg_ovirt.ovirt.session.certificate import certificate_end
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.journal import Journal

CASES = {
    "has expired": {"from_days": -20, "to_days": -10},
    "is not yet valid": {"from_days": 10, "to_days": 20},
    "is for another name": {"name": "engine.example.org"},
    "was not signed by the CA given": {},
}


@contextlib.contextmanager
def server(pki: Pki) -> Iterator[int]:
    """Somebody who can do the TLS handshake with that certificate, and no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.cert_file, pki.key_file)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
                secure.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize("trouble", CASES)
def test_each_trouble_is_told_as_what_it_is(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki = make_pki(tmp_path / "server", **CASES[trouble])  # type: ignore[arg-type]
    other = make_pki(tmp_path / "other")
    ca_file = other.ca_file if "signed" in trouble else pki.ca_file
    with server(pki) as port:
        url = f"https://localhost:{port}/ovirt-engine/api"
        access = EngineAccess(url, "admin@internal", "x", ca_file)
        with pytest.raises(CertificateError, match=trouble):
            Engine(access, patience=PATIENCE).__enter__()
        with pytest.raises(CertificateError, match=trouble):
            engine_certificate_end(url, str(ca_file))
        with pytest.raises(CertificateError, match=trouble):
            certificate_end("localhost", port, str(ca_file))
        lease = TransferSession(
            "disk", Urls(f"https://localhost:{port}/images/x", None), ca_file=str(ca_file), persistence=QUICK
        )
        with pytest.raises(CertificateError, match=trouble):
            lease.open()
        monkeypatch.setattr(sso, "log_in", lambda *_: "token")
        with pytest.raises(CertificateError, match=trouble):  # the SDK, where the login was not asked
            Engine(access, patience=PATIENCE).__enter__()


@pytest.mark.parametrize("proxy", [True, False], ids=["proxy", "no proxy"])
@pytest.mark.parametrize("running", [True, False], ids=["up", "down"])
def test_a_hosts_certificate_is_looked_at_before_anything_starts(
    box: Box,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    running: bool,
    proxy: bool,
) -> None:
    """Where no host is trusted, and the proxy neither, the backup is refused with nothing made."""
    name = f"untrusted-{running}-{proxy}"
    box.make_vm(name, [DiskSpec(1 << 20)], running=running)
    good = urlsplit(box.engine.data.proxy.url).port
    with server(make_pki(tmp_path / "other")) as port:
        monkeypatch.setattr(ways, "_host_port", lambda _: port)
        monkeypatch.setattr(ways, "PROXY_PORTS", (port, good) if proxy else (port, 1))
        facts = find_vm(engine, name)
        with Journal(tmp_path / "state", engine.instance_id) as journal:

            def back_up() -> None:
                with capture_image(engine, facts, facts.disks, journal=journal, description="x") as captured:
                    captured.finish()
                captured.wait_merge()

            if proxy:
                back_up()
                assert "come through the engine's proxy" in caplog.text
            else:
                begun = len(box.world.backups)
                with pytest.raises(CertificateError, match=r"was not signed by the CA given.*put both CAs"):
                    back_up()
                assert len(box.world.backups) == begun


def test_the_port_of_hosts_is_the_engines(box: Box, engine: Engine) -> None:
    assert ways._host_port(engine) == box.engine.data.host.port
    box.inject.status("GET", "/options/*", 403)
    assert ways._host_port(engine) == 0


def test_a_ca_file_without_a_certificate_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing\n")
    access = EngineAccess("https://localhost:1", "admin@internal", "x", empty)
    with pytest.raises(CertificateError, match="holds no certificate that can be used"):
        Engine(access).__enter__()
