"""Where the bytes are: volumes, running guests, transfers' servers and tickets, and the truth beside them."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ovirtbox import volumes
from ovirtbox.forward import Forwarder
from ovirtbox.guest import Machine, MissingBitmap
from ovirtbox.imageio import Imageio, TicketBusy
from ovirtbox.model import Backup, Disk, Layer, StorageDomain, Transfer, Vm
from ovirtbox.nbd import NbdServer, bitmap_overlay, bitmaps_in, start_nbd
from ovirtbox.pki import Pki
from ovirtbox.processes import ToolFailed, tool
from ovirtbox.truth import Truth
from ovirtbox.volumes import MIB, qemu_format

__all__ = ["DataPlane", "MissingBitmap", "TicketBusy", "ToolFailed"]

log = logging.getLogger("ovirtbox.data")

TICKET_LIFE = 300
RENEW_BELOW = 240
_LONGEST_SOCKET_DIR = 60
_CLUSTER = 64 << 10


@dataclass
class _Open:
    """What one transfer has on the host."""

    ticket: str
    nbd: NbdServer | None
    writes: bool


class DataPlane:
    """Never takes the world's lock. A lock per VM (or floating disk) orders changes of the block graph; a
    lock per disk makes guest writes and the instants of backups and snapshots exclude each other.
    """

    def __init__(self, root: Path, pki: Pki, *, truth: bool = True) -> None:
        self.root = root
        self.truth = Truth(root / "truth", enabled=truth)
        self._run = root / "run"
        self._scratch = root / "scratch"
        for directory in (self._run, self._scratch):
            directory.mkdir(parents=True, exist_ok=True)
        # A unix socket's path is limited to some hundred bytes; test directories are longer.
        self._short = self._run
        if len(str(self._run)) > _LONGEST_SOCKET_DIR:
            self._short = Path(tempfile.mkdtemp(prefix="ovirtbox-"))
        for name in ("host", "proxy"):
            (self._short / name).mkdir()
        self.host = Imageio(self._short / "host", pki, data_socket=True)
        self.proxy = Imageio(self._short / "proxy", pki, data_socket=False)
        self._machines: dict[str, Machine] = {}
        self._at_home: dict[str, str] = {}
        """Disk id -> the running VM it is plugged to."""
        self._open: dict[str, _Open] = {}
        self._guard = threading.Lock()
        self._graphs: dict[str, threading.RLock] = {}
        self._instants: dict[str, threading.RLock] = {}
        self._doors: list[Forwarder] = []
        self._door_port = 0
        self._lying: set[str] = set()
        self.host_unreachable = False
        """Fault: `transfer_url` names a port where nobody listens."""

    # --- life ---

    def start(self) -> None:
        self.host.launch()
        self.proxy.launch()
        self.host.wait_ready()
        self.proxy.wait_ready()

    def stop(self) -> None:
        with self._guard:
            left, machines = list(self._open.values()), list(self._machines.values())
            self._open.clear()
            self._machines.clear()
        for transfer in left:
            if transfer.nbd:
                transfer.nbd.stop()
        for machine in machines:
            with contextlib.suppress(ToolFailed):
                machine.quit()
        for door in self._doors:
            door.close()
        with ThreadPoolExecutor(2) as both:
            list(both.map(Imageio.stop, (self.host, self.proxy)))
        if self._short != self._run:
            shutil.rmtree(self._short, ignore_errors=True)

    def leftovers(self) -> list[str]:
        """What a client that cleaned up behind itself would not leave."""
        with self._guard:
            found = [f"transfer {name} has a ticket" for name in self._open]
        found += [f"scratch disk {path.name}" for path in self._scratch.iterdir()]
        return found

    # --- volumes ---

    def create_volume(
        self,
        layer: Layer,
        domain: StorageDomain,
        *,
        parent: Layer | None = None,
        initial_size: int | None = None,
    ) -> None:
        """Make the file of a layer; sets its path, parent and (block) volume_size."""
        volumes.create_volume(layer, domain, parent, initial_size)
        stale = domain.kind == "block" and layer.format == "raw"
        if parent is None and not stale:
            self.truth.begin(layer.disk_id, layer.virtual_size)

    def remove_disk(self, disk: Disk, domain: StorageDomain) -> None:
        volumes.remove_disk(disk, domain)
        self.truth.forget(disk.id)

    def actual_size(self, layer: Layer) -> int:
        return volumes.actual_size(layer)

    def resize(self, disk: Disk, size: int) -> None:
        """Grow a disk, running or not; the caller then sets the active layer's and the disk's size."""
        with self._graph(disk.id), self._instant([disk.id]):
            machine = self._machine_of(disk.id)
            self._know(disk)
            if disk.active.format == "raw" and disk.active.volume_size:
                self._extend_stale(disk, size, machine)
                return
            if machine is not None:
                machine.resize(disk.id, size)
            else:
                volumes.resize(disk.active, size)
            self.truth.resize(disk.id, size)

    def _extend_stale(self, disk: Disk, size: int, machine: Machine | None) -> None:
        """A raw volume on block: in the part that is new the guest finds whatever lies there."""
        if machine is not None:
            machine.unplug(disk.id)  # QEMU sees the new length of the volume only when it opens it
        old = disk.active.virtual_size
        volumes.resize(disk.active, size)
        disk.active.virtual_size = size
        if machine is not None:
            machine.plug(disk, self.chain(disk))
        self.truth.resize(disk.id, size)
        if not self.truth.knows(disk.id):
            return
        with open(disk.active.path, "rb") as file:
            for start in range(old, size, MIB):
                file.seek(start)
                data = file.read(min(MIB, size - start))
                if any(data):
                    self.truth.write(disk.id, start, data)

    # --- running VMs ---

    def start_vm(self, vm: Vm, disks: Iterable[Disk]) -> None:
        with self._graph_lock(vm.id):
            machine = Machine(self._short, f"vm-{vm.id[:13]}")
            try:
                for disk in disks:
                    if disk.layers:
                        self._know(disk)
                        machine.plug(disk, self.chain(disk))
            except ToolFailed:
                machine.quit()
                raise
            with self._guard:
                self._machines[vm.id] = machine
                self._at_home.update(dict.fromkeys(machine.disks, vm.id))

    def stop_vm(self, vm_id: str) -> None:
        """Clean: dirty bitmaps are stored."""
        with self._graph_lock(vm_id), self._taken_away(vm_id) as machine:
            if machine is not None:
                machine.quit()

    def crash_vm(self, vm_id: str) -> None:
        """The host lost power: bitmaps are inconsistent ever after."""
        with self._graph_lock(vm_id), self._taken_away(vm_id) as machine:
            if machine is not None:
                lost = machine.disks
                machine.kill()
                for disk_id in lost:  # what was not flushed is gone: it holds what QEMU reads now
                    self.truth.forget(disk_id)

    @contextlib.contextmanager
    def _taken_away(self, vm_id: str) -> Iterator[Machine | None]:
        with self._guard:
            machine = self._machines.get(vm_id)
        with self._instant(machine.disks if machine else []):
            yield machine
            with self._guard:
                self._machines.pop(vm_id, None)
                for disk_id in [d for d, home in self._at_home.items() if home == vm_id]:
                    del self._at_home[disk_id]

    def is_running(self, vm_id: str) -> bool:
        return vm_id in self._machines

    def plug(self, vm_id: str, disk: Disk) -> None:
        """Hot-plug a disk into a running VM."""
        with self._graph_lock(vm_id):
            machine = self._machines[vm_id]
            if disk.layers:
                self._know(disk)
                machine.plug(disk, self.chain(disk))
                with self._guard:
                    self._at_home[disk.id] = vm_id

    def unplug(self, vm_id: str, disk_id: str) -> None:
        with self._graph_lock(vm_id), self._instant([disk_id]):
            machine = self._machines.get(vm_id)
            if machine is not None and disk_id in machine.disks:
                machine.unplug(disk_id)
            with self._guard:
                self._at_home.pop(disk_id, None)

    # --- the guest's writes ---

    def guest_write(self, disk: Disk, offset: int, data: bytes) -> None:
        with self._guest_io(disk) as machine:
            machine.client(disk.id).write(offset, data)
            self.truth.write(disk.id, offset, data)

    def guest_writes(self, disk: Disk, pieces: Iterable[tuple[int, bytes]]) -> None:
        """Many writes at the price of one opening, where the VM is down."""
        with self._guest_io(disk) as machine:
            for offset, data in pieces:
                machine.client(disk.id).write(offset, data)
                self.truth.write(disk.id, offset, data)

    def guest_discard(self, disk: Disk, offset: int, length: int) -> None:
        """Whole clusters only: QEMU ignores the ragged ends of a discard.

        It ignores all of it while a job (a backup, a merge) has its filter above the disk: then the truth
        follows what the guest reads afterwards.
        """
        start = volumes.round_up(offset, _CLUSTER)
        length = (offset + length) // _CLUSTER * _CLUSTER - start
        if length <= 0:
            return
        with self._guest_io(disk) as machine:
            doubtful = machine.has_jobs()
            machine.client(disk.id).discard(start, length)
            if not doubtful and not machine.has_jobs():
                self.truth.zero(disk.id, start, length)
                return
            for place in range(start, start + length, _CLUSTER):
                if not any(machine.client(disk.id).read(place, _CLUSTER)):
                    self.truth.zero(disk.id, place, _CLUSTER)

    def guest_zero(self, disk: Disk, offset: int, length: int) -> None:
        with self._guest_io(disk) as machine:
            machine.client(disk.id).zero(offset, length)
            self.truth.zero(disk.id, offset, length)

    def guest_read(self, disk: Disk, offset: int, length: int) -> bytes:
        with self._guest_io(disk) as machine:
            return machine.client(disk.id).read(offset, length)

    @contextlib.contextmanager
    def _guest_io(self, disk: Disk) -> Iterator[Machine]:
        with self._instant([disk.id]):
            machine = self._machine_of(disk.id)
            if machine is not None:
                with self._perhaps_lying(machine, disk.id):
                    yield machine
                return
            self._know(disk)
            with self._offline([disk], writable=True) as machine, self._perhaps_lying(machine, disk.id):
                yield machine

    @contextlib.contextmanager
    def _perhaps_lying(self, machine: Machine, disk_id: str) -> Iterator[None]:
        lie = disk_id in self._lying
        if lie:
            machine.pause_bitmaps(disk_id, True)
        yield
        if lie:
            machine.pause_bitmaps(disk_id, False)
            self._lying.discard(disk_id)

    def lie_about_next_write(self, disk_id: str) -> None:
        """Fault: the next write to the disk leaves no trace in any bitmap."""
        self._lying.add(disk_id)

    # --- snapshots ---

    def snapshot(self, vm: Vm, pairs: Sequence[tuple[Disk, Layer]], *, checkpoint: str | None = None) -> None:
        """Put new active layers (volumes that exist) over the disks, at one instant.

        What the disks held is kept under the frozen layers' image ids. The caller adds the layers to the
        disks' lists afterwards. `checkpoint`: a bitmap of that name starts in the new layers over qcow2.
        """
        disks = [disk for disk, _ in pairs]
        new = [(disk.id, layer) for disk, layer in pairs]
        with self._graph_lock(vm.id), self._instant([disk.id for disk in disks]):
            for disk in disks:
                self._know(disk)
            running = self._machines.get(vm.id)
            live = [pair for pair in new if running is not None and pair[0] in running.disks]
            cold = [pair for pair in new if pair not in live]
            if live and running is not None:
                running.snapshot(live, checkpoint)
            if cold:
                ids = {disk_id for disk_id, _ in cold}
                with self._offline([disk for disk in disks if disk.id in ids], writable=True) as machine:
                    machine.snapshot(cold, checkpoint)
            for disk in disks:
                self.truth.freeze(disk.active.image_id, [disk.id])

    def merge(self, vm: Vm | None, disk: Disk, layer: Layer) -> None:
        """Merge the layer above `layer` into it; the upper file goes. The caller drops the upper Layer,
        gives `layer` its size and makes the next one's parent `layer`.
        """
        upper = disk.layers[disk.layers.index(layer) + 1]
        instant = self._instant([disk.id])
        with self._graph_lock(vm.id) if vm else self._graph(disk.id):
            machine = self._machine_of(disk.id)
            if machine is not None:
                machine.commit(disk.id, layer.image_id, instant)
            else:
                with instant, self._offline([disk], writable=True) as machine:
                    machine.commit(disk.id, layer.image_id, contextlib.nullcontext())
            volumes.remove_volume(upper)
            volumes.extend_lv(layer)
            self.truth.move(disk.id, upper.image_id, layer.image_id)

    def go_back(self, disk: Disk, frozen: Layer) -> None:
        """A snapshot is restored: the disk's content becomes that of `frozen` (for the truth only)."""
        self.truth.go_back(disk.id, frozen.image_id)

    def discard_layers(self, layers: Iterable[Layer]) -> None:
        """Remove the files of layers that a restore has cut off."""
        for layer in layers:
            volumes.remove_volume(layer)
            self.truth.drop(layer.image_id, layer.disk_id)

    # --- bitmaps ---

    def add_bitmaps(self, disks: Iterable[Disk], checkpoint: str) -> None:
        """A new bitmap in the active layer of each qcow2 disk."""
        for disk in disks:
            if disk.active.format == "cow":
                with self._graph(disk.id), self._some_machine(disk) as machine:
                    machine.add_bitmap(disk.id, checkpoint)

    def remove_bitmap(self, disk: Disk, checkpoint: str) -> None:
        """From every layer."""
        with self._graph(disk.id), self._some_machine(disk) as machine:
            machine.remove_bitmap(disk.id, checkpoint)

    def has_bitmap(self, layer: Layer, checkpoint: str) -> bool:
        """Present and usable in the file of a layer (of a running VM: as QEMU last stored it)."""
        machine = self._machine_of(layer.disk_id)
        if machine is not None:
            node = next(
                (n for n in machine._drives[layer.disk_id].nodes if n.image_id == layer.image_id), None
            )
            if node is not None:
                return machine.bitmaps().get(node.name, {}).get(checkpoint, False)
        return layer.format == "cow" and bitmaps_in(layer.path).get(checkpoint, False)

    # --- live backups ---

    def start_live_backup(
        self,
        backup: Backup,
        vm_id: str,
        disks: Sequence[Disk],
        *,
        checkpoint: str | None,
        since: dict[str, str],
        full_domain: bool = False,
    ) -> None:
        """Fix the instant of a backup of a running VM; `since`: disk id -> from-checkpoint.

        MissingBitmap when one is not there: nothing was done then.
        """
        if full_domain:
            raise ToolFailed("No space left for scratch disks")
        ids = [disk.id for disk in disks]
        with self._graph_lock(vm_id), self._instant(ids):
            machine = self._machines[vm_id]
            machine.begin_backup(backup.id, ids, self._scratch, checkpoint, since)
            self.truth.freeze(backup.id, ids)

    def live_backup_url(self, vm_id: str, backup_id: str, disk_id: str) -> str:
        return self._machines[vm_id].backup_url(backup_id, disk_id)

    def stop_live_backup(self, vm_id: str, backup_id: str) -> None:
        with self._graph_lock(vm_id):
            machine = self._machines.get(vm_id)
            if machine is not None:
                machine.end_backup(backup_id)

    def freeze_truth(self, key: str, disks: Sequence[Disk]) -> None:
        """Keep what disks that nobody writes to hold now (the instant of a cold backup)."""
        with self._instant([disk.id for disk in disks]):
            for disk in disks:
                self._know(disk)
            self.truth.freeze(key, [disk.id for disk in disks])

    # --- transfers ---

    def open_transfer(
        self,
        transfer: Transfer,
        disk: Disk,
        layer: Layer,
        domain: StorageDomain,
        *,
        bitmap: str | None = None,
        live_url: str | None = None,
        dirty: bool = False,
    ) -> tuple[str, str]:
        """Server and tickets for a transfer; (transfer_url, proxy_url). Sets `ticket` is the caller's."""
        assert transfer.ticket is not None
        writes = transfer.direction == "upload"
        nbd = None
        if live_url is not None:
            url = live_url
        elif transfer.format == "raw" or transfer.backup_id is not None:
            nbd = self._serve(transfer, disk, layer, domain, bitmap)
            url = nbd.url
        else:
            url = f"file://{layer.path if not (writes and domain.full) else '/dev/full'}"
        try:
            self._add_tickets(
                transfer, url, writes, sparse=layer.sparse and domain.kind == "file", dirty=dirty
            )
        except ToolFailed:
            if nbd is not None:
                nbd.stop()
            raise
        with self._guard:
            self._open[transfer.id] = _Open(transfer.ticket, nbd, writes)
        if writes:
            self.truth.forget(disk.id)
        return self._transfer_url(transfer.ticket), f"{self.proxy.url}/images/{transfer.ticket}"

    def _serve(
        self, transfer: Transfer, disk: Disk, layer: Layer, domain: StorageDomain, bitmap: str | None
    ) -> NbdServer:
        image, writes = layer.path, transfer.direction == "upload"
        overlay = None
        if bitmap is not None:
            holders = self._bitmap_holders(disk, layer, bitmap)
            if len(holders) > 1:
                overlay = bitmap_overlay(self._scratch, transfer.id, holders, bitmap)
                image = overlay
        try:
            return start_nbd(
                self._short,
                f"nbd-{transfer.id[:13]}",
                image,
                qemu_format(layer),
                writable=writes,
                backing=not transfer.shallow,
                discard=layer.sparse and domain.kind == "file",
                bitmap=bitmap,
                broken_writes=writes and domain.full,
            )
        finally:
            if overlay is not None:
                overlay.unlink()

    def _bitmap_holders(self, disk: Disk, layer: Layer, bitmap: str) -> list[Path]:
        """The layers, base first, that hold a bitmap: without a gap from the exported one downwards.

        MissingBitmap if it is not in that one, is unusable anywhere, or skips a layer.
        """
        place = next(i for i, other in enumerate(disk.layers) if other.image_id == layer.image_id)
        holders: list[Path] = []
        ended = False
        for other in reversed(disk.layers[: place + 1]):
            state = bitmaps_in(other.path).get(bitmap) if other.format == "cow" else None
            if state is False or (state and ended):
                raise MissingBitmap(f"bitmap {bitmap} of layer {other.image_id} cannot be used")
            if state:
                holders.insert(0, other.path)
            ended = not state
        if not holders or holders[-1] != layer.path:
            raise MissingBitmap(f"layer {layer.image_id} has no bitmap {bitmap}")
        return holders

    def _add_tickets(self, transfer: Transfer, url: str, writes: bool, *, sparse: bool, dirty: bool) -> None:
        ticket: dict[str, Any] = {
            "uuid": transfer.ticket,
            "size": transfer.size,
            "url": url,
            "timeout": TICKET_LIFE,
            "inactivity_timeout": transfer.inactivity_timeout,
            "ops": ["write" if writes else "read"],
            "transfer_id": transfer.id,
            "sparse": sparse,
            "dirty": dirty,
        }
        self.host.add_ticket(ticket)
        behind = f"{self.host.url}/images/{transfer.ticket}"
        try:
            self.proxy.add_ticket(ticket | {"url": behind})
        except ToolFailed as error:  # as the engine does: a missing proxy is no reason to refuse
            log.warning("No ticket on the proxy: %s", error)

    def _transfer_url(self, ticket: str) -> str:
        if self.host_unreachable:
            return f"https://localhost:1/images/{ticket}"
        armed = any(door.armed for door in self._doors)
        port = self._door_port if armed else self.host.port
        return f"https://localhost:{port}/images/{ticket}"

    def close_transfer(self, transfer_id: str) -> None:
        """Revoke the tickets, then stop the server. TicketBusy while a client's operation runs."""
        with self._guard:
            held = self._open.get(transfer_id)
        if held is None:
            return
        with contextlib.suppress(ToolFailed):
            self.proxy.remove_ticket(held.ticket)
        with contextlib.suppress(ToolFailed):
            self.host.remove_ticket(held.ticket)
        if held.nbd is not None:
            held.nbd.stop()
        with self._guard:
            self._open.pop(transfer_id, None)

    def ticket_info(self, transfer: Transfer) -> dict[str, Any] | None:
        return None if transfer.ticket is None else self.host.ticket(transfer.ticket)

    def renew(self, ticket: str) -> None:
        self.host.extend_ticket(ticket, TICKET_LIFE)
        with contextlib.suppress(ToolFailed, TicketBusy):
            self.proxy.extend_ticket(ticket, TICKET_LIFE)

    def verify_upload(self, layer: Layer) -> str | None:
        return volumes.verify_upload(layer)

    def transfer_size(self, transfer: Transfer, layer: Layer, domain: StorageDomain) -> int:
        """What the engine writes into the ticket."""
        if transfer.format == "raw" or transfer.backup_id is not None or layer.format == "raw":
            return layer.virtual_size
        if transfer.direction == "download":
            return volumes.apparent_size(layer)
        if domain.kind == "block":
            return volumes.actual_size(layer)
        return math.ceil(layer.virtual_size * 1.1) + MIB

    # --- faults ---

    def drop_data(self, after_bytes: int, times: int = 1) -> None:
        """Transfers that start from now on are cut after so many bytes of a connection, `times` times."""
        if not self._doors:
            self._build_doors()
        for door in self._doors:
            door.arm(after_bytes, times)

    def dropped(self) -> int:
        return sum(door.hits for door in self._doors)

    def _build_doors(self) -> None:
        """A port of its own for the host's, and a stand-in at the path of the data socket."""
        listener = socket.create_server(("127.0.0.1", 0))
        self._door_port = listener.getsockname()[1]

        def to_port() -> socket.socket:
            return socket.create_connection(("127.0.0.1", self.host.port))

        self._doors.append(Forwarder(listener, to_port))
        path = self.host.data_path
        assert path is not None
        behind = path.with_name("data-behind")
        path.rename(behind)
        stand_in = socket.socket(socket.AF_UNIX)
        stand_in.bind(str(path))
        stand_in.listen(40)

        def to_path() -> socket.socket:
            made = socket.socket(socket.AF_UNIX)
            made.connect(str(behind))
            return made

        self._doors.append(Forwarder(stand_in, to_path))

    def restart_imageio(self) -> None:
        """The host's daemon dies and comes back: its tickets are gone."""
        for door in self._doors:
            door.close()
        self._doors.clear()
        assert self.host.data_path is not None
        self.host.data_path.unlink(missing_ok=True)
        self.host.restart()

    # --- what a disk holds ---

    def content(self, disk: Disk) -> Path:
        """A raw file with what the disk must hold now."""
        with self._instant([disk.id]):
            if self.truth.enabled:
                self._know(disk)
                return self.truth.content(disk.id)
            path = self.root / "truth" / f"{disk.id}.raw"
            self._convert(disk, path)
            return path

    def content_at(self, key: str, disk_id: str) -> Path:
        """What it held at the instant of a backup (its id) or snapshot (the frozen image id)."""
        if not self.truth.has(key, disk_id):
            raise KeyError(f"nothing was kept of disk {disk_id} at {key}")
        return self.truth.content_at(key, disk_id)

    def _know(self, disk: Disk) -> None:
        """Adopt a disk that changed behind the guest's back (or was born with garbage)."""
        if self.truth.enabled and disk.layers and not self.truth.knows(disk.id):
            self._convert(disk, self.truth.content(disk.id))
            self.truth.adopted(disk.id)

    def _convert(self, disk: Disk, path: Path) -> None:
        machine = self._machine_of(disk.id)
        if machine is not None:
            image, source = "raw", machine.guest_url(disk.id)
        else:
            image, source = qemu_format(disk.active), str(disk.active.path)
        path.unlink(missing_ok=True)
        tool("qemu-img", "convert", "-q", "-U", "-f", image, "-O", "raw", source, path)
        with open(path, "r+b") as file:
            file.truncate(disk.active.virtual_size)

    # --- helpers ---

    def chain(self, disk: Disk) -> list[Layer]:
        """The layers of a disk, base first, a template's below them."""
        below: list[Layer] = []
        parent, directory = disk.layers[0].parent, disk.layers[0].path.parent
        while parent is not None:
            path = directory / parent
            info = json.loads(tool("qemu-img", "info", "-U", "--output=json", path))
            form = "cow" if info["format"] == "qcow2" else "raw"
            below.insert(0, Layer(parent, disk.id, form, form == "cow", info["virtual-size"], path))
            parent = info.get("backing-filename")
            directory = path.resolve().parent
        return below + disk.layers

    def _machine_of(self, disk_id: str) -> Machine | None:
        with self._guard:
            home = self._at_home.get(disk_id)
            return self._machines.get(home) if home else None

    @contextlib.contextmanager
    def _offline(self, disks: Sequence[Disk], *, writable: bool) -> Iterator[Machine]:
        """A storage daemon for a moment, where no VM runs."""
        machine = Machine(self._short, f"off-{disks[0].id[:13]}-{threading.get_ident() % 99999}")
        try:
            for disk in disks:
                machine.plug(disk, self.chain(disk), writable=writable)
            yield machine
        finally:
            machine.quit()

    @contextlib.contextmanager
    def _some_machine(self, disk: Disk) -> Iterator[Machine]:
        running = self._machine_of(disk.id)
        if running is not None:
            yield running
        else:
            with self._instant([disk.id]), self._offline([disk], writable=True) as machine:
                yield machine

    def _graph(self, disk_id: str) -> threading.RLock:
        with self._guard:
            home = self._at_home.get(disk_id)
        return self._graph_lock(home or disk_id)

    def _graph_lock(self, key: str) -> threading.RLock:
        with self._guard:
            return self._graphs.setdefault(key, threading.RLock())

    def _instant(self, disk_ids: Iterable[str]) -> _AllOf:
        """The locks of these disks, always taken in the same order."""
        with self._guard:
            return _AllOf(
                [self._instants.setdefault(disk_id, threading.RLock()) for disk_id in sorted(disk_ids)]
            )


class _AllOf:
    """Several locks as one."""

    def __init__(self, locks: list[threading.RLock]) -> None:
        self._locks = locks

    def __enter__(self) -> None:
        for lock in self._locks:
            lock.acquire()

    def __exit__(self, *_: object) -> None:
        for lock in reversed(self._locks):
            lock.release()
