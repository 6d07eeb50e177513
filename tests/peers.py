"""`make peers`: clients of others against the box, each with what must come of it.

Their code is fetched by whoever runs this, from PyPI into build/peers: the SDK with its published examples,
ovirt-imageio with `ovirt-img`, and Ansible with the `ovirt.ovirt` modules. None of it is in the tree.
All of them ran on an engine 4.5.8; what fails here is most likely a fault of the box.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ovirtbox.box import MIB, Box, DiskSpec, sha_of
from ovirtbox.model import Disk, Vm

SDK = "ovirt-engine-sdk-python==4.6.3"
PACKAGES = (SDK, "ovirt-imageio==2.5.1", "ansible>=11")
SIZE = 16 * MIB
ROOT = Path("build/peers").absolute()
BIN = ROOT / "venv" / "bin"


def fetch() -> Path:
    """The clients, in an environment of their own; where the SDK's examples are."""
    if not (BIN / "ovirt-img").exists():
        subprocess.run([sys.executable, "-m", "venv", BIN.parent], check=True)
        subprocess.run([BIN / "pip", "install", "-q", *PACKAGES], check=True)
    if not (found := list(ROOT.glob("*/examples"))):
        words = [BIN / "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", ROOT, SDK]
        subprocess.run(words, check=True)
        (archive,) = ROOT.glob("ovirt*sdk*.tar.gz")
        with tarfile.open(archive) as source:
            source.extractall(ROOT, filter="data")
        found = list(ROOT.glob("*/examples"))
    return found[0]


@dataclass
class Stage:
    """A box, and how the clients reach it."""

    box: Box
    examples: Path
    down: Vm
    up: Vm
    older: Vm

    def __post_init__(self) -> None:
        self.work = ROOT / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        box, home = self.box, ROOT / "home"
        url = box.url.removesuffix("/ovirt-engine/api")
        (home / ".config").mkdir(parents=True, exist_ok=True)
        told = (
            f"engine_url = {url}\nusername = {box.user}\npassword = {box.password}\ncafile = {box.ca_file}\n"
        )
        for name in ("ovirt.conf", "ovirt-img.conf"):
            (home / ".config" / name).write_text(f"[box]\n{told}")
        self.connection = {"url": box.url, "user": box.user, "password": box.password, "ca": str(box.ca_file)}
        self.env = {**os.environ, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def run(self, *words: object) -> str:
        """A client as a user types it; it must end well."""
        done = subprocess.run(
            [str(word) for word in words], env=self.env, cwd=self.work, capture_output=True, text=True
        )
        if done.returncode:
            raise AssertionError(f"status {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}")
        return done.stdout

    def example(self, name: str, *words: object) -> str:
        return self.run(BIN / "python", self.examples / f"{name}.py", "-c", "box", *words)

    def playbook(self, *tasks: dict[str, object]) -> None:
        """Tasks with the connection of the box; a module that fails ends it."""
        auth = {**self.connection, "ca_file": self.connection["ca"], "username": self.box.user}
        given = {key: auth[key] for key in ("url", "username", "password", "ca_file")}
        steps: list[dict[str, object]] = [{"ovirt.ovirt.ovirt_auth": given}]
        for task in tasks:
            ((module, arguments),) = task.items()
            assert isinstance(arguments, dict)
            steps.append({f"ovirt.ovirt.{module}": {"auth": "{{ ovirt_auth }}", **arguments}})
        book = self.work / "book.yml"
        python = {"ansible_python_interpreter": str(BIN / "python")}
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": python}
        book.write_text(json.dumps([{**play, "tasks": steps}]))
        self.run(BIN / "ansible-playbook", "-i", "localhost,", book)

    def disk(self, alias: str) -> Disk:
        found = [disk for disk in self.box.world.disks.values() if disk.alias == alias]
        assert len(found) == 1, f"{len(found)} disks are called {alias}"
        return found[0]


def raw_sha(image: Path) -> str:
    """Of what a guest would read."""
    raw = ROOT / "guest.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
    return sha_of(raw)


def same(one: str, other: str) -> None:
    assert one == other, "the bytes differ"


# -- what is run -----------------------------------------------------------------------------------------


def list_layers(stage: Stage) -> None:
    (disk,) = stage.box.disks(stage.down)
    told = json.loads(stage.example("list_disk_snapshots", disk.id))
    assert len(told) == len(disk.layers) == 2, told


def download_raw(stage: Stage) -> None:
    (disk,) = stage.box.disks(stage.down)
    stage.example("download_disk", "-f", "raw", disk.id, stage.work / "d.raw")
    same(sha_of(stage.work / "d.raw"), stage.box.sha(disk))


def download_layer(stage: Stage) -> None:
    (disk,) = stage.box.disks(stage.down)
    stage.example("download_disk_snapshot", "data", disk.layers[0].image_id, stage.work / "l.qcow2")
    assert (stage.work / "l.qcow2").stat().st_size > MIB


def upload(stage: Stage) -> None:
    stage.example("upload_disk", "--sd-name", "data", "--disk-format", "qcow2", "--disk-sparse",
                  "--enable-backup", stage.work / "d.raw")  # fmt: skip
    disk = stage.disk("d.qcow2")
    same(stage.box.sha(disk), sha_of(stage.work / "d.raw"))
    stage.box.delete_disk(disk)


def backups(name: str) -> Callable[[Stage], None]:
    """A full backup of a VM that runs, some writing, an incremental one on top of it."""

    def run(stage: Stage) -> None:
        vm: Vm = getattr(stage, name)
        (disk,) = stage.box.disks(vm)
        place = stage.work / name
        place.mkdir()
        stage.example("backup_vm", "full", "--backup-dir", place, vm.id)
        (full,) = place.iterdir()
        same(raw_sha(full), stage.box.sha(disk))
        stage.box.fill(disk, 5 * MIB, 64 << 10, seed=77)
        checkpoint = stage.box.world.checkpoints[vm.id][-1].id
        stage.example(
            "backup_vm", "incremental", "--backup-dir", place, "--from-checkpoint-uuid", checkpoint, vm.id
        )
        increment = next(path for path in place.iterdir() if ".incremental." in path.name)
        same(raw_sha(increment), stage.box.sha(disk))
        assert checkpoint in stage.example("checkpoints", "list", vm.id)

    return run


def img_download(stage: Stage) -> None:
    (disk,) = stage.box.disks(stage.down)
    stage.run(BIN / "ovirt-img", "download-disk", "-c", "box", "-f", "qcow2", disk.id, stage.work / "i.qcow2")
    same(raw_sha(stage.work / "i.qcow2"), stage.box.sha(disk))


def img_upload(stage: Stage) -> None:
    stage.run(
        BIN / "ovirt-img", "upload-disk", "-c", "box", "-s", "data", "--name", "img", stage.work / "i.qcow2"
    )
    disk = stage.disk("img")
    same(stage.box.sha(disk), raw_sha(stage.work / "i.qcow2"))
    stage.box.delete_disk(disk)


def ansible_looks(stage: Stage) -> None:
    everything = {"pattern": "name=down"}
    stage.playbook(
        {"ovirt_vm_info": everything},
        {"ovirt_disk_info": {"pattern": "name=down*"}},
        {"ovirt_snapshot_info": {"vm": "down"}},
        {"ovirt_storage_domain_info": {}},
        {"ovirt_cluster_info": {}},
        {"ovirt_host_info": {}},
        {"ovirt_api_info": {}},
    )


def ansible_vm(stage: Stage) -> None:
    vm = {"name": "by-ansible", "cluster": "Default"}
    made = {**vm, "template": "Blank", "memory": "256MiB", "state": "present"}
    disk = {"name": "by-ansible", "size": "16MiB", "format": "cow", "interface": "virtio_scsi"}
    stage.playbook(
        {"ovirt_vm": made},
        {"ovirt_disk": {**disk, "storage_domain": "data", "vm_name": "by-ansible", "bootable": True}},
        {"ovirt_snapshot": {"vm_name": "by-ansible", "description": "s", "use_memory": False}},
        {"ovirt_vm": {**vm, "state": "running"}},
        {"ovirt_vm": {**vm, "state": "stopped", "force": True}},
        {"ovirt_vm": {**vm, "state": "absent"}},
    )
    assert all(found.name != "by-ansible" for found in stage.box.world.vms.values())


def ansible_transfers(stage: Stage) -> None:
    moved = {"name": "moved", "storage_domain": "data", "format": "cow", "size": "16MiB"}
    image, back = str(stage.work / "i.qcow2"), str(stage.work / "b.qcow2")
    stage.playbook(
        {"ovirt_disk": {**moved, "upload_image_path": image, "wait": True}},
        {"ovirt_disk": {"name": "moved", "download_image_path": back, "wait": True}},
        {"ovirt_disk": {"name": "moved", "state": "absent"}},
    )
    same(raw_sha(Path(back)), raw_sha(Path(image)))


PEERS: dict[str, Callable[[Stage], None]] = {
    "SDK example list_disk_snapshots: each layer once": list_layers,
    "SDK example download_disk: the disk's bytes": download_raw,
    "SDK example download_disk_snapshot: a layer": download_layer,
    "SDK example upload_disk: the same bytes": upload,
    "SDK examples backup_vm, checkpoints on level 4.7: full and increment are the disk": backups("up"),
    "SDK examples backup_vm, checkpoints on level 4.6: full and increment are the disk": backups("older"),
    "ovirt-img download-disk: the disk's bytes": img_download,
    "ovirt-img upload-disk: the same bytes": img_upload,
    "ovirt.ovirt info modules: they read what is there": ansible_looks,
    "ovirt.ovirt ovirt_vm, ovirt_disk, ovirt_snapshot: made, started, stopped, removed": ansible_vm,
    "ovirt.ovirt ovirt_disk: an image up and down again": ansible_transfers,
}


def main(words: list[str]) -> int:
    """Those whose names have one of these words; all without."""
    examples = fetch()
    failed = 0
    with Box.start(ROOT / f"box-{os.getpid()}") as box:
        box.make_cluster("Older", (4, 6))
        vms = (
            box.make_vm("down", [DiskSpec(SIZE)], running=False),
            box.make_vm("up", [DiskSpec(SIZE)]),
            box.make_vm("older", [DiskSpec(SIZE)], cluster="Older"),
        )
        for vm in vms:
            box.fill(box.disks(vm)[0], 0, 3 * MIB, seed=1)
        box.snapshot(vms[0], "one")
        stage = Stage(box, examples, *vms)
        for name, run in PEERS.items():
            if words and not any(word in name for word in words):
                continue
            begun = time.monotonic()
            try:
                run(stage)
                word, note = "ok", ""
            except Exception as error:
                word, note, failed = "FAILED", f": {error}", failed + 1
            print(f"{word:6} {name} ({time.monotonic() - begun:.0f} s){note}", flush=True)
        left = box.clean()
        print("Left in the box: " + ("; ".join(left) or "nothing."))
    shutil.rmtree(ROOT / f"box-{os.getpid()}", ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
