"""A box, a repository and the jobs of chain mode in one process, so that tests can count bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Disk, Snapshot, Vm

from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult, create
from borg_ovirt.jobs.backup.stores import SingleStore
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.restore import Destination, RestoreResult, restore
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.waiting import Patience
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.sample import Sampling
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.repository.open import Repository, open_repository

CELL = MIB
SIZE = 16 * MIB
NO_SAMPLE = Sampling(0.0, 0)
QUICK = CreateOptions(mode="chain", cell=CELL, sampling=NO_SAMPLE)


class Told(Progress):
    """Keeps what a job says."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.warnings: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Bench:
    """Where a test works: its own repository and state directory, one box for the module."""

    def __init__(self, box: Box, root: Path) -> None:
        self.box = box
        self.root = root
        self.repo = str(root / "repo")
        self.state = root / "state"
        self.told = Told()
        self.patience = Patience(first=0.02, most=0.1, end=60, lock=10)
        self.borg("init", "-e", "none", self.repo)

    def borg(self, *arguments: str, cwd: Path | None = None) -> str:
        """Stock borg; it must succeed."""
        command = [str(Path(sys.executable).parent / "borg"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
        assert done.returncode == 0, f"borg {arguments}: {done.returncode}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        box = self.box
        access = EngineAccess(box.url, box.user, box.password, ca_file=box.ca_file)
        with Engine(access, patience=self.patience) as engine:
            yield engine

    @contextmanager
    def repository(self, *, write: bool = False) -> Iterator[Repository]:
        with open_repository(self.repo, write=write, compression="lz4") as repository:
            yield repository

    def create(self, vm: Vm, options: CreateOptions = QUICK, **changes: Any) -> CreateResult:
        """A backup, its merge waited for, the box left clean."""
        self.told = Told()
        with self.engine() as engine, Journal(self.state, engine.instance_id) as journal:
            with self.repository(write=True) as repository:
                result = create(
                    SingleStore(repository), engine, vm.name, replace(options, **changes), journal, self.told
                )
            result.warnings += result.wait_for_merge()
        return result

    def extract(self, archive: str, /, dry_run: bool = False, **wanted: Any) -> RestoreResult:
        """A restore into the engine, or with `directory` into files."""
        self.told = Told()
        options = RestoreOptions(**wanted)
        with self.repository() as repository:
            if options.directory is not None:
                return restore(repository, archive, options, None, self.told, dry_run=dry_run)
            with self.engine() as engine, Journal(self.state, engine.instance_id) as journal:
                into = Destination(engine, journal)
                return restore(repository, archive, options, into, self.told, dry_run=dry_run)

    def archives(self) -> list[str]:
        with self.repository() as repository:
            return sorted(repository.all_names())

    def manifest(self, archive: str) -> Manifest:
        with self.repository() as repository:
            return repository.archive(archive).manifest

    def unpack(self, archive: str) -> Path:
        """The archive as stock borg extracts it."""
        target = self.root / f"unpacked-{archive}"
        target.mkdir()
        self.borg("extract", f"{self.repo}::{archive}", cwd=target)
        return target

    def assert_clean(self) -> None:
        """The engine is as it was found, and the journal is empty."""
        left = self.box.clean()
        assert not left, left
        assert not list(self.state.glob("*.jsonl"))

    def assert_clean_but(self, *restored: Vm) -> None:
        """The same, the snapshots of these restored VMs not counted."""
        for vm in restored:
            for snapshot in vm.snapshots:
                self.box._snapshots_as_found.add(snapshot.id)
        self.assert_clean()


def guest_bytes(layer: Path) -> bytes:
    """What a guest reads of a chain, as of this layer, by qemu-img alone."""
    info = json.loads(run("qemu-img", "info", "-U", "--output=json", str(layer)))
    target = layer.with_name(layer.name + ".guest")
    run("qemu-img", "convert", "-U", "-f", info["format"], "-O", "raw", str(layer), str(target))
    data = target.read_bytes()
    target.unlink()
    return data


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(box: Box, disk: Disk, place: int, text: str) -> None:
    box.write(disk, place * MIB + 100, text.encode() * 500)


@dataclass
class Known:
    """What the box says a VM's disks held: now, and as of each snapshot that covers them."""

    now: dict[str, bytes]
    at: dict[tuple[str, str], bytes]
    """By description and alias."""
    snapshots: list[Snapshot]

    @classmethod
    def of(cls, box: Box, vm: Vm) -> Known:
        regular = [s for s in vm.snapshots if s.type == "regular"]
        return cls(
            {disk.alias: box.content(disk).read_bytes() for disk in box.disks(vm)},
            {
                (s.description, box.world.disks[d].alias): box.content_at(s, box.world.disks[d]).read_bytes()
                for s in regular
                for d in s.images
            },
            regular,
        )

    def check(self, box: Box, vm: Vm) -> None:
        """The VM is back with all of it."""
        regular = [s for s in vm.snapshots if s.type == "regular"]
        expected = [f"{s.description} (taken {s.date:%Y-%m-%d %H:%M:%S} UTC)" for s in self.snapshots]
        assert [s.description for s in regular] == expected
        self.check_contents(box, vm)

    def check_contents(self, box: Box, vm: Vm) -> None:
        """The same, whatever the snapshots are called now."""
        regular = [s for s in vm.snapshots if s.type == "regular"]
        disks = {disk.alias: disk for disk in box.disks(vm)}
        assert set(disks) == set(self.now)
        for alias, data in self.now.items():
            same = guest_bytes(disks[alias].active.path)[: disks[alias].virtual_size] == data
            assert same, alias
        for old, new in zip(self.snapshots, regular, strict=True):
            assert {box.world.disks[d].alias for d in new.images} == {
                alias for description, alias in self.at if description == old.description
            }
            for disk_id, image_id in new.images.items():
                disk = box.world.disks[disk_id]
                layer = disk.layer(image_id)
                assert layer is not None
                then = self.at[old.description, disk.alias]
                # Layers inherit the latest size; what lies beyond the size of that time reads as zeros.
                found = guest_bytes(layer.path)[: disk.virtual_size]
                same = found.ljust(disk.virtual_size, b"\0") == then.ljust(disk.virtual_size, b"\0")
                assert same, f"{disk.alias} as of {old.description}"


def make(box: Box, name: str, *, running: bool = True, domain: str = "data") -> Vm:
    """Three disks with chains of 4, 2 and 1 layers, written differently at each layer."""
    vm = box.make_vm(name, [DiskSpec(SIZE, bootable=True, domain=domain)], running=running)
    first = box.disks(vm)[0]
    written(box, first, 0, "first")
    box.snapshot(vm, "one")
    written(box, first, 1, "second")
    box.snapshot(vm, "two")
    box.add_disk(vm, DiskSpec(SIZE, format="raw", domain=domain))
    second = box.disks(vm)[1]
    written(box, first, 2, "third")
    written(box, second, 3, "raw below")
    box.snapshot(vm, "three")
    written(box, first, 0, "fourth")
    written(box, second, 4, "qcow2 above")
    box.add_disk(vm, DiskSpec(SIZE, domain=domain))
    written(box, box.disks(vm)[2], 5, "alone")
    return vm


def gone(box: Box, vm: Vm) -> None:
    if vm.status != "down":
        box.stop_vm(vm)
    box.remove_vm(vm)
