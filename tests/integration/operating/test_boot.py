"""verify --level boot: the guest of an archive runs, in the engine or here, and nothing of it stays."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import Desk
from libvirt_host import boot_sector
from operating import SMALL, configure
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.machines import AGENT

HELLO = b"hello from the archive"


def test_a_scratch_vm_speaks_and_is_removed(box: Box, desk: Desk) -> None:
    configure(desk)
    disks = [DiskSpec(SMALL, bootable=True, content=[(0, AGENT)]), DiskSpec(SMALL, format="raw")]
    vm = box.make_vm("speaks", disks, running=False, nics=2)
    archive = desk.create(vm)["archive"]
    before = {one.id for one in box.engine.world.vms.values()}
    met = watch_nics(box, before)
    desk.run("verify", "--level", "boot", "--json", "local::speaks").ok()
    assert met == [0]  # no network card
    assert {one.id for one in box.engine.world.vms.values()} == before
    desk.assert_clean()
    (line,) = desk.run("list", "--json", "local").ok().json["archives"]
    assert line["proof"]["level"] == "boot"
    assert "booted in the engine: borg-ovirt-proof-" in line["proof"]["note"]
    box.snapshot(vm, "before")
    box.fill(box.disks(vm)[0], 4 * MIB, MIB, seed=3)
    desk.create(vm, "--mode", "chain")
    desk.run("verify", "--level", "boot", "local::speaks").ok()
    desk.assert_clean()
    assert archive in desk.archives()


def watch_nics(box: Box, known: set[str]) -> list[int]:
    """How many network cards each VM has that is started and was not there before."""
    met: list[int] = []
    start = box.engine.data.start_vm

    def started(vm, disks):  # type: ignore[no-untyped-def]
        if vm.id not in known:
            met.append(len(vm.nics))
        return start(vm, disks)

    box.engine.data.start_vm = started  # type: ignore[method-assign]
    return met


def test_a_silent_guest_is_no_proof_unless_it_had_an_agent(box: Box, desk: Desk) -> None:
    configure(desk)
    silent = box.make_vm("silent", [DiskSpec(SMALL)], running=False)
    archive = desk.create(silent)["archive"]
    run = desk.run("verify", "--level", "boot", "--boot-timeout", "1s", f"local::{archive}").ok(1)
    assert "no guest agent spoke within 1 s" in run.err
    assert "none yet" in desk.run("info", f"local::{archive}").ok().out
    archive = desk.create(silent, "--freeze", "require")["archive"]
    run = desk.run("verify", "--level", "boot", "--boot-timeout", "1s", f"local::{archive}").ok(37)
    assert "FAILED boot" in desk.run("info", f"local::{archive}").ok(1).out
    desk.assert_clean()


@pytest.mark.parametrize("moment", ["its disks are filled", "it runs"])
def test_a_kill_leaves_nothing_after_the_next_run(box: Box, desk: Desk, moment: str) -> None:
    configure(desk)
    name = f"mortal-{moment.split()[-1]}"
    vm = box.make_vm(name, [DiskSpec(SMALL)], running=False)
    box.fill(box.disks(vm)[0], MIB, 2 * MIB, seed=1)
    desk.create(vm)
    known, disks = set(box.world.vms), set(box.world.disks)

    def reached() -> bool:
        if moment == "it runs":
            return any(one.status == "up" for one in list(box.world.vms.values()) if one.id not in known)
        return any(one.phase == "transferring" for one in list(box.world.transfers.values()))

    if moment != "it runs":
        box.inject.latency(3, "*/finalize")
    killed = started(desk, "verify", "--level", "boot", f"local::{name}")
    try:
        box.wait(reached, moment)
    finally:
        killed.kill()
        killed.communicate()
        box.inject.clear()
    assert (set(box.world.vms) != known) == (moment == "it runs")
    assert set(box.world.disks) != disks
    # The next run ends what was left before it begins; what was asked for a moment ago, the one after it.
    desk.run("verify", "--level", "structure", "local").ok()
    told = desk.run("cleanup").ok(0, 1)
    if told.code:
        desk.a_day_later()
    assert (set(box.world.vms), set(box.world.disks)) == (known, disks)
    desk.assert_clean()


def started(desk: Desk, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        desk.command(*words), env=desk.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def guests_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that it started, as the system tells."""
    try:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    except OSError:
        return []
    names = {int(pid): Path(f"/proc/{pid}/comm") for pid in text.split()}
    return [
        pid for pid, comm in names.items() if comm.exists() and comm.read_text().startswith("qemu-system")
    ]


def serial_line(guest: int) -> bytes:
    words = Path(f"/proc/{guest}/cmdline").read_bytes().split(b"\0")
    found = [word.split(b"path=")[1] for word in words if word.startswith(b"file,id=serial")]
    return b"".join(Path(os.fsdecode(path)).read_bytes() for path in found if os.path.exists(path))


def test_a_kill_ends_the_guest_that_runs_here(box: Box, desk: Desk) -> None:
    configure(desk)
    disk = DiskSpec(SMALL, bootable=True, content=[(0, boot_sector(HELLO))])
    archive = desk.create(box.make_vm("orphan", [disk], running=False))["archive"]
    words = ["--level", "boot", "--local", "--expect-line", "never said", f"local::{archive}"]
    process = started(desk, "verify", *words)
    try:
        box.wait(lambda: guests_of(process) != [], "QEMU")
        (guest,) = guests_of(process)
        box.wait(lambda: HELLO in serial_line(guest), "the guest")
    finally:
        process.kill()
        process.communicate()
    box.wait(lambda: not Path(f"/proc/{guest}/exe").exists(), "the end of QEMU", timeout=20)


def test_without_an_engine_qemu_runs_it_from_the_repository(box: Box, desk: Desk, tmp_path: Path) -> None:
    configure(desk)
    root = DiskSpec(SMALL, bootable=True, content=[(0, boot_sector(HELLO))])
    vm = box.make_vm("here", [root, DiskSpec(SMALL, interface="virtio")], running=False)
    archive = desk.create(vm)["archive"]
    nowhere = {"BORG_OVIRT_URL": "", "BORG_OVIRT_PASSWORD": ""}
    words = ["verify", "--level", "boot", "--local", "--boot-timeout", "60s", "--json", f"local::{archive}"]
    run = desk.run(*words, "--expect-line", HELLO.decode(), **nowhere).ok()
    (line,) = run.json["repositories"]["local"]["lines"]
    assert "it said 'hello from the archive'" in line["note"]
    assert desk.archived_sha(archive, box.disks(vm)[0]) == box.sha(box.disks(vm)[0])
    words[words.index("60s")] = "2s"
    run = desk.run(*words, "--expect-line", "something else", **nowhere).ok(37)
    assert "the line 'something else' was not there within 2 s; its serial line" in run.err
    run = desk.run(*words, "--expect-port", "22", **nowhere).ok(37)
    assert "port 22 was not there within 2 s" in run.err
    assert json.loads(run.out)
    assert desk.run("verify", "--local", "local").code == 2
    assert desk.run("verify", "--level", "boot", "--expect-port", "22", "local").code == 2
    missing = desk.run(*words, "--expect-port", "22", PATH="/usr/sbin", **nowhere).ok(1)
    assert "install qemu" in missing.err
