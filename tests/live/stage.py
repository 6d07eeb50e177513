"""What the tries share: an engine, commands as a user types them, and VMs of ours with known bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from borg_ovirt.blocks import MiB
from borg_ovirt.jobs.selftest.known import SIZE, KnownDisk
from borg_ovirt.jobs.selftest.place import TestPlace
from borg_ovirt.ovirt.data.transfer import TransferRequest, download
from borg_ovirt.ovirt.data.transfer import upload as upload_transfer
from borg_ovirt.ovirt.facts.vm import find_vm, vm_status
from borg_ovirt.ovirt.make.disks import MadeDisk, NewDisk, disk_exists, remove_disk
from borg_ovirt.ovirt.make.machines import ScratchVm, attach_disk, remove_vm, start_vm
from borg_ovirt.ovirt.make.made import Made
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.journal import Entry, Journal
from borg_ovirt.pipe.upload import upload
from live.settings import Settings

MARK = "borg-ovirt-live-"
_HOW = {"interface": "virtio_scsi", "active": True, "read_only": False, "pass_discard": False}


class Failed(Exception):
    """A try came to another end than it must."""


class Stage:
    """One run of it."""

    def __init__(self, settings: Settings, engine: Engine, journal: Journal) -> None:
        self.settings = settings
        self.engine = engine
        self.journal = journal
        self.env = settings.environment()
        self.repo = str(settings.directory / f"repo-{journal.run_id}")
        self.always_hybrid = str(settings.directory / "hybrid.yaml")
        """A configuration in which no lock is short enough for a live backup, from level 4.7 on."""
        self._made: list[Made] = []
        self._adopted: list[Entry] = []
        self._count = 0

    # -- commands ----------------------------------------------------------------------------------------

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "borg_ovirt", *words]

    def run(self, *words: str, codes: tuple[int, ...] = (0,), **env: str) -> str:
        """Our command; it must end with one of these statuses. What it printed."""
        return self._run(self.command(*words), codes, env)

    def borg(self, *words: str) -> str:
        return self._run([sys.executable, "-m", "borg", *words], (0,), {})

    def _run(self, words: list[str], codes: tuple[int, ...], env: dict[str, str]) -> str:
        done = subprocess.run(words, env={**self.env, **env}, capture_output=True, text=True, check=False)
        with (self.settings.directory / "commands.log").open("a") as log:
            log.write(f"$ {' '.join(words[2:])}\n{done.stdout}{done.stderr}-> {done.returncode}\n\n")
        if done.returncode not in codes:
            last = " ".join(done.stderr.strip().splitlines()[-1:])
            raise Failed(f"`{' '.join(words[2:5])} ...` ended with {done.returncode}: {last}")
        return done.stdout

    def create(self, vm: str, *options: str, config: str | None = None) -> dict[str, Any]:
        """A backup; what its JSON says of the VM. Warnings are not failures: they are returned with it."""
        env = {"BORG_OVIRT_CONFIG": config} if config else {}
        told = json.loads(self.run("create", "--json", *options, f"{self.repo}::{vm}", codes=(0, 1), **env))
        (found,) = told["vms"]
        return dict(found)

    # -- VMs of ours -------------------------------------------------------------------------------------

    def make_vm(self, place: TestPlace, known: KnownDisk) -> tuple[str, str, str]:
        """A VM that is down with one disk that holds these bytes: its name, its id, the disk's id."""
        self._count += 1
        name = f"{MARK}{self.journal.run_id}-{self._count}"
        new = NewDisk(
            id=str(uuid.uuid4()),
            image_id=str(uuid.uuid4()),
            alias=name,
            size=SIZE,
            format="cow",
            sparse=True,
            storage_domain_id=place.domain.id,
            description=self.journal.describe("live"),
            backup="incremental",
        )
        bios = "q35_sea_bios" if place.cluster.architecture == "x86_64" else None
        disk = MadeDisk(self.engine, self.journal, new)
        vm = ScratchVm(self.engine, self.journal, name, place.cluster.id, bios)
        for made in (disk, vm):
            self._made.append(made)
            made.make()
        attach_disk(self.engine, vm.id, disk.id, _HOW)
        self.write(disk.id, known)
        return name, vm.id, disk.id

    def write(self, disk_id: str, known: KnownDisk, only: set[int] | None = None) -> None:
        """By an upload: the disk's VM is down."""
        request = TransferRequest("upload", disk_id, f"disk {disk_id}", SIZE, keep_disk=True)
        with upload_transfer(self.engine, self.journal, request) as transfer:
            upload(known, transfer.target, target_is_zero=False, only=only)
            transfer.finish()

    def change_running(self, name: str, vm_id: str, disk_id: str, old: KnownDisk, new: KnownDisk) -> None:
        """By the guest where there is a way into it, else with the VM down for a moment."""
        places = old.differing(new)
        if self.settings.write is None:
            self.stop(vm_id)
            self.write(disk_id, new, places)
            start_vm(self.engine, vm_id, name)
            return
        for place in sorted(places):
            part = new.chunks[place]
            (data,) = new.fetch([part])
            env = {
                **os.environ,
                "VM": name,
                "DISK": disk_id,
                "OFFSET": str(part.start),
                "LENGTH": str(part.size),
            }
            subprocess.run(self.settings.write, shell=True, env=env, input=bytes(data), check=True)

    def start(self, vm_id: str, name: str) -> None:
        start_vm(self.engine, vm_id, name)
        self._until(vm_id, "up")

    def stop(self, vm_id: str) -> None:
        self.engine.call(
            "stop the VM", lambda s: s.vms_service().vm_service(vm_id).stop(), wait_for_locks=300
        )
        self._until(vm_id, "down")

    def _until(self, vm_id: str, status: str) -> None:
        self.engine.patience.wait(
            f"the VM to be {status}",
            lambda: True if vm_status(self.engine, vm_id) == status else None,
            self.engine.patience.machine,
        )

    def snapshot(self, vm_id: str) -> None:
        """One that stays."""
        t = types()
        wanted = t.Snapshot(description=self.journal.describe("live"), persist_memorystate=False)
        snapshots: Callable[[Any], Any] = lambda s: s.vms_service().vm_service(vm_id).snapshots_service()  # noqa: E731
        made = self.engine.call("take a snapshot", lambda s: snapshots(s).add(wanted), wait_for_locks=300)
        self.engine.patience.wait(
            "the snapshot",
            lambda: (
                True
                if str(
                    self.engine.call(
                        "read it", lambda s: snapshots(s).snapshot_service(made.id).get()
                    ).snapshot_status
                )
                == "ok"
                else None
            ),
            900,
        )

    def remove(self, vm_id: str) -> None:
        """A VM of ours and its disk."""
        for made in [made for made in self._made if made.id == vm_id]:
            made.remove()
            self._made.remove(made)

    # -- what commands of ours made ----------------------------------------------------------------------

    def adopt(self, name: str) -> str:
        """A VM that a restore made is ours to remove; the id of its disk."""
        vm = find_vm(self.engine, name)
        disks = [disk.id for disk in vm.disks]
        for kind, one in [*(("disk", disk) for disk in disks), ("vm", vm.id)]:
            entry = self.journal.intend(kind, id=one, name=name)
            entry.made(one)
            self._adopted.append(entry)
        if len(disks) != 1:
            raise Failed(f"VM {name} has {len(disks)} disks, not 1")
        return disks[0]

    def compare(self, disk_id: str, known: KnownDisk) -> None:
        """A disk of the engine, read through an image transfer."""
        request = TransferRequest("download", disk_id, f"disk {disk_id}", SIZE)
        with download(self.engine, self.journal, request) as transfer:
            reader = transfer.source.open()
            where = known.first_difference(reader)
            reader.close()
            transfer.finish()
        if where is not None:
            raise Failed(f"the disk {disk_id} differs from byte {where} on")

    def compare_archive(self, archive: str, disk_id: str, known: KnownDisk) -> None:
        """As stock Borg extracts it."""
        words = [sys.executable, "-m", "borg", "extract", "--stdout", f"{self.repo}::{archive}"]
        done = subprocess.run(
            [*words, f"disks/{disk_id}.raw"], env=self.env, stdout=subprocess.PIPE, check=True
        )
        where = known.first_difference_of([memoryview(done.stdout)])
        if where is not None:
            raise Failed(f"the archive {archive} differs from byte {where} on")

    def compare_flattened(self, archive: str, known: KnownDisk) -> None:
        """The latest state of an archive of chains, as our own command puts it into a file."""
        with tempfile.TemporaryDirectory(dir=self.settings.directory) as place:
            self.run("extract", "--flatten", "--to", place, f"{self.repo}::{archive}")
            (image,) = Path(place).rglob("*.raw")
            with image.open("rb") as source:
                where = known.first_difference_of(
                    memoryview(part) for part in iter(lambda: source.read(MiB), b"")
                )
        if where is not None:
            raise Failed(f"the archive {archive} differs from byte {where} on")

    # -- the end -----------------------------------------------------------------------------------------

    def clear(self) -> list[str]:
        """Remove all that was made; what could not be."""
        left = []
        while self._adopted:
            entry = self._adopted.pop()
            object_id = str(entry.id)
            try:
                self._down(object_id)
                (remove_vm if entry.kind == "vm" else remove_disk)(self.engine, object_id)
                entry.done()
            except Exception as error:
                left.append(f"{entry.kind} {object_id}: {error}")
        while self._made:
            made = self._made.pop()
            try:
                self._down(made.id)
                made.remove()
            except Exception as error:
                left.append(f"{made.name}: {error}")
        return left

    def _down(self, object_id: str) -> None:
        try:
            if vm_status(self.engine, object_id) != "down":
                self.stop(object_id)
        except NotFound:
            pass

    def present(self) -> list[str]:
        """Names of everything in the engine that bears the mark of this run, or of any other."""
        vms = self.engine.call("list the VMs", lambda s: s.vms_service().list()) or ()
        disks = self.engine.call("list the disks", lambda s: s.disks_service().list()) or ()
        names = [*(vm.name or "" for vm in vms), *(disk.alias or "" for disk in disks)]
        return [name for name in names if name.startswith(MARK)]

    def is_there(self, disk_id: str) -> bool:
        return disk_exists(self.engine, disk_id)


def fresh_repository(stage: Stage) -> None:
    Path(stage.repo).parent.mkdir(parents=True, exist_ok=True)
    stage.borg("init", "-e", "repokey", stage.repo)
