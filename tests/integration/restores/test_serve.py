"""Archived disks over NBD: clients read the archived bytes, and nothing stays behind."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import Box
from ovirtbox.model import Vm
from restored import lose, make


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return make(box, "looked-at")


@contextmanager
def serving(desk: Desk, archive: str, *more: str, code: int = 0) -> Iterator[tuple[dict[str, str], Path]]:
    """The URI of each disk while it is served, and where the sockets are."""
    sockets = desk.root / "nbd"
    command = desk.command("serve", f"{desk.repo}::{archive}", "--socket-dir", str(sockets), *more)
    with subprocess.Popen(
        command, env=desk.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline().split() for _ in range(1 if "--disk" in more else 2)]
            assert all(len(line) == 2 for line in lines), process.communicate()[1]
            yield {line[0]: line[1] for line in lines}, sockets
        finally:
            process.terminate()
            _, told = process.communicate(timeout=30)
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert list(sockets.iterdir()) == []


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("mode", ["image", "chain"])
def test_kept_clients_read_what_is_archived(box: Box, desk: Desk, vm: Vm, tmp_path: Path, mode: str) -> None:
    archive = desk.create(vm, "--mode", mode)["archive"]
    with serving(desk, archive) as (uris, _):
        for disk in box.disks(vm):
            uri = uris[disk.alias]
            truth = box.content(disk)
            compared = run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, str(truth))
            assert compared.returncode == 0, compared.stdout + compared.stderr
            copied, converted = tmp_path / f"{disk.alias}.copy", tmp_path / f"{disk.alias}.qcow2"
            assert run("nbdcopy", uri, str(copied)).returncode == 0
            assert copied.read_bytes() == truth.read_bytes()
            assert run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", uri, str(converted)).returncode == 0
            assert run("qemu-img", "compare", str(converted), str(truth)).stdout == "Images are identical.\n"
            assert run("qemu-io", "-f", "raw", "-c", "write 0 4k", uri).returncode != 0
    with serving(desk, archive, "--write", "--disk", "root") as (uris, _):
        for asked in ("write -P 7 4k 64k", "read -P 7 4k 64k"):
            done = run("qemu-io", "-f", "raw", "-c", asked, uris["root"])
            assert done.returncode == 0, done.stdout + done.stderr
            assert "failed" not in done.stdout
    with serving(desk, archive, "--disk", "root") as (uris, _):
        truth = box.content(box.disks(vm)[0])
        assert run("qemu-img", "compare", "-f", "raw", "-F", "raw", uris["root"], str(truth)).returncode == 0


def test_on_tcp_only_who_has_a_certificate(box: Box, desk: Desk, vm: Vm, tmp_path: Path) -> None:
    archive = desk.create(vm)["archive"]
    tls = certificates(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    more = ["--disk", "root", "--listen", f"127.0.0.1:{port}", "--tls", str(tls)]
    with serving(desk, archive, *more) as (uris, _):
        assert uris["root"] == f"nbds://127.0.0.1:{port}/"
        copied = tmp_path / "copy"
        with_one = run("nbdcopy", f"{uris['root']}?tls-certificates={tls}", str(copied))
        assert with_one.returncode == 0, with_one.stderr
        assert copied.read_bytes() == box.content(box.disks(vm)[0]).read_bytes()
        assert run("nbdinfo", f"nbd://127.0.0.1:{port}/").returncode != 0
        (tmp_path / "none").mkdir()
        (tmp_path / "none" / "ca-cert.pem").write_bytes((tls / "ca-cert.pem").read_bytes())
        assert run("nbdinfo", f"{uris['root']}?tls-certificates={tmp_path / 'none'}").returncode != 0
    assert desk.run("serve", f"{desk.repo}::{archive}", "--listen", "127.0.0.1:1").code == 2
    both = desk.run("serve", f"{desk.repo}::{archive}", *more[2:])
    assert both.code == 40
    assert "a port is for one disk" in both.err


def certificates(place: Path) -> Path:
    """A CA, and one certificate of it for either side."""
    tls = place / "tls"
    tls.mkdir()

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=tls, check=True, capture_output=True)

    key = ["-newkey", "rsa:2048", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca-cert.pem", "-subj", "/CN=ca", "-days", "2")
    (tls / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for side in ("server", "client"):
        openssl("req", *key, "-keyout", f"{side}-key.pem", "-out", "request", "-subj", f"/CN={side}")
        sign = [
            "-CA",
            "ca-cert.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
        ]
        openssl("x509", "-req", "-in", "request", "-out", f"{side}-cert.pem", *sign)
    return tls


def test_what_is_lost_is_an_error_to_the_client_and_told(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    lose(desk, archive, box.disks(vm)[0].id)
    with serving(desk, archive, "--disk", "root", code=1) as (uris, _):
        done = run("qemu-io", "-r", "-f", "raw", "-c", "read 0 64k", uris["root"])
        assert "Input/output error" in done.stdout + done.stderr
        assert "failed" not in run("qemu-io", "-r", "-f", "raw", "-c", "read 8M 64k", uris["root"]).stdout


def test_killed_it_leaves_no_server_and_the_next_goes_on(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    sockets = desk.root / "nbd"
    command = desk.command("serve", f"{desk.repo}::{archive}", "--socket-dir", str(sockets), "--json")
    with subprocess.Popen(command, env=desk.env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "}" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    left = sockets / "root.nbd"
    for _ in range(200):  # it ends by itself, within a moment
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(left)):
                break
        signal.sigtimedwait([], 0.05)
    else:
        raise AssertionError("nbdkit outlives its parent")
    with serving(desk, archive) as (uris, _):
        assert run("nbdinfo", "--size", uris["root"]).returncode == 0


def test_without_nbdkit_one_line_names_the_package(box: Box, desk: Desk, vm: Vm, tmp_path: Path) -> None:
    archive = desk.create(vm)["archive"]
    told = desk.run("serve", f"{desk.repo}::{archive}", PATH=str(tmp_path))
    if told.code != 40:  # it lies in /usr/sbin on some systems, where it is looked for, too
        raise AssertionError(told.err)
    assert "install nbdkit" in told.err
    assert len(told.err.splitlines()) == 1
