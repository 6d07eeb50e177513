"""Chain mode as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from chainbench import guest_bytes, written
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm


@pytest.fixture
def desk(box: Box, tmp_path: Path) -> Desk:
    return Desk(box, tmp_path)


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    made = box.make_vm("typed", [DiskSpec(8 * MIB, alias="root")])
    (disk,) = box.disks(made)
    written(box, disk, 1, "below")
    box.snapshot(made, "before the upgrade")
    written(box, disk, 2, "above")
    return made


def test_out_and_back(desk: Desk, box: Box, vm: Vm) -> None:
    first = desk.create(vm, "--mode", "chain")
    assert (first["kind"], first["method"]) == ("full", "temporary snapshot")
    second = desk.create(vm, "--mode", "chain", "--sample", "all")
    assert second["kind"] == "incremental"
    desk.assert_clean()
    truth = box.content(box.disks(vm)[0]).read_bytes()
    place = f"{desk.repo}::{vm.name}"
    told = desk.run("extract", "--dry-run", "--name", "again", place).ok().out
    assert "snapshot before the upgrade (taken" in told
    assert "root: 2 layers" in told
    desk.run("extract", "--name", "again", place).ok()
    again = box.vm("again")
    assert guest_bytes(box.disks(again)[0].active.path) == truth
    assert [s.description.split(" (")[0] for s in again.snapshots] == ["before the upgrade", "Active VM"]
    result = desk.run("extract", "--json", "--flatten", "--name", "flat", place).ok().json
    assert result["snapshots"] == []
    assert guest_bytes(box.disks(box.vm("flat"))[0].active.path) == truth
    box.as_found()
    desk.assert_clean()


def test_into_files(desk: Desk, box: Box, vm: Vm) -> None:
    archive = desk.create(vm, "--mode", "chain")["archive"]
    (disk,) = box.disks(vm)
    truth = box.content(disk).read_bytes()
    place = f"{desk.repo}::{archive}"
    desk.run("extract", "--to", str(desk.root / "lies"), place).ok()
    top = desk.manifest(archive)["disks"][0]["layers"][-1]["path"]
    assert guest_bytes(desk.root / "lies" / top) == truth
    desk.run("extract", "--to", str(desk.root / "joined"), "--flatten", place).ok()
    assert (desk.root / "joined" / f"{disk.id}.raw").read_bytes() == truth
    desk.run("extract", "--to", str(desk.root / "then"), "--snapshot", "before the upgrade", place).ok()
    assert len(list((desk.root / "then" / "disks" / disk.id).iterdir())) == 1


def test_what_other_commands_make_of_it(desk: Desk, vm: Vm) -> None:
    first = desk.create(vm, "--mode", "chain")["archive"]
    second = desk.create(vm, "--mode", "chain")["archive"]
    listed = desk.run("list", "--json", desk.repo).ok().json
    assert first in str(listed)
    assert "Mode:         chain, full" in desk.run("info", f"{desk.repo}::{first}").ok().out
    layers = {layer["image_id"] for layer in desk.manifest(second)["disks"][0]["layers"]}
    found = desk.run("diff", "--json", f"{desk.repo}::{first}", second).ok().json["disks"]
    assert {disk["id"]: disk["state"] for disk in found} == dict.fromkeys(layers, "same")
    image = desk.create(vm)["archive"]
    assert "cannot be compared" in desk.run("diff", f"{desk.repo}::{first}", image).ok(2).err


def test_wishes_that_contradict_each_other(desk: Desk, vm: Vm) -> None:
    refused = desk.run("create", "--no-snapshot", f"{desk.repo}::{vm.name}").ok(2)
    assert "--mode chain" in refused.err
    image = desk.create(vm)["archive"]
    refused = desk.run("extract", "--flatten", "--name", "x", f"{desk.repo}::{image}").ok(2)
    assert "holds no snapshot chains" in refused.err


def test_no_wait_and_no_snapshot(desk: Desk, box: Box, vm: Vm) -> None:
    desk.create(vm, "--mode", "chain", "--no-wait")
    box.wait(lambda: len(vm.snapshots) == 2, "the merge")
    left = desk.create(vm, "--mode", "chain", "--no-snapshot", code=1)
    assert left["method"] == "frozen layers"
    assert any("since its last snapshot" in text for text in left["warnings"])
    desk.assert_clean()
