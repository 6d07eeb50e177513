"""Chain mode into several repositories: every layer is read once, and known where all of them know it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chainbench import guest_bytes, written
from fan import MIB, bytes_read, second, together
from harness import Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm


def make(box: Box, name: str) -> Vm:
    vm = box.make_vm(name, [DiskSpec(8 * MIB, bootable=True), DiskSpec(8 * MIB, format="raw")])
    for disk in box.disks(vm):
        written(box, disk, 1, f"below {disk.alias}")
    box.snapshot(vm, "one")
    for disk in box.disks(vm):
        written(box, disk, 2, f"above {disk.alias}")
    return vm


def assert_whole(box: Box, desks: list[Desk], vm: Vm, made: dict[str, Any]) -> None:
    """Stock borg takes the same chains out of each repository, and they open as they lie."""
    truth = {disk.id: box.content(disk).read_bytes() for disk in box.disks(vm)}
    for number, desk in enumerate(desks):
        root = desk.root / f"{made['archive']}-{number}"
        root.mkdir()
        desk.borg("extract", f"{desk.repo}::{made['archive']}", cwd=root)
        for disk in desk.manifest(made["archive"])["disks"]:
            assert guest_bytes(root / disk["layers"][-1]["path"]) == truth[disk["id"]]
        desk.borg("check", "--verify-data", desk.repo)


def reused(desk: Desk, archive: str) -> list[str | None]:
    return [x["reused_from"] for disk in desk.manifest(archive)["disks"] for x in disk["layers"]]


def test_one_read_for_all_and_known_layers_are_referred_to_in_each(box: Box, desk: Desk) -> None:
    vm = make(box, "chains")
    desks = [desk, second(desk, "other"), second(desk, "offsite", served=True)]
    first = together(vm, desks, "--mode", "chain")
    sizes = [x["size"] for d in desk.manifest(first["archive"])["disks"] for x in d["layers"]]
    assert sum(d["stats"]["bytes_read"] + d["stats"]["bytes_zero"] for d in first["disks"]) == sum(sizes)
    assert [s["error"] for s in first["stored"]] == [None] * 3
    assert_whole(box, desks, vm, first)
    later = together(vm, desks, "--mode", "chain", "--sample", "all")
    assert later["kind"] == "incremental"
    assert sum(disk["sampled"] for disk in later["disks"]) > 0
    assert sum(disk["mismatches"] for disk in later["disks"]) == 0
    old = first["archive"]
    for one in desks:
        assert reused(one, later["archive"]) == [old, None, old, None]
        run = one.manifest(later["archive"])["run"]
        assert (run["base"]["name"], run["mode_asked"]) == (old, "chain")
    assert_whole(box, desks, vm, later)
    desk.assert_clean()


def test_each_refers_to_its_own_base(box: Box, desk: Desk) -> None:
    vm = make(box, "apart")
    other = second(desk, "other")
    mine, theirs = desk.create(vm, "--mode", "chain"), other.create(vm, "--mode", "chain")
    made = together(vm, [desk, other], "--mode", "chain")
    assert [s["base"] for s in made["stored"]] == [mine["archive"], theirs["archive"]]
    for one, base in ((desk, mine), (other, theirs)):
        assert reused(one, made["archive"]) == [base["archive"], None, base["archive"], None]
    assert_whole(box, [desk, other], vm, made)


def test_what_one_does_not_know_is_read_once_and_stored_in_all(box: Box, desk: Desk) -> None:
    vm = make(box, "behind")
    other = second(desk, "other")
    together(vm, [desk, other], "--mode", "chain")
    box.snapshot(vm, "two")
    desk.create(vm, "--mode", "chain")
    words = [f"{one.repo}::{vm.name}" for one in (desk, other)]
    run = desk.run("create", "-v", "--json", "--mode", "chain", *words).ok()
    made = run.vm
    assert f"is read: {other.repo}: it was not frozen by a snapshot of the VM since" in run.err
    for one in (desk, other):
        assert [name is not None for name in reused(one, made["archive"])] == [True, False, False] * 2
    new = {stored["repository"]: stored["bytes_new"] for stored in made["stored"]}
    assert new[desk.repo] < new[other.repo]  # the layer under "two" was in one of them already
    assert_whole(box, [desk, other], vm, made)
    third = second(desk, "third")
    made = together(vm, [desk, third], "--mode", "chain")
    assert made["kind"] == "full"
    assert f"{third.repo}: first chain backup" in made["reason"]
    assert_whole(box, [desk, third], vm, made)
    desk.assert_clean()


def test_a_layer_that_changed_behind_our_back_is_caught_with_everybodys_own_ids(box: Box, desk: Desk) -> None:
    vm = make(box, "liar")
    desks = [desk, second(desk, "other")]
    together(vm, desks, "--mode", "chain")
    disk = box.disks(vm)[0]
    box.stop_vm(vm)
    with disk.layers[0].path.open("r+b") as file:  # the same size: no fact of the engine tells it
        file.seek(file.read().index(b"below"))
        file.write(b"BELOW")
    made = together(vm, desks, "--mode", "chain", "--sample", "all", code=1)
    assert any("A LAYER CHANGED" in text for text in made["warnings"])
    for one in desks:
        assert [name is not None for name in reused(one, made["archive"])] == [False, False, True, False]
        path = desk.manifest(made["archive"])["disks"][0]["layers"][0]["path"]
        assert "BELOW" in one.borg("extract", "--stdout", f"{one.repo}::{made['archive']}", path)


def test_one_that_cannot_be_opened_is_left_behind(box: Box, desk: Desk) -> None:
    vm = make(box, "nowhere")
    other = second(desk, "other")
    together(vm, [desk, other], "--mode", "chain")
    Path(other.repo).rename(desk.root / "elsewhere")
    made = together(vm, [desk, other], "--mode", "chain", code=1)
    assert [s["archive"] for s in made["stored"]] == [made["archive"], None]
    assert made["kind"] == "incremental"
    assert bytes_read(made) > 0
    assert_whole(box, [desk], vm, made)
    desk.assert_clean()
