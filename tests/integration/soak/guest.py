"""A VM whose every change is made twice: in the box, as a guest or an admin makes it, and in the model."""

from __future__ import annotations

import random
from pathlib import Path

from model import Model
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk, Vm

MIB, KIB = 1 << 20, 1 << 10
CLUSTER = 64 * KIB
"""What a discard has to cover as a whole for QEMU to make zeros of it."""


class Guest:
    """One VM and the model of its disks; `chance` decides on everything."""

    def __init__(self, box: Box, name: str, chance: random.Random, *, running: bool = True) -> None:
        self.box, self.chance, self.model = box, chance, Model()
        specs = [
            DiskSpec(24 * MIB + 512, bootable=True, alias="root"),
            DiskSpec(12 * MIB, domain="lun", alias="data"),
            DiskSpec(7 * MIB, format="raw", alias="raw"),
        ]
        self.vm: Vm = box.make_vm(name, specs, running=running)
        for disk in self.disks:
            self.model.add(disk.id, disk.virtual_size)
            self._write(disk, 0, 3 * MIB)

    @property
    def disks(self) -> list[Disk]:
        return self.box.disks(self.vm)

    @property
    def frozen(self) -> bool:
        """It has snapshots that are not ours: disks neither come nor go."""
        return bool(self._snapshots())

    def _snapshots(self) -> list[object]:
        return [s for s in self.vm.snapshots if s.id in self.model.snapshots]

    def _range(self, disk: Disk, most: int, grain: int = 512) -> tuple[int, int]:
        offset = self.chance.randrange(disk.virtual_size // grain) * grain
        return offset, min(self.chance.randint(1, most // grain) * grain, disk.virtual_size - offset)

    def _write(self, disk: Disk, offset: int, length: int) -> None:
        data = self.chance.randbytes(length)
        self.box.write(disk, offset, data)
        self.model.write(disk.id, offset, data)

    # -- what may happen -------------------------------------------------------------------------------

    def write(self) -> None:
        disk = self.chance.choice(self.disks)
        self._write(disk, *self._range(disk, 3 * MIB))

    def write_little(self) -> None:
        disk = self.chance.choice(self.disks)
        self._write(disk, *self._range(disk, 8 * KIB))

    def write_the_same_again(self) -> None:
        """Dirty, and no change."""
        disk = self.chance.choice(self.disks)
        offset, length = self._range(disk, MIB)
        self.box.write(disk, offset, bytes(self.model.disks[disk.id][offset : offset + length]))

    def discard(self) -> None:
        disk = self.chance.choice(self.disks)
        offset, length = self._range(disk, 8 * MIB, CLUSTER)
        length -= length % CLUSTER  # the end of a disk may be half a cluster
        self.box.discard(disk, offset, length)
        self.model.write(disk.id, offset, bytes(length))

    def zero(self) -> None:
        disk = self.chance.choice(self.disks)
        offset, length = self._range(disk, 8 * MIB)
        self.box.zero(disk, offset, length)
        self.model.write(disk.id, offset, bytes(length))

    def grow(self) -> None:
        disk = self.chance.choice([d for d in self.disks if d.format == "cow"])
        if disk.virtual_size < 40 * MIB:
            size = disk.virtual_size + self.chance.randint(1, 6 * MIB // 512) * 512
            self.box.grow(disk, size)
            self.model.grow(disk.id, size)

    def power(self) -> None:
        (self.box.stop_vm if self.vm.status == "up" else self.box.start_vm)(self.vm)

    def snapshot(self) -> None:
        if len(self._snapshots()) < 3:
            self.model.snapshot(self.box.snapshot(self.vm, f"snapshot {self.chance.randrange(1000)}").id)

    def merge(self) -> None:
        if found := self._snapshots():
            gone = self.chance.choice(found)
            self.box.remove_snapshot(self.vm, gone)  # type: ignore[arg-type]
            del self.model.snapshots[gone.id]  # type: ignore[attr-defined]

    def go_back(self) -> None:
        if found := self._snapshots():
            chosen = self.chance.choice(found)
            if self.vm.status == "up":
                self.box.stop_vm(self.vm)
            self.box.restore_snapshot(self.vm, chosen)  # type: ignore[arg-type]
            self.model.go_back(chosen.id)  # type: ignore[attr-defined]
            there = {s.id for s in self.vm.snapshots}
            self.model.snapshots = {i: data for i, data in self.model.snapshots.items() if i in there}

    def come(self) -> None:
        if not self.frozen and len(self.disks) < 5:
            form = self.chance.choice(["cow", "raw"])
            domain = self.chance.choice(["data", "lun"])
            size = self.chance.randint(1, 10 * MIB // 512) * 512
            disk = self.box.add_disk(self.vm, DiskSpec(size, format=form, domain=domain))
            self.model.add(disk.id, disk.virtual_size)
            if domain == "lun" and form == "raw":  # what lies on a block volume is anybody's
                self._write(disk, 0, disk.virtual_size)
            else:
                self._write(disk, 0, min(MIB, disk.virtual_size))

    def go(self) -> None:
        if not self.frozen and len(self.disks) > 3:
            disk = self.chance.choice(self.disks[1:])
            if self.vm.status == "up":
                self.box.stop_vm(self.vm)
            self.box.remove_disk(self.vm, disk)
            del self.model.disks[disk.id]

    def move(self) -> None:
        disk = self.chance.choice(self.disks)
        if not self.frozen and self.vm.status == "down":
            here = self.box.world.domains[disk.domain].name
            self.box.move(disk, "lun" if here == "data" else "data")

    def lose_checkpoints(self) -> None:
        self.box.inject.lose_checkpoints(self.vm)

    def lose_bitmap(self) -> None:
        if held := self.box.world.checkpoints.get(self.vm.id, []):
            self.box.inject.lose_bitmap(self.vm, held[-1].id)

    def live(self, turns: int) -> list[str]:
        """Some things that happen between two nights; their names."""
        weights = {
            self.write: 8,
            self.write_little: 8,
            self.write_the_same_again: 1,
            self.discard: 4,
            self.zero: 2,
            self.grow: 2,
            self.power: 2,
            self.snapshot: 2,
            self.merge: 2,
            self.go_back: 1,
            self.come: 2,
            self.go: 1,
            self.move: 1,
            self.lose_checkpoints: 1,
            self.lose_bitmap: 1,
        }
        steps = self.chance.choices(list(weights), list(weights.values()), k=turns)
        for step in steps:
            step()
        return [step.__name__ for step in steps]

    def held_by(self, disk: Disk) -> bytes:
        """What a disk of the box reads as, through QEMU."""
        return self.box.read(disk, 0, disk.virtual_size)

    @staticmethod
    def journals(root: Path) -> list[Path]:
        return list((root / "state").glob("*.jsonl"))
