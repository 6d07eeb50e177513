"""verify --level boot: the guest of an archive runs, in the engine or here, and nothing of it stays."""

from __future__ import annotations

import json
from pathlib import Path

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
