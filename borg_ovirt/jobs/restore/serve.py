"""Archived disks as NBD exports, straight from the repository's chunks: nothing is extracted.

nbdkit speaks NBD, one process for each disk; what it asks for comes from this process, the only one that
knows Borg. Of an archive of chains the layers are served so, and qemu-nbd joins them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.jobs.restore.health import doubt, examine
from borg_ovirt.jobs.restore.options import RestoreOptions, ServeOptions
from borg_ovirt.jobs.restore.serve_blocks import BlockService
from borg_ovirt.jobs.restore.wanted import WantedDisk, want
from borg_ovirt.pipe.patched import PatchedContent
from borg_ovirt.pipe.random_access import ChunkCache, RandomAccess
from borg_ovirt.progress import Progress
from borg_ovirt.qcow2 import Patch
from borg_ovirt.repository.open import Repository

_PLUGIN = Path(__file__).with_name("nbdkit_plugin.py")
_NO_BACKING = Patch(8, bytes(12))
"""Place, length of the backing name in a qcow2 header: QEMU is told what lies below, and follows none."""
_LONGEST_SOCKET = 107
_PATIENCE = 30.0
"""Seconds that a server may take to listen."""


@dataclass(frozen=True)
class Export:
    """One disk as it is served."""

    disk: str
    id: str
    size: int
    uri: str


@dataclass
class Served:
    """What is served while it is."""

    archive: str
    exports: list[Export] = field(default_factory=list)
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    failed: bool = False
    """Something could not be read, or is not what was archived; it was told."""

    def wait(self) -> NoReturn:
        """Until a signal ends us; `RestoreFailed` when a server ends by itself."""
        while all(server.poll() is None for server in self.servers):
            time.sleep(0.2)
        raise RestoreFailed("A server ended by itself.")


@contextmanager
def serve(repository: Repository, name: str, options: ServeOptions, progress: Progress) -> Iterator[Served]:
    """Serve the disks of an archive (or of the latest one of a VM) while this is entered."""
    info = find_archive(repository, name)
    reader = repository.archive(info.name)
    chosen = RestoreOptions(
        disks=options.disks, flatten=reader.manifest.mode == "chain", snapshot=options.snapshot
    )
    wanted = want(info.name, reader.manifest, chosen)
    blockers = [*wanted.blockers, *_missing(wanted.disks)]
    if why := doubt(info, name):
        blockers.append(why)
    if any(disk.joined for disk in wanted.disks):  # a header may name other files of this host
        blockers += examine(reader, wanted).faults
    if options.listen and len(wanted.disks) != 1:
        blockers.append("a port is for one disk: choose it with --disk")
    if blockers:
        raise RestoreBlocked(f"Archive {info.name} cannot be served: {'; '.join(blockers)}.")
    served = Served(info.name)
    with ExitStack() as stack:
        ours = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="borg-ovirt-")))
        cache = stack.enter_context(ChunkCache(options.cache))
        contents = {}
        for disk, layer in wanted.layers:
            content = reader.disk(layer.path)
            if content.repaired:
                served.failed = True
                progress.warn(f"disk {disk.name}: `borg check --repair` put zeros in place of lost chunks")
            cell = content.chunks[0].size if len(content.chunks) else 0
            grid = cell if content.chunks.on_grid(cell) else None
            served_as = PatchedContent(content, _NO_BACKING) if layer.format == "cow" else content
            contents[layer.path] = RandomAccess(served_as, cache, grid or None)
        blocks = ours / "blocks"
        stack.enter_context(BlockService(blocks, contents, lambda text: _warn(served, progress, text)))
        place = options.socket_dir or ours
        place.mkdir(parents=True, exist_ok=True)
        starter = _Starter(served, stack, blocks, ours, options)
        for number, disk in enumerate(wanted.disks):
            where = place / f"{_plain_name(disk.name) or disk.record.id}.nbd"
            if any(where.name == f"{_plain_name(d.name)}.nbd" for d in wanted.disks[:number]):
                where = place / f"{disk.record.id}.nbd"
            starter.start(disk, where)
        yield served


def _warn(served: Served, progress: Progress, text: str) -> None:
    served.failed = True
    progress.warn(text)


def _missing(disks: Sequence[WantedDisk]) -> list[str]:
    words = []
    if nbdkit() is None:
        words.append("nbdkit is needed: install nbdkit and nbdkit-plugin-python (or nbdkit-python-plugin)")
    if any(disk.joined for disk in disks) and shutil.which("qemu-nbd") is None:
        words.append("chains need qemu-nbd: install qemu-utils (or qemu-img)")
    return words


def nbdkit() -> str | None:
    """nbdkit, which some systems keep outside of a user's path."""
    return shutil.which("nbdkit") or shutil.which("nbdkit", path="/usr/sbin:/sbin")


def _plain_name(name: str) -> str:
    """What of a disk's name can be a file's."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name).strip(".")[:48]


class _Starter:
    """Starts the servers; leaving the stack ends them, the latest first."""

    def __init__(
        self, served: Served, stack: ExitStack, blocks: Path, ours: Path, options: ServeOptions
    ) -> None:
        self._served = served
        self._stack = stack
        self._blocks = blocks
        self._ours = ours
        self._options = options

    def start(self, disk: WantedDisk, where: Path) -> None:
        options = self._options
        if len(os.fsencode(where)) > _LONGEST_SOCKET:
            raise RestoreBlocked(f"{where} is too long for a socket.", "Choose a shorter --socket-dir.")
        if where.is_socket() and not _listens(where):
            where.unlink()  # of one that was killed
        if os.path.lexists(where):
            raise RestoreBlocked(f"{where} exists already.", "Choose another --socket-dir, or remove it.")
        if not disk.joined:
            self._nbdkit(disk.layers[0].path, where, public=True)
        else:
            node: dict[str, Any] | None = None
            for layer in disk.layers:
                inner = self._ours / f"layer-{layer.image_id}"
                self._nbdkit(layer.path, inner, public=False)
                node = _node(layer.format, layer.capacity, inner, node)
            self._qemu_nbd(json.dumps(node), where)
        uri = f"nbd+unix:///?socket={where}"
        if options.listen:
            uri = f"nbds://{options.listen}/"
        self._served.exports.append(Export(disk.name, disk.record.id, disk.record.size, uri))

    def _nbdkit(self, item: str, where: Path, *, public: bool) -> None:
        options = self._options
        command = [nbdkit() or "nbdkit", "--foreground", "--exit-with-parent"]
        listen = options.listen if public else None
        if listen:
            host, _, port = listen.rpartition(":")
            tls = ["--tls=require", f"--tls-certificates={options.tls}", "--tls-verify-peer"]
            command += [f"--ipaddr={host.strip('[]')}", f"--port={port}", *tls]
        else:
            command += [f"--unix={where}"]
        command += ["--filter=cow"] if public and options.write else ["--readonly"]
        self._run(
            [*command, "python", str(_PLUGIN), f"blocks={self._blocks}", f"item={item}"],
            "--pidfile",
            where,
            listen,
        )

    def _qemu_nbd(self, node: str, where: Path) -> None:
        options = self._options
        command = ["qemu-nbd", "--shared=0", "--persistent"]
        listen = options.listen
        if listen:
            host, _, port = listen.rpartition(":")
            tls = f"tls-creds-x509,id=tls,endpoint=server,dir={options.tls},verify-peer=yes"
            command += [f"--bind={host.strip('[]')}", f"--port={port}", f"--object={tls}", "--tls-creds=tls"]
        else:
            command += [f"--socket={where}"]
        command += ["--snapshot"] if options.write else ["--read-only"]
        self._run([*command, f"json:{node}"], "--pid-file", where, listen)

    def _run(self, command: list[str], pid_option: str, where: Path, listen: str | None) -> None:
        """Start a server, and wait until it listens: that is when it writes its process id."""
        ready = self._ours / f"ready-{len(self._served.servers)}"
        said = ready.with_suffix(".said")
        with said.open("wb") as words:
            server = subprocess.Popen(
                [command[0], f"{pid_option}={ready}", *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
            )
        self._served.servers.append(server)
        self._stack.callback(_end, server, None if listen else where)
        _wait_until(ready.exists, server, said)


def _node(form: str, capacity: int, socket_: Path, below: Mapping[str, Any] | None) -> dict[str, Any]:
    file = {"driver": "nbd", "server": {"type": "unix", "path": str(socket_)}}
    if form == "raw":
        return {"driver": "raw", "file": file, "size": capacity}
    return {"driver": "qcow2", "file": file, "backing": below}


def _listens(where: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(where)) == 0


def _wait_until(ready: Callable[[], bool], server: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            words = " ".join(said.read_text(errors="replace").split())
            raise RestoreFailed(f"The disk cannot be served: {words or 'nothing was said'}")
        time.sleep(0.02)


def _end(server: subprocess.Popen[bytes], where: Path | None) -> None:
    server.terminate()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if where is not None:
        where.unlink(missing_ok=True)
