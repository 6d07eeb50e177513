"""Random nights of a VM: whatever happens between two backups, every archive extracts to what the disk held.

A failing seed is printed and can be replayed: `SOAK_SEED=123 pytest -k soak`. `make soak` runs the long form.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from harness import Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk, Vm

MIB = 1 << 20
KIB = 1 << 10


class Soak:
    """One VM, one repository, and a seed that decides everything."""

    def __init__(self, box: Box, desk: Desk, seed: int) -> None:
        self.box, self.desk, self.seed = box, desk, seed
        self.random = random.Random(seed)
        self.vm = box.make_vm(
            f"soak{seed}",
            [
                DiskSpec(40 * MIB + 512, bootable=True, alias="root"),
                DiskSpec(24 * MIB, domain="lun", alias="data"),
                DiskSpec(9 * MIB, format="raw", alias="raw"),
            ],
        )
        self.told: list[str] = []
        for disk in self.disks:
            self.box.fill(disk, 0, 5 * MIB, seed=self.random.randrange(1 << 30))

    @property
    def disks(self) -> list[Disk]:
        return self.box.disks(self.vm)

    def _disk(self) -> Disk:
        return self.random.choice(self.disks)

    def _range(self, disk: Disk, most: int) -> tuple[int, int]:
        offset = self.random.randrange(disk.virtual_size // 512) * 512
        return offset, min(self.random.randint(1, most // 512) * 512, disk.virtual_size - offset)

    # -- what may happen between two backups -----------------------------------------------------------

    def write(self) -> None:
        disk = self._disk()
        offset, length = self._range(disk, 3 * MIB)
        self.box.fill(disk, offset, length, seed=self.random.randrange(1 << 30))

    def write_little(self) -> None:
        disk = self._disk()
        offset, length = self._range(disk, 8 * KIB)
        self.box.write(disk, offset, self.random.randbytes(length))

    def discard(self) -> None:
        disk = self._disk()
        self.box.discard(disk, *self._range(disk, 8 * MIB))

    def zero(self) -> None:
        disk = self._disk()
        self.box.zero(disk, *self._range(disk, 8 * MIB))

    def grow(self) -> None:
        disk = self.random.choice([d for d in self.disks if d.format == "cow"])
        self.box.grow(disk, disk.virtual_size + self.random.randint(1, 6 * MIB // 512) * 512)

    def power(self) -> None:
        (self.box.stop_vm if self.vm.status == "up" else self.box.start_vm)(self.vm)

    def snapshot(self) -> None:
        if len(self.vm.snapshots) < 4:
            self.box.snapshot(self.vm, f"snapshot {self.random.randrange(1000)}")

    def merge(self) -> None:
        regular = [s for s in self.vm.snapshots if s.type == "regular"]
        if regular:
            self.box.remove_snapshot(self.vm, self.random.choice(regular))

    def restore(self) -> None:
        regular = [s for s in self.vm.snapshots if s.type == "regular"]
        if regular:
            if self.vm.status == "up":
                self.box.stop_vm(self.vm)
            self.box.restore_snapshot(self.vm, self.random.choice(regular))

    def lose_checkpoints(self) -> None:
        self.box.inject.lose_checkpoints(self.vm)

    def lose_bitmap(self) -> None:
        held = self.box.world.checkpoints.get(self.vm.id, [])
        if held:
            self.box.inject.lose_bitmap(self.vm, held[-1].id)

    def prune(self) -> None:
        names = self.desk.archives()
        if len(names) > 1:
            victim = self.random.choice(names)
            self.desk.borg("delete", f"{self.desk.repo}::{victim}")
            self.desk.borg("compact", "--threshold", "0", self.desk.repo)

    # -- the nights ------------------------------------------------------------------------------------

    def night(self) -> None:
        steps: list[tuple[int, Callable[[], None]]] = [
            (8, self.write),
            (8, self.write_little),
            (3, self.discard),
            (2, self.zero),
            (2, self.grow),
            (2, self.power),
            (2, self.snapshot),
            (2, self.merge),
            (1, self.restore),
            (1, self.lose_checkpoints),
            (1, self.lose_bitmap),
            (2, self.prune),
        ]
        weights, choices = zip(*steps, strict=True)
        for step in self.random.choices(choices, weights, k=self.random.randint(1, 6)):
            self.told.append(step.__name__)
            step()
        options = []
        if self.random.random() < 0.15:
            options.append("--full")
        if self.random.random() < 0.4:
            options += ["--backup-api", "live"]
        self.told.append(f"create {' '.join(options)}".strip())
        made = self.desk.create(self.vm, *options)
        self.told[-1] += f" -> {made['kind']}"
        self.desk.assert_archived(made["archive"], self.vm)
        others = [name for name in self.desk.archives() if name != made["archive"]]
        if others:
            self.desk.assert_archived(self.random.choice(others), self.vm)
        assert self.box.clean() == []

    def run(self, nights: int) -> None:
        try:
            for _ in range(nights):
                self.night()
        except BaseException:
            print(f"SOAK_SEED={self.seed}: {' / '.join(self.told)}")
            raise
        kinds = [word for word in self.told if word.startswith("create")]
        incremental = sum("incremental" in kind for kind in kinds)
        print(f"SOAK_SEED={self.seed}: {len(kinds)} nights, {incremental} incremental")


def _seed() -> int:
    return int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1 << 30))


def test_a_few_random_nights(box: Box, desk: Desk) -> None:
    Soak(box, desk, _seed()).run(6)
    desk.borg("check", "--verify-data", desk.repo)
    desk.assert_clean()


@pytest.mark.soak
@pytest.mark.timeout(5400)
def test_forty_random_nights(box: Box, desk: Desk) -> None:
    Soak(box, desk, _seed()).run(40)
    newest = desk.archives()[-1]
    for name in desk.archives()[:-1]:
        desk.borg("delete", f"{desk.repo}::{name}")
    desk.borg("compact", "--threshold", "0", desk.repo)
    desk.borg("check", "--verify-data", desk.repo)
    vm: Vm = next(v for v in box.world.vms.values() if v.name.startswith("soak"))
    desk.assert_archived(newest, vm)
    desk.assert_clean()
