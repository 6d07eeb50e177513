"""Every way to one instant, every repository, every shape of disk: the archive holds the truth."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from harness import BIN, Desk
from ovirtbox.box import Box, DiskSpec, sha_of
from ovirtbox.model import Vm

MIB = 1 << 20
KIB = 1 << 10


def make(box: Box, name: str, *, running: bool, cluster: str = "Default", backup: str | None = None) -> Vm:
    vm = box.make_vm(
        name,
        [
            DiskSpec(24 * MIB + 512, bootable=True, alias="root", backup=backup),
            DiskSpec(9 * MIB, format="raw", alias="raw"),
            DiskSpec(8 * MIB, alias="resting", active=False, backup=backup),
        ],
        running=running,
        cluster=cluster,
    )
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, 512 * number, 3 * MIB, seed=number)
    return vm


@pytest.fixture(scope="module", autouse=True)
def clusters(box: Box) -> None:
    box.make_cluster("old", (4, 4))
    box.make_cluster("middle", (4, 6))


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("cluster", "running", "backup", "way"),
    [
        ("Default", True, None, "live backup"),
        ("Default", False, None, "cold backup"),
        ("middle", True, None, "live backup"),
        ("middle", False, None, "cold backup"),
        ("old", False, None, "raw transfer"),
        ("old", True, "none", "temporary snapshot"),
    ],
)
def test_the_way_suits_the_vm_and_is_told(
    box: Box, desk: Desk, cluster: str, running: bool, backup: str | None, way: str
) -> None:
    vm = make(box, f"way-{cluster}-{running}", running=running, cluster=cluster, backup=backup)
    truth = {d.id: box.sha(d) for d in box.disks(vm)}
    made = desk.create(vm)
    assert made["way"] == way
    manifest = desk.manifest(made["archive"])
    assert manifest["run"]["way"] == way
    assert manifest["run"]["way_reason"]
    assert {d["run"]["way"] for d in manifest["disks"] if d["alias"] == "resting"} == {"raw transfer"}
    for disk in box.disks(vm):
        assert desk.archived_sha(made["archive"], disk) == truth[disk.id], disk.alias
    assert [s.type for s in vm.snapshots] == ["active"]
    desk.assert_clean()


def test_what_was_frozen_is_told(box: Box, desk: Desk) -> None:
    agent = box.make_vm("agent", [DiskSpec(8 * MIB)], agent=True)
    mute = box.make_vm("mute", [DiskSpec(8 * MIB)], agent=False)
    assert desk.create(agent, "--freeze", "require")["consistency"] == "frozen"
    assert desk.create(agent, "--freeze", "never", "--backup-api", "live")["consistency"] != "frozen"
    refused = desk.run("create", "--freeze", "require", f"{desk.repo}::mute")
    assert refused.code >= 2
    assert desk.create(mute)["consistency"] in ("not frozen", "unknown")
    desk.assert_clean()


@pytest.mark.parametrize("mode", ["repokey-blake2", "authenticated", "none"])
def test_every_mode_of_encryption(box: Box, tmp_path: Path, mode: str) -> None:
    desk = Desk(box, tmp_path, mode)
    vm = make(box, f"mode-{mode}", running=True)
    desk.create(vm, "-C", "zstd,3")
    box.fill(box.disks(vm)[0], 20 * MIB, MIB, seed=5)
    made = desk.create(vm)
    assert made["kind"] == "incremental"
    for disk in box.disks(vm):
        assert desk.archived_sha(made["archive"], disk) == box.sha(disk)
    desk.borg("check", "--verify-data", desk.repo)
    desk.assert_clean()


def test_a_repository_behind_borg_serve(box: Box, tmp_path: Path) -> None:
    """Over `ssh://`, where the remote shell is a script that runs the command here."""
    shell = tmp_path / "shell"
    shell.write_text(
        f"#!{sys.executable}\nimport os, sys\nos.execvp('sh', ['sh', '-c', ' '.join(sys.argv[2:])])\n"
    )
    shell.chmod(0o755)
    desk = Desk(
        box,
        tmp_path / "desk",
        repo=f"ssh://nowhere{tmp_path}/repo",
        BORG_RSH=shlex.quote(str(shell)),
        BORG_REMOTE_PATH=str(BIN / "borg"),
    )
    vm = make(box, "remote", running=True)
    first = desk.create(vm)
    box.fill(box.disks(vm)[0], 20 * MIB, MIB, seed=5)
    made = desk.create(vm)
    assert made["kind"] == "incremental"
    desk.borg("delete", f"{desk.repo}::{first['archive']}")
    desk.borg("compact", "--threshold", "0", desk.repo)
    for disk in box.disks(vm):
        assert desk.archived_sha(made["archive"], disk) == box.sha(disk)
    desk.run("extract", "--name", "remote2", f"{desk.repo}::remote").ok()
    assert {box.sha(d) for d in box.disks(vm)} == {box.sha(d) for d in box.disks(box.vm("remote2"))}
    desk.assert_clean()


def test_shapes_of_disks(box: Box, desk: Desk, tmp_path: Path) -> None:
    """Empty, full, of no even size, and in a hundred thousand pieces."""
    pieces = [(offset, b"\x5a" * (4 * KIB)) for offset in range(0, 420 * MIB, 8 * KIB)]
    vm = box.make_vm(
        "shapes",
        [
            DiskSpec(32 * MIB, alias="empty", bootable=True),
            DiskSpec(12 * MIB, alias="full"),
            DiskSpec(13 * MIB + 1536, alias="odd"),
            DiskSpec(420 * MIB, format="raw", alias="pieces", content=pieces),
        ],
        running=False,
    )
    disks = {d.alias: d for d in box.disks(vm)}
    box.fill(disks["full"], 0, 12 * MIB, seed=1)
    box.fill(disks["odd"], 12 * MIB, MIB + 1536, seed=2)
    made = desk.create(vm)
    read = {d["facts"]["alias"]: d["stats"] for d in made["disks"]}
    assert read["empty"]["bytes_read"] == 0
    assert read["full"]["bytes_read"] == 12 * MIB
    assert read["odd"]["bytes_read"] <= MIB + 1536 + 64 * KIB
    desk.assert_archived(made["archive"], vm)
    desk.run("extract", "--to", str(tmp_path / "out"), f"{desk.repo}::shapes").ok()
    for disk in disks.values():
        assert sha_of(tmp_path / "out" / f"{disk.id}.raw") == box.sha(disk)
    listed = json.loads(desk.run("info", "--json", f"{desk.repo}::shapes").ok().out)
    assert listed["original_size"] == sum(d.virtual_size for d in disks.values())
    desk.assert_clean()
