"""`python -m bench.least DISK [SOCKET]`: the least that any client of this design must do with a full disk.

It starts a transfer, reads the disk's data over the daemon with as many connections as the product and
requests of the same size, and hashes each chunk as Borg does. Nothing is looked up, stored or written, no
repository is opened, no error is mended: its time is a floor.
"""

from __future__ import annotations

import hmac
import http.client
import json
import os
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import ovirtsdk4
from ovirtsdk4 import types

from bench.data import MIB

CONNECTIONS = 3
FIRST = 8 * MIB
REQUEST = 2 * MIB
CHUNK = 4 * MIB
OVER = (types.ImageTransferPhase.FINISHED_SUCCESS, types.ImageTransferPhase.FINISHED_FAILURE)


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


class Disk:
    """The transfer as a client sees it."""

    def __init__(self, url: str, data_socket: str | None, ca_file: str) -> None:
        parts = urlsplit(url)
        self.path = parts.path
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._socket = data_socket
        self._tls = ssl.create_default_context(cafile=ca_file)

    def connect(self) -> http.client.HTTPConnection:
        if self._socket:
            return _Unix(self._socket)
        return http.client.HTTPSConnection(self._host, self._port, context=self._tls)

    def chunks(self) -> list[tuple[int, int]]:
        """Start and end of the data in each chunk, as the daemon's extents tell."""
        connection = self.connect()
        connection.request("GET", f"{self.path}/extents")
        extents = json.loads(connection.getresponse().read())
        connection.close()
        found = []
        for extent in extents:
            start, end = extent["start"], extent["start"] + extent["length"]
            while start < end:
                stop = min(end, (start // CHUNK + 1) * CHUNK)
                if not extent["zero"]:
                    found.append((start, stop))
                start = stop
        return found


def read_and_hash(disk: Disk, chunks: list[tuple[int, int]]) -> None:
    """All chunks over several connections, after one large request for the sake of QEMU's memory."""
    todo = iter(chunks)
    claiming = threading.Lock()

    def work() -> None:
        connection = disk.connect()
        buffer = memoryview(bytearray(CHUNK))
        while True:
            with claiming:
                start, end = next(todo, (0, 0))
            if start == end:
                return
            filled = 0
            for begin in range(start, end, REQUEST):
                stop = min(begin + REQUEST, end)
                connection.request("GET", disk.path, headers={"Range": f"bytes={begin}-{stop - 1}"})
                response = connection.getresponse()
                wanted = filled + stop - begin
                while filled < wanted:
                    got = response.readinto(buffer[filled:wanted])
                    if not got:
                        raise EOFError("the daemon ended a body early")
                    filled += got
            hmac.digest(bytes(32), buffer[:filled], "sha256")

    first = disk.connect()
    first.request("GET", disk.path, headers={"Range": f"bytes={chunks[0][0]}-{chunks[0][0] + FIRST - 1}"})
    first.getresponse().read()
    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    disk_id, data_socket = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    ca_file = os.environ["BORG_OVIRT_CA_FILE"]
    engine = ovirtsdk4.Connection(
        url=os.environ["BORG_OVIRT_URL"],
        username=os.environ["BORG_OVIRT_USERNAME"],
        password=Path(os.environ["BORG_OVIRT_PASSWORD_FILE"]).read_text().strip(),
        ca_file=ca_file,
    )
    transfers = engine.system_service().image_transfers_service()
    transfer = transfers.add(
        types.ImageTransfer(
            disk=types.Disk(id=disk_id),
            direction=types.ImageTransferDirection.DOWNLOAD,
            format=types.DiskFormat.RAW,
        )
    )
    service = transfers.image_transfer_service(transfer.id)
    try:
        while transfer.phase == types.ImageTransferPhase.INITIALIZING:
            time.sleep(0.02)
            transfer = service.get()
        disk = Disk(transfer.transfer_url, data_socket, ca_file)
        read_and_hash(disk, disk.chunks())
    finally:
        service.finalize()
        while transfer.phase not in OVER:
            time.sleep(0.02)
            transfer = service.get()


if __name__ == "__main__":
    main()
