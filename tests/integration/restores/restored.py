"""VMs with a snapshot, and what their archives lose."""

from __future__ import annotations

import json

from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm


def make(box: Box, name: str) -> Vm:
    """Two disks, a snapshot between two writes."""
    root = DiskSpec(9 * MIB + 512, bootable=True, alias="root")
    vm = box.make_vm(name, [root, DiskSpec(5 * MIB, format="raw", alias="data")], running=False)
    for seed, disk in enumerate(box.disks(vm)):
        box.fill(disk, 0, 2 * MIB, seed=seed + 1)
    box.snapshot(vm, "before")
    for seed, disk in enumerate(box.disks(vm)):
        box.fill(disk, 4 * MIB, MIB // 2, seed=seed + 7)
    return vm


def gone(box: Box, vm: Vm) -> None:
    """Removed, and with it all that the engine kept of it."""
    box.remove_vm(vm)
    beside = box.world.beside
    beside.vms.pop(vm.id, None)
    for holder in (*beside.labels.values(), *beside.groups.values()):
        holder.vms = [other for other in holder.vms if other != vm.id]


def lose(desk: Desk, archive: str, word: str, place: int = 0) -> None:
    """Delete a chunk of the first item whose path has this word, behind Borg's back."""
    dump = desk.root / "dump.json"
    dump.unlink(missing_ok=True)
    desk.borg("debug", "dump-archive", f"{desk.repo}::{archive}", str(dump))
    items = json.loads(dump.read_text())["_items"]
    chunks = next(item for item in items if word in item["path"])["chunks"]
    desk.borg("debug", "delete-obj", desk.repo, chunks[place][0].lstrip("\x7f"))
