"""A small data center of twelve VMs, and the configuration of a desk."""

from __future__ import annotations

import json
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec, sha_of
from ovirtbox.model import Vm

from borg_ovirt.config.schema import Config
from borg_ovirt.jobs.backup.create import CreateOptions
from borg_ovirt.jobs.backup.opened import OneRepository, OpenedRepositories
from borg_ovirt.jobs.runs.hooks import Hooks
from borg_ovirt.jobs.runs.outcome import RunResult
from borg_ovirt.jobs.runs.plan import RunPlan
from borg_ovirt.jobs.runs.run import run
from borg_ovirt.jobs.selection import Member, fleet
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess, new_run_id
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository, open_repository

SMALL = 8 * MIB


@dataclass
class Center:
    """Twelve VMs of every kind that a night meets."""

    box: Box
    vms: dict[str, Vm] = field(default_factory=dict)

    def add(self, name: str, *disks: DiskSpec, **more: Any) -> Vm:
        vm = self.box.make_vm(name, disks or [DiskSpec(SMALL)], **more)
        for number, disk in enumerate(self.box.disks(vm)):
            if disk.storage_type == "image":
                self.box.fill(disk, MIB, MIB, seed=len(self.vms) * 10 + number)
        self.vms[name] = vm
        return vm


def furnish(box: Box) -> Center:
    center = Center(box)
    for name in ("web01", "web02"):
        center.add(name, tags=["production", "web"])
    center.add("db01", DiskSpec(SMALL), DiskSpec(SMALL, domain="lun"), tags=["production"], agent=True)
    for name in ("files01", "mail01"):
        center.add(name, running=False, tags=["production"])
    center.add("mixed01", DiskSpec(SMALL), DiskSpec(SMALL, format="raw"), running=False)
    center.add("old01", running=False)
    center.add("lun01", DiskSpec(SMALL), DiskSpec(SMALL, storage_type="lun"), running=False)
    broken = center.add("broken01", running=False)
    center.add("empty01", DiskSpec(SMALL), running=False)
    center.add("protected01", running=False, tags=["production"])
    center.add("scratch01", running=False, tags=["scratch"])
    box.disks(broken)[0].layers[-1].path.unlink()  # its volume is gone from the storage
    return center


def configure(desk: Desk, **config: Any) -> Path:
    """Write the desk's configuration: its repository under the name `local`, and what the test adds."""
    repositories = config.pop("repositories", {"local": {"location": desk.repo}})
    path = desk.root / "config.yaml"
    path.write_text(yaml.safe_dump({"repositories": repositories, **config}))
    desk.env["BORG_OVIRT_CONFIG"] = str(path)
    return path


def assert_extracts(desk: Desk, archive: str, vm: Vm) -> None:
    """Stock borg extracts the archive, and every disk in it is what the box says it was."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        desk.borg("extract", f"{desk.repo}::{archive}", cwd=out)
        manifest = json.loads((out / "manifest.json").read_text())
        backup = manifest["run"]["backup_id"]
        assert manifest["disks"]
        for disk in (d for d in desk.box.disks(vm) if d.storage_type == "image"):
            assert sha_of(out / "disks" / f"{disk.id}.raw") == sha_of(desk.box.content_at(backup, disk))


def outcomes(result: dict[str, Any]) -> dict[str, str]:
    """Name of each VM -> how it ended."""
    return {vm["vm"]: vm["status"] for vm in result["vms"]}


def in_process(
    desk: Desk,
    *names: str,
    progress: Progress | None = None,
    repositories: OpenedRepositories | None = None,
    **more: Any,
) -> RunResult:
    """A run without a command line, over all VMs or those named."""
    box = desk.box
    access = EngineAccess(box.url, box.user, box.password, ca_file=box.ca_file)

    def members(engine: Engine) -> list[Member]:
        return [m for m in fleet(engine, Config()) if not names or m.name in names]

    def opener() -> AbstractContextManager[Repository]:
        return open_repository(desk.repo, write=True)

    plan = RunPlan(
        run_id=new_run_id(),
        members=members,
        options=lambda _: CreateOptions(readers=2),
        repositories=repositories or OneRepository("local", desk.repo, opener),
        state=desk.root / "state",
        **more,
    )
    return run(plan, access, Hooks([], {}), progress or Progress())
