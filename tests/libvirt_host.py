"""libvirt as a host has it, without a daemon: its schema, its QEMU driver, and a domain that runs.

The QEMU driver is embedded into `virsh` and `virt-qemu-run` (drvqemu.html, "embedded driver"). For root it
wants users that only the daemon's package makes, so it runs as nobody then.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as Plain
from xml.etree.ElementTree import Element

_NOBODY = 65534


@contextmanager
def open_place() -> Iterator[Path]:
    """A directory that others may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="libvirt-", dir="/tmp") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


def boot_sector(text: bytes) -> bytes:
    """A disk's first sector: prints the text on the first serial line, and stops."""
    code = bytes.fromhex("fc31c08ed8be167cbaf803ac84c07403eeebf8f4ebfd") + text + b"\0"
    assert code[6:8] == (0x7C00 + 22).to_bytes(2, "little")
    return code.ljust(510, b"\0") + b"\x55\xaa"


def valid(domain: Path) -> None:
    """libvirt's own schema takes it."""
    done = subprocess.run(["virt-xml-validate", str(domain)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def define(domain: bytes, place: Path) -> Element:
    """libvirt's QEMU driver takes it; as it keeps it. Emulated, since a test's host may have no KVM."""
    file = _emulated(domain, place)
    uri = f"qemu:///embed?root={place / 'libvirt'}"
    uuid = Plain.fromstring(domain).findtext("uuid")
    done = _run(["virsh", "-q", "-c", uri, f"define {file}; dumpxml {uuid}"], place)
    assert done.returncode == 0, done.stdout + done.stderr
    return Plain.fromstring(done.stdout[done.stdout.index("<domain") :])


def first_words(domain: bytes, place: Path, wanted: bytes) -> bytes:
    """Start the domain and wait until its serial line has said so."""
    root = Plain.fromstring(domain)
    said = place / "serial"
    said.touch()
    devices = root.find("devices")
    assert devices is not None
    for port in [*devices.findall("serial"), *devices.findall("console")]:
        devices.remove(port)
    port = Plain.SubElement(devices, "serial", type="file")
    Plain.SubElement(port, "source", path=str(said))
    settings = place / "run" / "etc" / "qemu.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text('stdio_handler = "file"\n')  # virtlogd is another daemon
    file = _emulated(Plain.tostring(root), place)
    command = ["virt-qemu-run", "--root", str(place / "run"), str(file)]
    with (place / "told").open("wb") as told, _start(command, place, told) as process:
        deadline = time.monotonic() + 60
        while wanted not in said.read_bytes() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
    assert wanted in said.read_bytes(), (place / "told").read_text()
    return said.read_bytes()


def _emulated(domain: bytes, place: Path) -> Path:
    root = Plain.fromstring(domain)
    root.set("type", "qemu")
    file = place / "emulated.xml"
    file.write_bytes(Plain.tostring(root))
    if os.geteuid() == 0:
        for path in (place, *place.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)
    return file


def _run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=_env(place), user=_user()
    )


def _start(command: list[str], place: Path, told: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=told, stderr=told, env=_env(place), user=_user())  # type: ignore


def _env(place: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(place), "XDG_RUNTIME_DIR": str(place), "XDG_CACHE_HOME": str(place)}


def _user() -> int | None:
    return _NOBODY if os.geteuid() == 0 else None
