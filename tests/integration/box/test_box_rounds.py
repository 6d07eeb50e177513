"""Random rounds on one VM: whatever happened before, an incremental backup tells every changed byte."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import ovirtsdk4 as sdk
import pytest
from box_client import KIB, MIB, Client, sha_file
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk, Snapshot, Vm
from ovirtsdk4 import types

_names = (f"vm{number}" for number in itertools.count())


@pytest.fixture
def client(box: Box, connection: sdk.Connection) -> Iterator[Client]:
    yield Client(box, connection)
    assert box.clean() == []


class Rounds:
    """One VM under a random hand; a failing seed can be run again."""

    def __init__(self, box: Box, client: Client, seed: int) -> None:
        self.box, self.client = box, client
        self.random = random.Random(seed)
        specs = [DiskSpec(24 * MIB), DiskSpec(16 * MIB, domain="lun"), DiskSpec(8 * MIB, "raw", domain="lun")]
        self.vm: Vm = box.make_vm(next(_names), specs)
        self.disks: list[Disk] = box.disks(self.vm)
        self.snapshots: list[Snapshot] = []
        self.last: str | None = None
        """The id of the last backup; its checkpoint is what the next starts from."""
        self.checkpoint: str | None = None

    def play(self, rounds: int) -> None:
        moves = [self.write, self.write, self.write, self.snapshot, self.merge, self.power, self.grow]
        for _ in range(rounds):
            for move in self.random.choices(moves, k=4):
                move()
            self.backup()

    def write(self) -> None:
        disk = self.random.choice(self.disks)
        start = self.random.randrange(0, disk.virtual_size - 512 * KIB, 512)
        length = self.random.randrange(512, 400 * KIB, 512)
        kind = self.random.choice("wwzd")
        if kind == "w":
            self.box.write(disk, start, self.random.randbytes(length))
        elif kind == "z":
            self.box.zero(disk, start, length)
        else:
            self.box.discard(disk, start, length)

    def snapshot(self) -> None:
        if len(self.snapshots) < 3:
            only = None if self.random.random() < 0.7 else [self.random.choice(self.disks)]
            self.snapshots.append(self.box.snapshot(self.vm, "round", only))

    def merge(self) -> None:
        if self.snapshots:
            gone = self.snapshots.pop(self.random.randrange(len(self.snapshots)))
            self.box.remove_snapshot(self.vm, gone)
            for snapshot in self.snapshots:
                self.check_snapshot(snapshot)

    def check_snapshot(self, snapshot: Snapshot) -> None:
        for disk in self.disks:
            if disk.id in snapshot.images:
                wanted = types.DiskSnapshot(id=snapshot.images[disk.id])
                transfer = self.client.transfer(snapshot=wanted)
                size = self.box.content_at(snapshot, disk).stat().st_size
                got = self.client.sha(transfer.transfer_url, size)
                assert got == sha_file(self.box.content_at(snapshot, disk))
                self.client.cancel(transfer)

    def power(self) -> None:
        (self.box.stop_vm if self.vm.status == "up" else self.box.start_vm)(self.vm)

    def grow(self) -> None:
        disk = self.random.choice(self.disks)
        if disk.virtual_size < 40 * MIB:
            self.box.grow(disk, disk.virtual_size + self.random.randrange(1, 8) * MIB)
            if self.snapshots:  # QEMU cannot join bitmaps of different lengths
                self.checkpoint = None

    def backup(self) -> None:
        legacy = self.random.random() < 0.6
        backup = self.client.start_backup(self.vm, self.disks, since=self.checkpoint, legacy=legacy)
        modes = self.client.modes(self.vm, backup.id)
        if self.vm.status == "up":
            self.write()  # after the instant
        for disk in self.disks:
            transfer = self.client.transfer(disk, backup=types.Backup(id=backup.id))
            now = self.box.content_at(backup.id, disk)
            if modes[disk.id] == "incremental":
                assert self.last is not None
                told = self.client.dirty(transfer.transfer_url)
                check_told(self.box.content_at(self.last, disk), now, told)
            # Last, since a transfer that has carried everything ends by itself.
            assert self.client.sha(transfer.transfer_url, now.stat().st_size) == sha_file(now)
            self.client.cancel(transfer)
        self.client.end_backup(self.vm, backup.id)
        self.last, self.checkpoint = backup.id, backup.to_checkpoint_id


def check_told(before: Path, now: Path, told: list[tuple[int, int]]) -> None:
    """Every byte that differs lies in a dirty range; what is beyond the old end is nobody's promise."""
    old, new = before.read_bytes(), now.read_bytes()
    for start in range(0, len(old), 64 * KIB):
        if old[start : start + 64 * KIB] != new[start : min(start + 64 * KIB, len(old))]:
            assert any(low <= start < high for low, high in told), f"the change at {start} is not told"


@pytest.mark.thin(1)
@pytest.mark.parametrize("seed", [1, 2])
def test_rounds(box: Box, client: Client, seed: int) -> None:
    Rounds(box, client, seed).play(6)
