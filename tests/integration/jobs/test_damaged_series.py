"""The newest archive of a series is damaged: backups go on, and say why they read what they read."""

from __future__ import annotations

import json

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm


def make(box: Box, name: str) -> Vm:
    vm = box.make_vm(name, [DiskSpec(12 * MIB, alias="root")])
    (disk,) = box.disks(vm)
    box.fill(disk, 0, 6 * MIB, seed=1)
    box.snapshot(vm, "below")
    box.fill(disk, 6 * MIB, MIB, seed=2)
    return vm


def lose(desk: Desk, archive: str, path: str = "manifest.json") -> None:
    """Take the first chunk of a file of the archive out of the repository."""
    dump = desk.root / f"{archive}.json"
    desk.borg("debug", "dump-archive", f"{desk.repo}::{archive}", str(dump))
    items = json.loads(dump.read_text())["_items"]
    chunks = next(item for item in items if item["path"] == path)["chunks"]
    desk.borg("debug", "delete-obj", desk.repo, chunks[0][0].lstrip("\x7f"))


def repair(desk: Desk) -> None:
    desk.env["BORG_CHECK_I_KNOW_WHAT_I_AM_DOING"] = "YES"
    desk.borg("check", "--repair", desk.repo)


@pytest.mark.parametrize("repaired", [False, True], ids=["lost", "repaired"])
@pytest.mark.parametrize("mode", ["image", "chain"])
def test_a_lost_manifest_stops_no_backup(box: Box, desk: Desk, mode: str, repaired: bool) -> None:
    vm = make(box, f"lost-{mode}-{repaired}")
    first = desk.create(vm, "--mode", mode)["archive"]
    lose(desk, desk.create(vm, "--mode", mode)["archive"])
    if repaired:
        repair(desk)
    told = desk.run("estimate", "--json", "--mode", mode, f"{desk.repo}::{vm.name}").ok().json
    run = desk.run("create", "--json", "--mode", mode, f"{desk.repo}::{vm.name}").ok()
    assert "damaged" in run.err
    made = run.vm
    if mode == "image":  # the engine does not hold the checkpoint of the one before any more
        assert made["kind"] == "full"
        assert "damaged" in made["reason"] + told["reason"]
        desk.assert_archived(made["archive"], vm)
    else:
        assert (made["kind"], told["base"]) == ("incremental", first)
        assert [stored["base"] for stored in made["stored"]] == [first]
    assert told["to_read"] == sum(disk["stats"]["bytes_read"] for disk in made["disks"])
    lose(desk, made["archive"])
    full = desk.create(vm, "--mode", mode, "--full")
    assert (full["kind"], full["reason"]) == ("full", "a full backup was asked for")
    desk.assert_clean()


@pytest.mark.parametrize("mode", ["image", "chain"])
def test_the_grid_is_kept_though_the_newest_manifest_is_lost(box: Box, desk: Desk, mode: str) -> None:
    vm = make(box, f"grid-{mode}")
    desk.create(vm, "--mode", mode, "--chunk-size", "1MiB")
    lose(desk, desk.create(vm, "--mode", mode)["archive"])
    made = desk.create(vm, "--mode", mode)
    assert desk.manifest(made["archive"])["run"]["cell"] == MIB


def test_what_both_modes_write_down(box: Box, desk: Desk) -> None:
    vm = make(box, "written-down")
    for mode in ("image", "chain"):
        made = desk.create(vm, "--mode", mode)
        (stored,) = made["stored"]
        assert (stored["repository"], stored["archive"], stored["error"]) == (
            desk.repo,
            made["archive"],
            None,
        )
        assert stored["bytes_new"] == sum(disk["stats"]["bytes_new"] for disk in made["disks"])
        assert made["mode"] == mode
        assert desk.manifest(made["archive"])["run"]["mode_asked"] == mode
