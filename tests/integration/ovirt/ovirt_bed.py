"""A real imageio daemon and qemu-nbd, without an engine; and what else the tests of this directory share."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import subprocess
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ovirtbox.imageio import Imageio
from ovirtbox.nbd import NbdServer, start_nbd
from ovirtbox.pki import Pki, make_pki

from borg_ovirt.ovirt.capture.capture import Capture, CapturedDisk
from borg_ovirt.ovirt.capture.chain import capture_chain
from borg_ovirt.ovirt.capture.image import capture_image
from borg_ovirt.ovirt.data.imageio import Source
from borg_ovirt.ovirt.data.transfer_session import Persistence, TransferSession, Urls
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.waiting import Patience

MiB = 1 << 20
QUICK = Persistence(attempts=6, first=0.05, most=0.4)


class Bed:
    """The daemon, and a ticket for each image that a test makes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pki: Pki = make_pki(root / "pki")
        (root / "host").mkdir()
        self.daemon = Imageio(root / "host", self.pki, data_socket=True)
        self.daemon.launch()
        self.daemon.wait_ready()
        self.servers: list[NbdServer] = []

    def image(self, size: int, pieces: dict[int, bytes], image_format: str = "qcow2") -> Path:
        """An image with some pieces written."""
        path = self.root / f"{uuid.uuid4()}.{image_format}"
        subprocess.run(["qemu-img", "create", "-q", "-f", image_format, path, str(size)], check=True)
        for offset, data in pieces.items():
            piece = self.root / "piece"
            piece.write_bytes(data)
            command = f"write -s {piece} {offset} {len(data)}"
            subprocess.run(
                ["qemu-io", "-f", image_format, "-c", command, path], check=True, stdout=subprocess.DEVNULL
            )
        return path

    def raw(self, image: Path) -> bytes:
        """The guest-visible bytes of an image, as qemu-img sees them."""
        out = self.root / "raw"
        source_format = image.suffix[1:]
        subprocess.run(["qemu-img", "convert", "-f", source_format, "-O", "raw", image, out], check=True)
        return out.read_bytes()

    def serve(self, image: Path, **options: Any) -> NbdServer:
        server = start_nbd(self.root, uuid.uuid4().hex[:8], image, image.suffix[1:], **options)
        self.servers.append(server)
        return server

    def ticket(self, url: str, size: int, ops: str = "read", **more: Any) -> str:
        ticket = {"uuid": str(uuid.uuid4()), "url": url, "size": size, "ops": [ops], "timeout": 300}
        self.daemon.add_ticket({**ticket, "inactivity_timeout": 60, "sparse": True, **more})
        return str(ticket["uuid"])

    def url(self, ticket: str, port: int | None = None) -> str:
        return f"https://localhost:{port or self.daemon.port}/images/{ticket}"

    def lease(self, ticket: str, **options: Any) -> TransferSession:
        """A lease on the ticket over TLS, opened."""
        urls = options.pop("urls", None) or Urls(self.url(ticket), None)
        options = {"ca_file": str(self.pki.ca_file), "persistence": QUICK, "use_socket": False, **options}
        lease = TransferSession("disk test", urls, **options)
        lease.open()
        return lease

    def close(self) -> None:
        self.clear()
        self.daemon.stop()

    def clear(self) -> None:
        for server in self.servers:
            server.stop()
        self.servers.clear()


class Cutter:
    """A TCP relay that cuts each of its first connections after so many bytes from the server."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._target = port
        self._cuts = list(cuts)
        self.made = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.made += 1
            limit = self._cuts.pop(0) if self._cuts else 1 << 60
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._pump, args=(client, server, 1 << 60), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, limit), daemon=True).start()

    @staticmethod
    def _pump(source: socket.socket, sink: socket.socket, limit: int) -> None:
        try:
            while limit > 0:
                data = source.recv(min(65536, limit))
                if not data:
                    break
                sink.sendall(data)
                limit -= len(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


def noise(seed: int, length: int) -> bytes:
    """Bytes that no compression or zero detection can take for anything else."""
    return random.Random(seed).randbytes(length)


PATIENCE = Patience(
    engine=20, lock=20, ovf=5, start=30, end=30, snapshot=30, merge=30, machine=30, unclear=3, unwind=10
)


@contextmanager
def opened_image(engine: Engine, vm: VmFacts, disks: Sequence[DiskFacts], **more: Any) -> Iterator[Capture]:
    """A capture in image mode, every disk open."""
    with capture_image(engine, vm, disks, **{"description": "x", **more}) as captured:
        captured.open(layer for disk in captured.disks for layer in disk.layers)
        yield captured


@contextmanager
def opened_chain(engine: Engine, vm: VmFacts, disks: Sequence[DiskFacts], **more: Any) -> Iterator[Capture]:
    """A capture in chain mode, the base of each disk open: one layer of a disk at a time."""
    with capture_chain(engine, vm, disks, **{"description": "x", **more}) as captured:
        captured.open(disk.layers[0] for disk in captured.disks)
        yield captured


def source_of(disk: CapturedDisk) -> Source:
    """The bytes of a disk in image mode."""
    (layer,) = disk.layers
    assert layer.source is not None
    return layer.source


def digests(captured: Capture) -> dict[str, str]:
    """What every layer holds, by what its transfer is called."""
    layers = [layer for disk in captured.disks for layer in disk.layers]
    return {x.request.name: digest(x.source) for x in layers if x.source is not None}


def digest(source: Source) -> str:
    """The sha256 of a whole disk, read in runs of eight cells of 1 MiB."""
    reader = source.open()
    cells = [memoryview(bytearray(MiB)) for _ in range(8)]
    found = hashlib.sha256()
    position = 0
    while position < source.size:
        views, left = [], source.size - position
        for cell in cells:
            if left > 0:
                views.append(cell[: min(left, MiB)])
                left -= len(views[-1])
        for view in reader.read(position, views):
            found.update(view)
            position += len(view)
    reader.close()
    return found.hexdigest()


def dirty(source: Source) -> list[tuple[int, int]]:
    """Start and length of what changed."""
    return [(e.start, e.length) for e in source.extents("dirty") if e.dirty]
