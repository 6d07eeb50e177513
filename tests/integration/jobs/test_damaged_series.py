"""The newest archive of a series is damaged: backups go on, and say why they read what they read."""

from __future__ import annotations

import json
import os
from pathlib import Path

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


@pytest.mark.thin(2)
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


def segments(desk: Desk) -> dict[Path, int]:
    """The files of the repository, and how large each is."""
    return {path: path.stat().st_size for path in (Path(desk.repo) / "data").rglob("*") if path.is_file()}


def take(desk: Desk, before: dict[Path, int], *, cut: bool = False) -> None:
    """Lose the largest file that came since, or the end of it."""
    since = {path: size for path, size in segments(desk).items() if path not in before}
    largest = max(since, key=lambda path: since[path])
    if cut:
        os.truncate(largest, 64)
    else:
        largest.unlink()


@pytest.mark.thin(1)
@pytest.mark.parametrize("cut", [False, True], ids=["lost", "cut off"])
def test_a_segment_with_data_is_lost(
    box: Box, desk: Desk, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index of the repository still names its chunks. In all the others nothing is lost."""
    vm, other = make(box, f"segment-{cut}"), make(box, f"beside-{cut}")
    beside = desk.create(other)["archive"]
    before = segments(desk)
    (disk,) = box.disks(vm)
    box.fill(disk, 0, 4 * MIB, seed=77)
    first = desk.create(vm)["archive"]
    second = desk.create(vm)["archive"]
    take(desk, before, cut=cut)
    where = f"{desk.repo}::{vm.name}"
    monkeypatch.chdir(desk.root)  # however the repository is typed
    listed = {line["archive"]: line for line in desk.run("list", "--json", "repo").ok().json["archives"]}
    assert "lost chunks of" in listed[second]["damage"]
    assert listed[beside]["damage"] is None
    told = desk.run("list", desk.repo, vm.name).ok()
    assert "DAMAGED" in told.out
    assert first not in told.out
    assert told.err.count(f"{first} cannot be read") == 1
    assert "cannot be restored whole" in desk.run("info", where).ok(1).err
    assert "cannot be read" in desk.run("info", f"{desk.repo}::{first}").ok(36).err
    protected = desk.run("vms", "--json", desk.repo).ok(1).json["vms"]
    assert [line["verdict"] for line in protected if line["vm"] == vm.name] == ["damaged"]
    assert "BLOCKED" in desk.run("extract", where, "--name", "again", "--dry-run").ok(40).out
    kept = desk.archives()
    desk.run("prune", desk.repo, "--keep-last", "1").ok()
    assert desk.archives() == kept, "each is the newest of its VM, or cannot be read"
    failed = desk.run("create", where)
    assert failed.code == 36
    assert "borg check" in failed.err
    assert desk.archives() == kept
    desk.assert_archived(beside, other)
    desk.assert_clean()


def test_the_segment_of_the_newest_archive_is_lost(box: Box, desk: Desk) -> None:
    """An older state is not given back as if it were the latest; a backup makes a whole one again."""
    vm = make(box, "newest-segment")
    first = desk.create(vm)["archive"]
    before = segments(desk)
    lost = desk.create(vm)["archive"]
    take(desk, before)
    for command in (["info"], ["extract", "--name", "again", "--dry-run"], ["serve"]):
        refused = desk.run(command[0], f"{desk.repo}::{vm.name}", *command[1:]).ok(36)
        assert lost in refused.err
        assert first in refused.err
    desk.run("extract", f"{desk.repo}::{first}", "--name", "again", "--dry-run").ok()
    desk.run("prune", desk.repo, "--keep-last", "1").ok()
    assert [a for a in desk.archives() if a != lost] == [first]
    made = desk.create(vm)
    assert made["kind"] == "full"
    desk.assert_archived(made["archive"], vm)
    desk.run("info", f"{desk.repo}::{vm.name}").ok()
    desk.assert_clean()


@pytest.mark.thin(1)
@pytest.mark.parametrize("mode", ["image", "chain"])
def test_stock_borg_removes_one_from_the_middle(box: Box, desk: Desk, mode: str) -> None:
    """No archive depends on another: a series goes on, restores and is pruned as before."""
    vm = make(box, f"middle-{mode}")
    (disk,) = box.disks(vm)
    made = []
    for night in range(3):
        box.fill(disk, (7 + night) * MIB, 64 << 10, seed=30 + night)
        made.append(desk.create(vm, "--mode", mode)["archive"])
    desk.borg("delete", f"{desk.repo}::{made[1]}")
    desk.borg("compact", "--threshold", "0", desk.repo)
    after = desk.create(vm, "--mode", mode)
    assert after["kind"] == "incremental"
    assert [stored["base"] for stored in after["stored"]] == [made[2]]
    listed = desk.run("list", desk.repo, vm.name, "--json").ok().json["archives"]
    assert [(line["archive"], line["damage"]) for line in listed] == [
        (name, None) for name in (made[0], made[2], after["archive"])
    ]
    for name in (made[0], after["archive"]):
        files = desk.root / name
        words = ["--flatten"] if mode == "chain" else []
        desk.run("extract", f"{desk.repo}::{name}", "--to", str(files), *words).ok()
    restored = next(files.glob("*.raw")).read_bytes()
    assert restored == box.content(disk).read_bytes()
    desk.run("prune", desk.repo, "--keep-last", "1").ok()
    assert desk.archives() == [after["archive"]]
    desk.borg("check", "--verify-data", desk.repo)
    desk.assert_clean()
