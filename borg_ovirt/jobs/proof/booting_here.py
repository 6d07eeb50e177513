"""Level boot, without an engine: QEMU runs the disks as `serve` shows them, until the guest is heard.

Its writes go to an overlay that is thrown away. It has no network but for the one port that is asked for,
and that one leads nowhere else.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from borg_ovirt.errors import ProofFailed, RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.proof.booting import BootOptions
from borg_ovirt.jobs.restore.options import ServeOptions
from borg_ovirt.jobs.restore.serve import Export, serve
from borg_ovirt.ovirt.facts.hardware import read_hardware
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import DiskRecord, Manifest
from borg_ovirt.repository.open import Repository

_MOST_MEMORY = 2048
"""MiB: enough to boot with, whatever the VM had."""
_CODE = (
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_CODE.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE.fd",
)
_BUSES = {"virtio": "virtio-blk-pci", "virtio_scsi": "scsi-hd", "sata": "ide-hd", "ide": "ide-hd"}
_TAIL = 200
"""Characters of the serial line that are told of a guest that was not heard."""


def boot_here(repository: Repository, name: str, boot: BootOptions, progress: Progress) -> str:
    """Returns the sign that was seen. None within the time, or a guest that ends before, raises
    `ProofFailed`; what is missing on this machine `RestoreBlocked`.
    """
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None:
        raise RestoreBlocked("QEMU is needed: install qemu-system-x86.")
    if boot.line is None and boot.port is None:
        raise RestoreBlocked("Nothing says how the guest is heard: give --expect-line or --expect-port.")
    reader = repository.archive(name)
    memory = min(read_hardware(reader.ovf).memory, _MOST_MEMORY)
    with (
        tempfile.TemporaryDirectory(prefix="borg-ovirt-boot-") as made,
        serve(repository, name, ServeOptions(write=True), progress) as served,
    ):
        place = Path(made)
        port = _free_port() if boot.port is not None else None
        command = [
            *_ends_with_us(),
            qemu,
            *_machine(reader.manifest, memory),
            *_disks(reader.manifest, served.exports),
            *_wires(place / "serial", boot.port, port),
        ]
        progress.step(f"{name}: starting it in QEMU")
        seen = _Watch(place, boot, port).until_heard(command)
        if served.failed:
            raise ProofFailed("its disks could not be read while it booted")
        return seen


def _ends_with_us() -> Sequence[str]:
    """Whatever kills this process ends the guest, too: nobody else knows of it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _machine(manifest: Manifest, memory: int) -> Iterator[str]:
    firmware = manifest.vm.bios_type or ""
    yield from ("-machine", "pc" if firmware == "i440fx_sea_bios" else "q35")
    yield from ("-accel", "kvm") if os.access("/dev/kvm", os.R_OK | os.W_OK) else ()
    yield from ("-accel", "tcg", "-cpu", "max", "-m", f"{memory}M", "-smp", "2")
    yield from ("-nodefaults", "-display", "none", "-sandbox", "on", "-vga", "std", "-no-user-config")
    if firmware in ("q35_ovmf", "q35_secure_boot"):
        code = next((path for path in _CODE if os.path.exists(path)), None)
        if code is None:
            raise RestoreBlocked("The VM boots by UEFI, and its firmware is not here: install ovmf.")
        yield from ("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}")


def _disks(manifest: Manifest, exports: Sequence[Export]) -> Iterator[str]:
    """The one to boot from first; the raw format is told, for a guest may write any header."""
    uris = {export.id: export.uri.removeprefix("nbd+unix:///?socket=") for export in exports}
    yield from ("-device", "virtio-scsi-pci,id=scsi")
    for number, disk in enumerate(sorted(manifest.disks, key=lambda disk: not disk.bootable)):
        node = f"driver=raw,node-name=disk{number},file.driver=nbd,file.server.type=unix"
        yield from ("-blockdev", f"{node},file.server.path={uris[disk.id].replace(',', ',,')}")
        yield from ("-device", _device(disk, number))


def _device(disk: DiskRecord, number: int) -> str:
    device = _BUSES.get(disk.interface or "", "scsi-hd")
    return f"{device},drive=disk{number},bootindex={number}"


def _wires(serial: Path, guest: int | None, here: int | None) -> Iterator[str]:
    yield from ("-chardev", f"file,id=serial,path={serial}", "-serial", "chardev:serial")
    if guest is not None:
        forward = f"hostfwd=tcp:127.0.0.1:{here}-:{guest}"
        yield from ("-netdev", f"user,id=net,restrict=on,{forward}", "-device", "e1000,netdev=net")
    else:
        yield from ("-nic", "none")


class _Watch:
    """One guest, from its start to its first sign."""

    def __init__(self, place: Path, boot: BootOptions, port: int | None) -> None:
        self._serial = place / "serial"
        self._said = place / "said"
        self._boot = boot
        self._port = port

    def until_heard(self, command: Sequence[str]) -> str:
        deadline = time.monotonic() + self._boot.patience.total_seconds()
        with self._said.open("wb") as said:
            qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            while time.monotonic() < deadline:
                if (sign := self._sign()) is not None:
                    return sign
                if qemu.poll() is not None:
                    raise self._ended()
                time.sleep(0.1)
        finally:
            _end(qemu)
        what = f"the line {self._boot.line!r}" if self._boot.line else f"port {self._boot.port}"
        raise ProofFailed(
            f"{what} was not there within {self._boot.patience.total_seconds():.0f} s{self._tail()}"
        )

    def _sign(self) -> str | None:
        line = self._boot.line
        if line is not None:
            return f"it said {line!r}" if line.encode() in self._read() else None
        return f"port {self._boot.port} is open" if self._port and _is_open(self._port) else None

    def _ended(self) -> Exception:
        """QEMU that says something could not do it; one that is silent was ended by its guest."""
        words = " ".join(self._said.read_text(errors="replace").split())
        if words:
            return RestoreFailed(f"QEMU could not run it: {words}")
        return ProofFailed(f"the guest ended before it was heard{self._tail()}")

    def _read(self) -> bytes:
        with suppress(OSError):
            return self._serial.read_bytes()
        return b""

    def _tail(self) -> str:
        tail = " ".join(self._read().decode(errors="replace").split())[-_TAIL:]
        return f"; its serial line ends with: {tail}" if tail else "; its serial line is silent"


def _is_open(port: int) -> bool:
    """Whether somebody answers. QEMU takes every connection itself, and keeps it while no guest does: so only
    bytes of the guest's count, by itself (SSH, SMTP) or at an empty line (HTTP)."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.settimeout(1)
        with suppress(TimeoutError):
            return bool(connection.recv(1))
        connection.sendall(b"\r\n\r\n")
        return bool(connection.recv(1))
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
