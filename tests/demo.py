"""`make demo`: the main job on an oVirt in a box, told in plain words.

A VM runs and writes to its disks while it is backed up into an encrypted Borg repository. The next night only
what changed is read. Then the VM is restored beside the original and into files, and every byte is compared
with what the box says the disks held at the instant of the backup.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ovirtbox.box import Box, DiskSpec, sha_of
from ovirtbox.model import Disk, Vm
from ovirtbox.samples import file_system

MIB = 1 << 20
BIN = Path(sys.executable).parent


class Demo:
    """The stage: a box, a repository, a terminal."""

    def __init__(self, box: Box, root: Path) -> None:
        self.box = box
        self.root = root
        self.repo = root / "repo"
        self.failures = 0
        self.env = {
            **os.environ,
            **box.env(),
            "PATH": f"{BIN}:{os.environ.get('PATH', '')}",
            "BORG_REPO": str(self.repo),
            "BORG_BASE_DIR": str(root / "borg"),
            "BORG_PASSPHRASE": "correct horse battery staple",
            "BORG_OVIRT_STATE_DIR": str(root / "state"),
            "BORG_OVIRT_CONFIG": str(root / "config.yaml"),
        }
        (root / "config.yaml").write_text("{}\n")

    def type(self, *words: str, quiet: bool = False) -> str:
        """Type a command and show what it prints."""
        shown = " ".join(words).replace(str(self.root), "~")
        print(f"\n$ {shown}", flush=True)
        done = subprocess.run(words, env=self.env, text=True, stdout=subprocess.PIPE, stderr=None)
        if not quiet:
            print(done.stdout.replace(str(self.root), "~"), end="", flush=True)
        if done.returncode:
            sys.exit(f"demo: {shown} ended with status {done.returncode}")
        return done.stdout

    def latest(self) -> dict[str, Any]:
        """The manifest of the latest archive, read with stock borg."""
        names = json.loads(self._borg("list", "--json"))["archives"]
        manifest: dict[str, Any] = json.loads(
            self._borg("extract", "--stdout", f"::{names[-1]['name']}", "manifest.json")
        )
        return manifest

    def _borg(self, *words: str) -> str:
        return subprocess.run(
            [str(BIN / "borg"), *words], env=self.env, text=True, check=True, stdout=subprocess.PIPE
        ).stdout

    def compare(self, what: str, disk: Disk, restored: Path, backup_id: str) -> None:
        """Compare a restored disk with what the box knows the disk held at the instant of the backup."""
        same = sha_of(self.box.content_at(backup_id, disk)) == sha_of(restored)
        self.failures += not same
        print(
            f"  {'equal    ' if same else 'DIFFERENT'}  {what} {disk.alias} ({disk.virtual_size >> 20} MiB)"
        )


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


@contextmanager
def busy_guest(box: Box, disks: list[Disk]) -> Iterator[list[int]]:
    """The VM writes to its disks all the time."""
    ended = threading.Event()
    writes: list[int] = []

    def work() -> None:
        while not ended.wait(0.005):
            count = len(writes)
            disk = disks[count % len(disks)]
            offset = (200 * MIB + count * 65536) % (disk.virtual_size - MIB)
            box.write(disk, offset, f"write number {count} ".encode() * 64)
            writes.append(offset)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield writes
    finally:
        ended.set()
        thread.join()


def make_vm(box: Box) -> Vm:
    """Two qcow2 disks and a raw one with real file systems, one of them on the block storage domain."""
    return box.make_vm(
        "web01",
        [
            DiskSpec(512 * MIB, bootable=True, alias="web01_root", content=file_system("root", 512 * MIB, 1)),
            DiskSpec(256 * MIB, domain="lun", alias="web01_data", content=file_system("data", 256 * MIB, 2)),
            DiskSpec(128 * MIB, format="raw", alias="web01_logs", content=file_system("logs", 128 * MIB, 3)),
        ],
        agent=True,
        tags=["production"],
    )


def main() -> None:
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="borg-ovirt-demo-"))
    try:
        say("An oVirt in a box: a simulated engine, the real imageio daemon, real QEMU")
        with Box.start(root / "box") as box:
            demo = Demo(box, root)
            play(demo, box)
            left = box.clean()
            say(
                "The engine is as it was found: "
                + ("nothing is left behind." if not left else f"NOT SO: {left}")
            )
            demo.failures += bool(left)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    if demo.failures:
        sys.exit("demo: something is wrong, see above")
    say(f"All of it in {time.monotonic() - started:.0f} seconds.")


def play(demo: Demo, box: Box) -> None:
    """The story."""
    vm = make_vm(box)
    disks = box.disks(vm)
    qcow2 = [disk for disk in disks if disk.format == "cow"]
    print(f"VM {vm.name} is {vm.status}, with disks {', '.join(d.alias for d in disks)}.")

    box.shift(days=-2)  # so that the last night is this one, and no archive is from the future
    say("An encrypted repository, made with stock borg")
    demo.type("borg", "init", "--encryption", "repokey")

    say("The first night: the VM runs, and writes, while it is backed up")
    with busy_guest(box, qcow2) as writes:
        demo.type("borg-ovirt", "create", "::web01")
    print(f"(the guest wrote {len(writes)} times meanwhile)")

    say("The second night: some files changed, and only they are read")
    box.shift(days=1)
    box.fill(disks[0], 300 * MIB, 3 * MIB, seed=9)
    with busy_guest(box, qcow2):
        demo.type("borg-ovirt", "create", "::web01")
    demo.type("borg-ovirt", "list")

    say("The disaster drill: restore beside the original, with new ids")
    demo.type("borg-ovirt", "extract", "--name", "web01-restored", "::web01")
    say("... and into files, without any engine")
    demo.type("borg-ovirt", "extract", "--to", str(demo.root / "files"), "::web01")

    say("Every byte, compared with the instant of the backup")
    backup_id = demo.latest()["run"]["backup_id"]
    restored = {disk.alias: disk for disk in box.disks(box.vm("web01-restored"))}
    for disk in disks:
        demo.compare("the VM's disk", disk, box.content(restored[disk.alias]), backup_id)
        demo.compare("the file of ", disk, demo.root / "files" / f"{disk.id}.raw", backup_id)

    say("Every night by itself: one command for all VMs that a configuration selects")
    database = box.make_vm(
        "db01", [DiskSpec(64 * MIB, alias="db01_root")], running=False, tags=["production"]
    )
    box.fill(box.disks(database)[0], 8 * MIB, 4 * MIB, seed=10)
    box.shift(days=1)
    rules = "vms: {include: {tags: [production]}}\nretention: {last: 1}\n"
    (demo.root / "config.yaml").write_text(rules)
    print(rules, end="")
    demo.type("borg-ovirt", "create")
    demo.type("borg-ovirt", "vms")
    say("The rules of retention, for each VM by itself; what is kept needs nothing of what goes")
    demo.type("borg-ovirt", "prune", "--dry-run")
    demo.type("borg-ovirt", "prune")

    say("Stock borg agrees: the archive is an ordinary one")
    demo.type("borg", "check", "--verify-data")
    demo.type("borg", "list", "::" + json.loads(demo._borg("list", "--json"))["archives"][-1]["name"])


if __name__ == "__main__":
    main()
