"""A running VM's disks: one qemu-storage-daemon with the block graph that libvirt would build."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ovirtbox.model import Disk, Layer
from ovirtbox.nbdclient import NbdClient
from ovirtbox.processes import ToolFailed, tool
from ovirtbox.qmp import Monitor
from ovirtbox.volumes import qemu_format


class MissingBitmap(ToolFailed):
    """A dirty bitmap that an incremental backup needs is not there, or was left inconsistent."""


@dataclass
class Node:
    """A layer in the graph: a format node over a protocol node."""

    image_id: str
    name: str
    file: str
    layer: Layer


@dataclass
class _Export:
    """A disk's point in time while a live backup lasts."""

    disk_id: str
    node: str
    file: str
    path: Path
    job: str
    bitmap: str | None


@dataclass
class _Drive:
    disk_id: str
    shareable: bool
    nodes: list[Node] = field(default_factory=list)
    """Base first."""
    client: NbdClient | None = None


class Machine:
    """The caller serialises changes of the graph; guest I/O may come from any thread meanwhile."""

    def __init__(self, directory: Path, name: str) -> None:
        self.socket = directory / f"{name}.sock"
        self._drives: dict[str, _Drive] = {}
        self._exports: dict[str, list[_Export]] = {}
        self._numbers = itertools.count()
        self._clients = threading.Lock()
        self.qmp = Monitor(directory / f"{name}.log")
        address = {"type": "unix", "data": {"path": str(self.socket)}}
        self.qmp("nbd-server-start", addr=address)

    def quit(self) -> None:
        self._hang_up(*self._drives)
        self.qmp.quit()
        self._remove_files()

    def kill(self) -> None:
        self.qmp.kill()
        self._hang_up(*self._drives)
        self._remove_files()

    @property
    def disks(self) -> list[str]:
        return list(self._drives)

    # --- disks ---

    def plug(self, disk: Disk, layers: Sequence[Layer], *, writable: bool = True) -> None:
        """Open a chain, base first, and give the guest its top (`writable=False`: nobody)."""
        drive = _Drive(disk.id, disk.shareable)
        self._drives[disk.id] = drive
        for layer in layers:
            below = drive.nodes[-1].name if drive.nodes else None
            top = writable and layer is layers[-1]
            drive.nodes.append(self._open(layer, below, read_only=not top, shareable=disk.shareable))
        if writable:
            self._export_to_guest(disk.id)

    def unplug(self, disk_id: str) -> None:
        self._hang_up(disk_id)
        self._remove_export(f"guest-{disk_id}")
        drive = self._drives.pop(disk_id)
        for node in reversed(drive.nodes):
            self._close(node)

    def client(self, disk_id: str) -> NbdClient:
        """The guest's own connection to a disk."""
        drive = self._drives[disk_id]
        with self._clients:
            if drive.client is None:
                drive.client = NbdClient(self.socket, disk_id)
            return drive.client

    def resize(self, disk_id: str, size: int) -> None:
        """All but raw volumes on block, which are plugged anew after they were extended."""
        self._hang_up(disk_id)
        self._remove_export(f"guest-{disk_id}")  # an export keeps the size it was made with
        self.qmp("block_resize", node_name=self._top(disk_id).name, size=size)
        self._export_to_guest(disk_id)

    def _export_to_guest(self, disk_id: str) -> None:
        self.qmp(
            "block-export-add",
            type="nbd",
            id=f"guest-{disk_id}",
            node_name=self._top(disk_id).name,
            name=disk_id,
            writable=True,
        )

    def has_jobs(self) -> bool:
        return bool(self.qmp("query-jobs"))

    def guest_url(self, disk_id: str) -> str:
        return f"nbd+unix:///{disk_id}?socket={self.socket}"

    # --- bitmaps ---

    def bitmaps(self) -> dict[str, dict[str, bool]]:
        """Node name -> bitmap name -> usable."""
        nodes = self.qmp("query-named-block-nodes", flat=True)
        return {
            node["node-name"]: {
                bitmap["name"]: not bitmap.get("inconsistent", False)
                for bitmap in node.get("dirty-bitmaps", [])
                if "name" in bitmap
            }
            for node in nodes
        }

    def add_bitmap(self, disk_id: str, name: str) -> None:
        self.qmp("block-dirty-bitmap-add", node=self._top(disk_id).name, name=name, persistent=True)

    def remove_bitmap(self, disk_id: str, name: str) -> None:
        """From every layer of the disk."""
        found = self.bitmaps()
        for node in self._drives[disk_id].nodes:
            if name in found.get(node.name, {}):
                with _Writable(self, disk_id, node):
                    self.qmp("block-dirty-bitmap-remove", node=node.name, name=name)

    def pause_bitmaps(self, disk_id: str, paused: bool) -> None:
        """Fault: while paused, writes go unnoticed."""
        command = f"block-dirty-bitmap-{'disable' if paused else 'enable'}"
        top = self._top(disk_id).name
        for name, usable in self.bitmaps().get(top, {}).items():
            if usable:
                self.qmp(command, node=top, name=name)

    # --- snapshots and merges ---

    def snapshot(self, pairs: Sequence[tuple[str, Layer]], checkpoint: str | None = None) -> None:
        """Put new active layers (files that exist) over the disks' tops, all at one instant.

        Every usable bitmap of a frozen layer goes on under the same name in the new one; `checkpoint` is a
        new bitmap that starts at this instant.
        """
        found = self.bitmaps()
        actions: list[dict[str, Any]] = []
        added: list[tuple[_Drive, Node]] = []
        for disk_id, layer in pairs:
            drive = self._drives[disk_id]
            old = drive.nodes[-1]
            new = self._open(layer, None, read_only=False, shareable=drive.shareable)
            added.append((drive, new))
            names = [name for name, usable in found.get(old.name, {}).items() if usable]
            if checkpoint and old.layer.format == "cow":  # a raw layer could not keep it after the merge
                names.append(checkpoint)
            actions += [
                _action("block-dirty-bitmap-add", node=new.name, name=n, persistent=True) for n in names
            ]
            actions.append(_action("blockdev-snapshot", node=old.name, overlay=new.name))
        try:
            self.qmp("transaction", actions=actions)
        except ToolFailed:
            for _, node in added:
                self._close(node)
            raise
        for drive, node in added:
            frozen = drive.nodes[-1]
            drive.nodes.append(node)
            if frozen.layer.format == "raw" and frozen.layer.volume_size:
                # Below a qcow2 layer the whole volume counts, as it does for everybody who opens the files.
                self.qmp("blockdev-reopen", options=[self._options(frozen, None, read_only=True)])

    def commit(self, disk_id: str, image_id: str, instant: threading.RLock | Any) -> None:
        """Merge the layer above `image_id` into it, its bitmaps too. `instant` is held around a pivot."""
        drive = self._drives[disk_id]
        base = next(node for node in drive.nodes if node.image_id == image_id)
        upper = drive.nodes[drive.nodes.index(base) + 1]
        job = f"commit-{next(self._numbers)}"
        arguments: dict[str, Any] = {"job-id": job, "base-node": base.name, "auto-dismiss": False}
        if upper is drive.nodes[-1]:
            self.qmp.execute("block-commit", {"device": upper.name, **arguments})
            state = self.qmp.wait_for_job(job, {"ready"})
            with instant:
                if state["status"] == "ready":
                    self.qmp("block-job-complete", device=job)
                self.qmp.finish_job(job)
                drive.nodes.remove(upper)
                self._carry_bitmaps(upper, base)
        else:
            arguments |= {"top-node": upper.name, "backing-file": base.image_id}
            self.qmp.execute("block-commit", {"device": drive.nodes[-1].name, **arguments})
            self.qmp.finish_job(job)
            drive.nodes.remove(upper)
            with _Writable(self, disk_id, base):
                self._carry_bitmaps(upper, base)
        self._close(upper)

    def _carry_bitmaps(self, upper: Node, base: Node) -> None:
        found = self.bitmaps()
        there = found.get(base.name, {})
        for name, usable in found.get(upper.name, {}).items():
            if not usable or base.layer.format != "cow":
                continue
            if name not in there:
                self.qmp("block-dirty-bitmap-add", node=base.name, name=name, persistent=True)
            source = [{"node": upper.name, "name": name}]
            self.qmp("block-dirty-bitmap-merge", node=base.name, target=name, bitmaps=source)

    # --- backups ---

    def begin_backup(
        self,
        backup_id: str,
        disk_ids: Sequence[str],
        scratch: Path,
        checkpoint: str | None,
        since: dict[str, str],
    ) -> None:
        """Fix one instant for all disks: scratch overlays that keep what the guest overwrites.

        `since`: disk id -> the bitmap that its dirty extents come from. MissingBitmap: nothing was done.
        """
        found = self.bitmaps()
        for disk_id, name in since.items():
            if not found.get(self._top(disk_id).name, {}).get(name):
                raise MissingBitmap(f"disk {disk_id} has no bitmap {name}")
        exports: list[_Export] = []
        self._exports[backup_id] = exports
        actions: list[dict[str, Any]] = []
        try:
            for disk_id in disk_ids:
                export = self._scratch(disk_id, scratch, since.get(disk_id))
                exports.append(export)
                actions += self._backup_actions(export, since.get(disk_id), checkpoint, found)
            self.qmp("transaction", actions=actions)
            for export in exports:
                self._export(export)
        except ToolFailed:
            self.end_backup(backup_id)
            raise

    def backup_url(self, backup_id: str, disk_id: str) -> str:
        export = next(export for export in self._exports[backup_id] if export.disk_id == disk_id)
        return f"nbd:unix:{self.socket}:exportname={export.node}"

    def end_backup(self, backup_id: str) -> None:
        jobs = {job["id"] for job in self.qmp("query-jobs")}
        for export in self._exports.pop(backup_id, []):
            self._remove_export(export.node)
            if export.job in jobs:
                self.qmp("job-cancel", id=export.job)
                self.qmp.wait_for_job(export.job, {"concluded"})
                self.qmp("job-dismiss", id=export.job)
            self.qmp("blockdev-del", node_name=export.node)
            self.qmp("blockdev-del", node_name=export.file)
            if export.bitmap is not None:
                top = self._top(export.disk_id).name
                self.qmp("block-dirty-bitmap-remove", node=top, name=export.bitmap)
            export.path.unlink(missing_ok=True)

    def _scratch(self, disk_id: str, directory: Path, since: str | None) -> _Export:
        number = next(self._numbers)
        node, file = f"backup{number}", f"scratch{number}"
        path = directory / f"{disk_id}.{number}.scratch"
        top = self._top(disk_id)
        tool("qemu-img", "create", "-q", "-f", "qcow2", path, str(self._length(top)))
        self.qmp("blockdev-add", driver="file", node_name=file, filename=str(path), discard="unmap")
        self.qmp("blockdev-add", driver="qcow2", node_name=node, file=file, backing=top.name, discard="unmap")
        bitmap = None
        if since is not None:
            bitmap = f"dirty{number}"
            self.qmp("block-dirty-bitmap-add", node=top.name, name=bitmap, disabled=True)
        return _Export(disk_id, node, file, path, f"job{number}", bitmap)

    def _backup_actions(
        self, export: _Export, since: str | None, checkpoint: str | None, found: dict[str, dict[str, bool]]
    ) -> list[dict[str, Any]]:
        nodes = self._drives[export.disk_id].nodes
        top = nodes[-1]
        actions = []
        if since is not None:
            sources = [{"node": n.name, "name": since} for n in nodes if since in found.get(n.name, {})]
            target = export.bitmap
            actions.append(_action("block-dirty-bitmap-merge", node=top.name, target=target, bitmaps=sources))
        if checkpoint is not None and top.layer.format == "cow":
            actions.append(_action("block-dirty-bitmap-add", node=top.name, name=checkpoint, persistent=True))
        backup: dict[str, Any] = {"device": top.name, "target": export.node, "job-id": export.job}
        backup |= {"sync": "none", "auto-dismiss": False}
        actions.append({"type": "blockdev-backup", "data": backup})
        return actions

    def _export(self, export: _Export) -> None:
        arguments: dict[str, Any] = {"type": "nbd", "id": export.node, "node-name": export.node}
        arguments |= {"name": export.node, "allocation-depth": True}
        if export.bitmap is not None:
            arguments["bitmaps"] = [{"node": self._top(export.disk_id).name, "name": export.bitmap}]
        self.qmp.execute("block-export-add", arguments)

    # --- the graph ---

    def _length(self, node: Node) -> int:
        nodes = self.qmp("query-named-block-nodes", flat=True)
        return int(next(n["image"]["virtual-size"] for n in nodes if n["node-name"] == node.name))

    def _top(self, disk_id: str) -> Node:
        return self._drives[disk_id].nodes[-1]

    def _open(self, layer: Layer, below: str | None, *, read_only: bool, shareable: bool) -> Node:
        number = next(self._numbers)
        node = Node(layer.image_id, f"layer{number}", f"file{number}", layer)
        self.qmp(
            "blockdev-add",
            driver="file",
            node_name=node.file,
            filename=str(layer.path),
            auto_read_only=True,
            discard="unmap",
            locking="off" if shareable else "auto",
        )
        self.qmp.execute("blockdev-add", self._options(node, below, read_only))
        return node

    def _options(self, node: Node, below: str | None, read_only: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            "driver": qemu_format(node.layer),
            "node-name": node.name,
            "file": node.file,
            "read-only": read_only,
            "discard": "unmap",
        }
        if options["driver"] == "qcow2":
            options["backing"] = below
        elif not read_only and node.layer.volume_size:
            options["size"] = node.layer.virtual_size  # the guest must not see the rest of the volume
        return options

    def _close(self, node: Node) -> None:
        self.qmp("blockdev-del", node_name=node.name)
        self.qmp("blockdev-del", node_name=node.file)

    def _remove_export(self, name: str) -> None:
        """Deleting an export ends its connections first; wait until it has gone."""
        until = time.monotonic() + 30
        if self._has_export(name):
            self.qmp("block-export-del", id=name, mode="hard")
            while self._has_export(name):
                if time.monotonic() > until:
                    raise ToolFailed(f"export {name} does not go away")
                time.sleep(0.001)

    def _has_export(self, name: str) -> bool:
        return any(export["id"] == name for export in self.qmp("query-block-exports"))

    def _hang_up(self, *disk_ids: str) -> None:
        with self._clients:
            for disk_id in disk_ids:
                client, self._drives[disk_id].client = self._drives[disk_id].client, None
                if client is not None:
                    client.close()

    def _remove_files(self) -> None:
        for exports in self._exports.values():
            for export in exports:
                export.path.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
        self.socket.with_suffix(".log").unlink(missing_ok=True)


class _Writable:
    """Reopen a backing layer for writing, for a moment; closing it again stores its bitmaps."""

    def __init__(self, machine: Machine, disk_id: str, node: Node) -> None:
        self._machine, self._node = machine, node
        nodes = machine._drives[disk_id].nodes
        place = nodes.index(node)
        self._needed = node is not nodes[-1]
        self._below = nodes[place - 1].name if place else None

    def __enter__(self) -> None:
        self._reopen(read_only=False)

    def __exit__(self, *_: object) -> None:
        self._reopen(read_only=True)

    def _reopen(self, *, read_only: bool) -> None:
        if self._needed:
            options = self._machine._options(self._node, self._below, read_only)
            self._machine.qmp("blockdev-reopen", options=[options])


def _action(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": data}
