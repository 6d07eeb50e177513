"""Where benchmarks play: a box without its shadow copies, a repository, the commands of users."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk, Vm
from ovirtbox.nbd import start_nbd

from bench.data import GIB, MIB, make_image
from bench.measure import Cost, Failed, Meter

BIN = Path(sys.executable).parent
CHUNKER = "fixed,4194304"


@dataclass
class Subject:
    """A VM with one disk, and the same bytes in a file on the local disk."""

    vm: Vm
    disk: Disk
    image: Path
    size: int
    data: int
    domain: str
    """The storage domain that it lies on: `memory`, or `data` where there is too little of that."""


def has_room(memory: Path, data: int, grows: int) -> bool:
    """Whether so many bytes fit there, and beside them the same in the page cache, with some to spare."""
    room = os.statvfs(memory)
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) << 10
    return room.f_bavail * room.f_frsize > data + grows and available > 2 * (data + grows) + 2 * GIB


class Stage:
    """One box, one repository at a time. The VMs are down: what reads and writes is the host alone.

    Stock Borg finds its file in the page cache. That QEMU, which goes past the cache, is not measured by
    this machine's disk instead, the VMs' disks lie in memory as well, if there is room.
    """

    def __init__(self, box: Box, root: Path, memory: Path | None, against: Path | None = None) -> None:
        self.box = box
        self.root = root
        self.against = against
        """Another checkout of borg-ovirt, which is measured beside this one."""
        self._checkout: Path | None = None
        self.memory = memory
        self.domains: list[str] = []
        """Where disks were put so far."""
        if memory is not None:
            box.make_domain("memory", directory=memory)
        self.scratch = root / "scratch"
        self.scratch.mkdir()
        (root / "config.yaml").write_text("{}\n")
        box.engine.data.truth.switch_off()
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("BORG_", "PYTHON"))},
            **box.env(),
            "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
            "PYTHONPATH": os.pathsep.join(str(above) for above in Path(__file__).parents[1:3]),
            "BORG_BASE_DIR": str(root / "borg"),
            "BORG_PASSPHRASE": "correct horse battery staple",
            "BORG_OVIRT_STATE_DIR": str(root / "state"),
            "BORG_OVIRT_CONFIG": str(root / "config.yaml"),
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        }
        self.meter = Meter(env, root / "commands.log")
        self._lists = 0

    # what is measured with

    def transport(self, name: str) -> None:
        """`tls`: the host offers no socket, as to a client elsewhere. `unix`: it offers its data socket."""
        host = self.box.engine.data.host
        host.data_path = host.directory / "data" if name == "unix" else None
        host.restart()
        process = host._process
        assert process is not None
        self.meter.daemons = [process.pid]

    @contextmanager
    def of_against(self) -> Iterator[None]:
        """Inside, `borg-ovirt` is that of the other checkout, with a repository of its own: an older one need
        not understand what a newer one stored."""
        self._checkout = self.against
        try:
            yield
        finally:
            self._checkout = None

    def both(self) -> Iterator[None]:
        """Once as ours, and once inside `of_against` if there is another checkout."""
        yield
        if self.against is not None:
            with self.of_against():
                yield

    @property
    def repo(self) -> Path:
        return self.root / ("repo" if self._checkout is None else "theirs")

    def fresh_repository(self, mode: str) -> None:
        shutil.rmtree(self.repo, ignore_errors=True)
        self._quietly("borg", "init", "--encryption", mode, str(self.repo))

    def second_repository(self, mode: str) -> Path:
        """Another one beside it, with a key of its own."""
        second = self.root / "second"
        shutil.rmtree(second, ignore_errors=True)
        self._quietly("borg", "init", "--encryption", mode, str(second))
        return second

    def subject(
        self, name: str, kind: str, size: int, data: int, seed: int, backup: str = "none", grows: int = 0
    ) -> Subject:
        """A VM that is down, its disk a qcow2 with this content; `grows` bytes are to come."""
        domain = "memory" if self.memory and has_room(self.memory, data, grows) else "data"
        if domain not in self.domains:
            self.domains.append(domain)
        image = self.root / f"{name}.raw"
        data = make_image(image, kind, size, data, seed)
        spec = DiskSpec(size, alias=name, backup=backup, domain=domain)
        vm = self.box.make_vm(name, [spec], running=False)
        disk = self.box.disks(vm)[0]
        target = str(disk.active.path)
        # Without the last option every cluster of the new disk would be written as an explicit zero: a thin
        # disk that never held data has no tables for them.
        words = ["qemu-img", "convert", "-n", "--target-is-zero", "-f", "raw", "-O", "qcow2"]
        self._quietly(*words, str(image), target)
        return Subject(vm, disk, image, size, data, domain)

    def change(self, subject: Subject, writes: Iterable[tuple[int, bytes]]) -> None:
        """The guest writes; the local file follows."""
        made = list(writes)
        self.box.engine.data.guest_writes(subject.disk, made)
        with open(subject.image, "r+b") as file:
            for offset, data in made:
                file.seek(offset)
                file.write(data)

    def drop(self, subject: Subject) -> None:
        self.box.remove_vm(subject.vm)
        subject.image.unlink()

    # what is measured

    def ours(self, subject: Subject, compression: str, *options: str) -> Cost:
        """`borg-ovirt create`."""
        words = ["create", "--json", "--backup-api", "live", "--compression", compression]
        cost, out = self._borg_ovirt([*words, *options, f"{self.repo}::{subject.vm.name}"])
        told = json.loads(out)
        disks = told["vms"][0]["disks"] if "vms" in told else told["disks"]
        cost.moved = sum(disk["stats"]["bytes_read"] for disk in disks)
        return cost

    def borg_create(self, image: Path, compression: str, *, sparse: bool = True) -> Cost:
        """Baseline (b): stock Borg, the image in a local file. No files cache: an image always changed."""
        self._lists += 1
        words = ["borg", "create", "--chunker-params", CHUNKER, "--compression", compression]
        words += ["--files-cache", "disabled", *(["--sparse"] if sparse else [])]
        cost, _ = self.meter.run([*words, f"{self.repo}::list{self._lists}", str(image)])
        cost.moved = image.stat().st_blocks * 512
        return cost

    def download_and_borg(self, subject: Subject, compression: str) -> Cost:
        """Baseline (a): `ovirt-img download-disk` to a file, then `borg create` of it."""
        file = self.scratch / "download.raw"
        first, _ = self.meter.run(
            ["ovirt-img", "download-disk", *self._engine(), "-f", "raw", subject.disk.id, str(file)]
        )
        second = self.borg_create(file, compression)
        file.unlink()
        return first + second

    def read_export(self, subject: Subject) -> Cost:
        """Baseline (c): `nbdcopy` of the export to nowhere."""
        server = start_nbd(self.scratch, "export", subject.disk.active.path, "qcow2")
        self.meter.daemons.append(server.process.pid)
        try:
            uri = f"nbd+unix:///?socket={server.socket_path}"
            cost, _ = self.meter.run(["nbdcopy", uri, "null:"])
        finally:
            self.meter.daemons.remove(server.process.pid)
            server.stop()
        cost.moved = subject.data
        return cost

    def least(self, subject: Subject) -> Cost:
        """Floor (f): see `bench.least`."""
        host = self.box.engine.data.host
        words = [sys.executable, "-m", "bench.least", subject.disk.id]
        cost, _ = self.meter.run([*words, *([str(host.data_path)] if host.data_path else [])])
        cost.moved = subject.data
        return cost

    def write(self, amount: int) -> Cost:
        """Floor (g): as many bytes onto the disk of the repository, by `dd`, until they are there."""
        source, target = self.root / "random", self.root / "written"
        if not source.exists() or source.stat().st_size != amount:
            with open(source, "wb") as file:
                for start in range(0, amount, MIB):
                    file.write(random.randbytes(min(MIB, amount - start)))
        cost, _ = self.meter.run(["dd", f"if={source}", f"of={target}", "bs=4M", "conv=fdatasync"])
        cost.moved = amount
        target.unlink()
        return cost

    def archive(self, subject: Subject, compression: str) -> str:
        """An archive to restore from; its name."""
        self.ours(subject, compression, "--full")
        listed = json.loads(self._quietly("borg", "list", "--json", str(self.repo)))
        return str(listed["archives"][-1]["name"])

    def copy(self, name: str, target: Path, compression: str, *options: str) -> Cost:
        """`borg-ovirt copy` of an archive, or of a VM's."""
        words = [
            "copy",
            "--json",
            "--compression",
            compression,
            *options,
            f"{self.repo}::{name}",
            str(target),
        ]
        cost, out = self._borg_ovirt(words)
        cost.moved = sum(line["read"] for line in json.loads(out)["lines"])
        return cost

    def command(self, words: list[str], moved: int = 0) -> Cost:
        """Another one of ours."""
        cost, _ = self._borg_ovirt(words)
        cost.moved = moved
        return cost

    def shell(self, line: str) -> Cost:
        """A pipe of commands."""
        return self.meter.run(["sh", "-c", line])[0]

    def restore(self, subject: Subject, archive: str, *options: str) -> Cost:
        """`borg-ovirt extract` of the disk as a new floating disk."""
        before = set(self.box.world.disks)
        cost, _ = self._borg_ovirt(
            ["extract", "--disk", subject.disk.id, *options, f"{self.repo}::{archive}"]
        )
        self._delete_new(before)
        cost.moved = subject.data
        return cost

    def plan_restore(self, subject: Subject, archive: str) -> Cost:
        """What it takes before the first byte moves."""
        words = ["extract", "--dry-run", "--disk", subject.disk.id, f"{self.repo}::{archive}"]
        return self._borg_ovirt(words)[0]

    def rollback(self, subject: Subject, archive: str) -> Cost:
        """`borg-ovirt rollback`, with its archive of the present and its proof."""
        cost, out = self._borg_ovirt(["rollback", "--json", f"{self.repo}::{archive}"])
        stats = [disk["stats"] for disk in json.loads(out)["disks"]]
        cost.moved = sum(stat["bytes_written"] + stat["bytes_zeroed"] for stat in stats)
        return cost

    def borg_extract(self, subject: Subject, archive: str) -> tuple[Cost, Path]:
        """Baseline (e): `borg extract --sparse` into a file."""
        path = f"disks/{subject.disk.id}.raw"
        words = ["borg", "extract", "--sparse", f"{self.repo}::{archive}", path]
        cost, _ = self.meter.run(words, cwd=self.scratch)
        cost.moved = subject.data
        return cost, self.scratch / path

    def borg_and_upload(self, subject: Subject, archive: str) -> tuple[Cost, Cost]:
        """Baselines (d) and (e): `borg extract`, then `ovirt-img upload-disk` of the file."""
        extracted, file = self.borg_extract(subject, archive)
        before = set(self.box.world.disks)
        uploaded, _ = self.meter.run(
            ["ovirt-img", "upload-disk", *self._engine(), "-s", subject.domain, "-f", "qcow2", str(file)]
        )
        self._delete_new(before)
        file.unlink()
        return extracted + uploaded, extracted

    def verify(self, subject: Subject, archive: str) -> Cost:
        """`borg-ovirt verify --level data`; its stamp, too."""
        cost, _ = self._borg_ovirt(["verify", "--level", "data", f"{self.repo}::{archive}"])
        cost.moved = subject.data
        return cost

    def borg_verify(self, subject: Subject) -> Cost:
        """Baseline (j): `borg check --archives-only --verify-data`."""
        cost, _ = self.meter.run(["borg", "check", "--archives-only", "--verify-data", str(self.repo)])
        cost.moved = subject.data
        return cost

    # underneath

    def _borg_ovirt(self, words: list[str]) -> tuple[Cost, str]:
        """Ours, or the other checkout's: `python -m` takes the package of the directory that it is run in."""
        if self._checkout is None:
            return self.meter.run(["borg-ovirt", *words])
        return self.meter.run([sys.executable, "-m", "borg_ovirt", *words], cwd=self._checkout)

    def _engine(self) -> list[str]:
        box = self.box
        url = box.url.removesuffix("/ovirt-engine/api")
        words = ["--engine-url", url, "--username", box.user]
        return [*words, "--password-file", str(box.password_file), "--cafile", str(box.ca_file)]

    def _delete_new(self, before: set[str]) -> None:
        for disk_id in set(self.box.world.disks) - before:
            disk = self.box.world.disks[disk_id]
            self.box.wait(lambda disk=disk: disk.status == "ok", f"disk {disk.alias}")  # type: ignore[misc]
            self.box.delete_disk(disk)

    def _quietly(self, *words: str) -> str:
        done = subprocess.run(words, env=self.meter.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(words)}: {done.stderr}")
        return done.stdout
