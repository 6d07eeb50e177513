"""Lines that are slow or break: what was sent is not sent again, and nobody's VM waits for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fan import MIB, assert_equal, beside, bytes_read, second, together
from harness import Desk
from line import Line
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

OFTEN = ("--checkpoint-interval", "0.01s", "--chunk-size", "512KiB", "-C", "none")
"""At most one for each chunk, which costs little beside it, however slow the machine is."""
DATA, RATE = 48 * MIB, 24 * MIB
"""Bytes, and how many of them a second: slow enough for a checkpoint after each chunk."""


@pytest.fixture
def line(tmp_path: Path) -> Line:
    return Line(tmp_path / "line")


@pytest.fixture
def desk(box: Box, tmp_path: Path, line: Line) -> Iterator[Desk]:
    yield Desk(box, tmp_path, **line.env, BORG_RELOCATED_REPO_ACCESS_IS_OK="yes")
    box.inject.clear()


def first(box: Box, name: str) -> Vm:
    vm = box.make_vm(name, [DiskSpec(64 * MIB, bootable=True)], running=True)
    box.fill(box.disks(vm)[0], 0, DATA, seed=3)
    return vm


def test_killed_at_sixty_percent_sends_less_than_half_again(box: Box, desk: Desk, line: Line) -> None:
    vm = first(box, "first")
    far = beside(desk, line.location(desk.root / "repo"))
    line.now(breaks=DATA * 6 // 10, rate=RATE)
    desk.run("create", *OFTEN, f"{far.repo}::{vm.name}").ok(-9)
    assert desk.archives() == []
    assert desk.run("list", "--json", desk.repo).ok().json["archives"] == []
    line.now()
    made = far.create(vm, *OFTEN, "--checkpoint-interval", "0s")
    assert made["kind"] == "full"
    assert line.sent < DATA * 0.45
    assert desk.borg("list", "--consider-checkpoints", "--short", desk.repo).split() == [made["archive"]]
    desk.assert_archived(made["archive"], vm)
    desk.borg("check", "--verify-data", desk.repo)
    desk.assert_clean()


def test_a_worker_that_dies_leaves_its_checkpoint(box: Box, desk: Desk, line: Line) -> None:
    vm = first(box, "beside")
    other = second(desk, "other")
    far = beside(desk, line.location(Path(other.repo)))
    line.now(breaks=DATA * 6 // 10, rate=RATE)
    missed = together(vm, [desk, far], *OFTEN, code=1)
    assert [stored["archive"] for stored in missed["stored"]] == [missed["archive"], None]
    made = together(vm, [desk, far], *OFTEN, "--checkpoint-interval", "0s")
    assert line.sent < DATA * 0.45
    assert_equal(made, [desk, other], vm)
    desk.assert_clean()


def test_one_that_falls_behind_is_caught_up_afterwards(box: Box, desk: Desk, line: Line) -> None:
    vm = box.make_vm("slow", [DiskSpec(128 * MIB, bootable=True)], running=True)
    box.fill(box.disks(vm)[0], 0, 112 * MIB, seed=4)
    other = second(desk, "other")
    far = beside(desk, line.location(Path(other.repo)))
    line.now(rate=14 * MIB)
    words = [f"{there.repo}::{vm.name}" for there in (desk, far)]
    done = desk.run("create", "--json", "-C", "none", "--repo-stall", "3s", *words).ok()
    made = done.vm
    assert made["status"] == "ok"
    assert made["warnings"] == []
    near, copied = made["stored"]
    assert (near["copied_from"], copied["copied_from"]) == (None, desk.repo)
    assert (copied["repository"], copied["archive"]) == (far.repo, made["archive"])
    assert [one["error"] for one in done.json["repositories"]] == [None, None]
    assert f"{far.repo} fell behind" in done.err
    assert_equal(made, [desk, other], vm)
    box.fill(box.disks(vm)[0], 0, MIB, seed=5)
    again = together(vm, [desk, far], "--sample", "0")
    assert (again["kind"], bytes_read(again)) == ("incremental", 4 * MIB)
    assert_equal(again, [desk, other], vm)
    desk.assert_clean()


def test_one_that_cannot_be_caught_up_is_told(box: Box, desk: Desk, line: Line) -> None:
    vm = box.make_vm("broken", [DiskSpec(96 * MIB, bootable=True)], running=True)
    box.fill(box.disks(vm)[0], 0, 80 * MIB, seed=4)
    other = second(desk, "other")
    far = beside(desk, line.location(Path(other.repo)))
    desk.borg("config", other.repo, "storage_quota", "60M")
    line.now(rate=8 * MIB)
    missed = together(vm, [desk, far], "-C", "none", "--repo-stall", "1s", code=1)
    assert [stored["archive"] for stored in missed["stored"]] == [missed["archive"], None]
    assert "fell behind" in missed["warnings"][0]
    assert "was not caught up" in missed["warnings"][1]
    desk.assert_clean()


def test_of_several_under_way_only_the_unfinished_is_sent_again(box: Box, desk: Desk, line: Line) -> None:
    vms = [first(box, f"pair{number}") for number in range(2)]
    for vm in vms:
        box.fill(box.disks(vm)[0], 0, DATA, seed=int(vm.name[-1]))
    far = beside(desk, line.location(desk.root / "repo"))
    words = ["create", "--json", *OFTEN, "--captures", "2", "--vm", "pair*", far.repo]
    line.now(breaks=DATA + DATA * 2 // 3, rate=RATE)
    desk.run(*words).ok(-9)
    assert len(desk.archives()) == 1
    line.now()
    made = desk.run(*words).ok().vms
    assert line.sent < DATA * 0.45
    names = desk.borg("list", "--consider-checkpoints", "--short", desk.repo).split()
    assert len(names) == 3
    for vm in vms:
        desk.assert_archived(made[vm.name]["archive"], vm)
    desk.assert_clean()
