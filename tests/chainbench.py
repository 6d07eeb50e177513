"""A box, a repository and the jobs of chain mode in one process, so that tests can count bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ovirtbox.box import MIB, Box
from ovirtbox.model import Vm

from borg_ovirt.jobs.create import CreateResult
from borg_ovirt.jobs.create_chain import ChainOptions, create_chain
from borg_ovirt.jobs.extract_chain import ChainExtract, extract_chain
from borg_ovirt.ovirt.engine import Engine, EngineAccess
from borg_ovirt.ovirt.journal import Journal
from borg_ovirt.ovirt.waiting import Patience
from borg_ovirt.pipe.sample import Sampling
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.repository.open import Repository, open_repository

CELL = MIB
NO_SAMPLE = Sampling(0.0, 0)
QUICK = ChainOptions(cell=CELL, sampling=NO_SAMPLE)


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
        with Engine(access, patience=Patience(first=0.02, most=0.1, end=60, lock=10)) as engine:
            yield engine

    @contextmanager
    def repository(self, *, write: bool = False) -> Iterator[Repository]:
        with open_repository(self.repo, write=write, compression="lz4") as repository:
            yield repository

    def create(self, vm: Vm, options: ChainOptions = QUICK, **changes: Any) -> CreateResult:
        """A backup, its merge waited for, the box left clean."""
        self.told = Told()
        with self.engine() as engine, Journal(self.state, engine.instance_id) as journal:
            with self.repository(write=True) as repository:
                result = create_chain(
                    repository, engine, vm.name, replace(options, **changes), journal, self.told
                )
            result.warnings += result.settle()
        return result

    def extract(self, name: str, options: ChainExtract | None = None, **changes: Any) -> Any:
        self.told = Told()
        with (
            self.repository() as repository,
            self.engine() as engine,
            Journal(self.state, engine.instance_id) as journal,
        ):
            wanted = replace(options or ChainExtract(), **changes)
            return extract_chain(repository, engine, name, wanted, journal, self.told)

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
        assert self.box.clean() == []
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
