"""Incremental for ever: what changed is read, every archive is complete, and doubt reads everything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Desk
from ovirtbox import backups
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk, Vm

from borg_ovirt.errors import VmNotSuitable

MIB = 1 << 20
CELL = 4 * MIB

WAYS = [
    pytest.param((True, "auto"), id="hybrid-up"),
    pytest.param((False, "auto"), id="hybrid-down"),
    pytest.param((True, "live"), id="live"),
    pytest.param((False, "live"), id="cold"),
]


def make(box: Box, name: str, *, running: bool = True, size: int = 64 * MIB, cluster: str = "Default") -> Vm:
    """Two qcow2 disks and a raw one, each with some data."""
    vm = box.make_vm(
        name,
        [
            DiskSpec(size, bootable=True, alias="root"),
            DiskSpec(40 * MIB + 512, domain="lun", alias="data"),
            DiskSpec(16 * MIB, format="raw", alias="raw"),
        ],
        running=running,
        cluster=cluster,
    )
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, 4096 * number, 10 * MIB, seed=number)
    return vm


def disk_of(box: Box, vm: Vm, alias: str) -> Disk:
    return next(d for d in box.disks(vm) if d.alias == alias)


def outcome(made: dict[str, Any], alias: str) -> dict[str, Any]:
    found: dict[str, Any] = next(d for d in made["disks"] if d["facts"]["alias"] == alias)
    return found


def checkpoints(box: Box, vm: Vm) -> list[str]:
    return [c.id for c in box.world.checkpoints.get(vm.id, [])]


@pytest.mark.thin(2)
@pytest.mark.parametrize("way", WAYS)
def test_only_dirty_cells_are_read_and_the_archive_stands_alone(
    box: Box, desk: Desk, way: tuple[bool, str]
) -> None:
    running, api = way
    vm = make(box, f"inc-{running}-{api}", running=running)
    root, data = disk_of(box, vm, "root"), disk_of(box, vm, "data")
    first = desk.create(vm, "--backup-api", api)
    assert first["kind"] == "full"
    box.fill(root, 21 * MIB, 64 << 10, seed=50)
    box.discard(root, 4 * MIB, 4 * MIB)
    box.write(data, data.virtual_size - 512, b"end" * 100)
    second = desk.create(vm, "--backup-api", api, "--sample", "0")
    assert second["kind"] == "incremental"
    assert outcome(second, "root")["stats"]["bytes_read"] == 64 << 10
    assert outcome(second, "root")["stats"]["bytes_reused"] == 2 * CELL
    assert outcome(second, "data")["kind"] == "incremental"
    assert outcome(second, "raw")["kind"] == "full"
    assert outcome(second, "raw")["stats"]["bytes_read"] <= 10 * MIB + 8192
    desk.borg("delete", f"{desk.repo}::{first['archive']}")
    desk.borg("compact", "--threshold", "0", desk.repo)
    desk.borg("check", "--verify-data", desk.repo)
    desk.assert_archived(second["archive"], vm)
    assert len(checkpoints(box, vm)) == 1
    third = desk.create(vm, "--backup-api", api)
    assert third["kind"] == "incremental"
    desk.assert_archived(third["archive"], vm)
    desk.assert_clean()


def test_reasons_for_a_full_backup_are_told_recorded_and_listed(box: Box, desk: Desk) -> None:
    vm = make(box, "reasons")
    desk.create(vm)
    forced = desk.create(vm, "--full")
    assert forced["reason"] == "a full backup was asked for"
    with box.world.lock:
        box.world.checkpoints[vm.id].clear()
    lost = desk.create(vm)
    assert lost["kind"] == "full"
    assert "no longer holds the checkpoint" in lost["reason"]
    listed = desk.run("list", desk.repo, vm.name).ok().out
    assert "no longer holds the checkpoint" in listed
    assert desk.manifest(lost["archive"])["run"]["reason"] == lost["reason"]
    with box.world.lock:
        box.world.checkpoints[vm.id][-1].state = "invalid"
    strict = desk.create(vm, "--strict", code=1)
    assert "invalid" in strict["reason"]
    desk.assert_archived(strict["archive"], vm)
    desk.assert_clean()


@pytest.mark.thin(1)
@pytest.mark.parametrize("way", WAYS)
def test_a_bitmap_that_is_gone_makes_one_full_backup_in_the_same_run(
    box: Box, desk: Desk, way: tuple[bool, str]
) -> None:
    running, api = way
    vm = make(box, f"lost-{running}-{api}", running=running)
    desk.create(vm, "--backup-api", api)
    box.inject.lose_checkpoints(vm)
    again = desk.create(vm, "--backup-api", api)
    assert again["kind"] == "full"
    assert again["reason"]
    desk.assert_archived(again["archive"], vm)
    desk.assert_clean()
    after = desk.create(vm, "--backup-api", api)
    assert after["kind"] == "incremental"


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("running", "api", "others"),
    [(True, "auto", False), (True, "auto", True), (False, "auto", True), (True, "live", True)],
)
def test_a_crash_costs_one_full_read_and_nobody_a_good_checkpoint(
    box: Box, desk: Desk, running: bool, api: str, others: bool
) -> None:
    """The engine removes all checkpoints of a running VM when one that is broken is to be removed."""
    vm = make(box, f"crash-{running}-{api}-{others}")
    desk.create(vm, "--backup-api", api)
    box.crash_vm(vm)
    if running:
        box.start_vm(vm)
    theirs = a_backup_of_another_tool(box, vm) if others else None
    full = desk.create(vm, "--backup-api", api)
    assert full["kind"] == "full"
    desk.assert_archived(full["archive"], vm)
    assert theirs is None or theirs in checkpoints(box, vm)
    assert len([e for e in box.world.events if e.code == 10798 and e.vm_id == vm.id]) <= (
        not others and running
    )
    box.write(disk_of(box, vm, "root"), 5 * MIB, b"x" * 4096)
    after = desk.create(vm, "--backup-api", api)
    assert after["kind"] == "incremental"
    desk.assert_archived(after["archive"], vm)
    assert theirs is None or theirs in checkpoints(box, vm)
    if running:
        box.stop_vm(vm)
        assert desk.create(vm, "--backup-api", api)["kind"] == "incremental"
    assert len(checkpoints(box, vm)) == 1 + others
    desk.assert_clean()


@pytest.mark.thin(1)
@pytest.mark.parametrize("first", [False, True], ids=["incremental", "full"])
def test_below_level_46_a_crash_costs_all_checkpoints_and_it_is_told(
    box: Box, desk: Desk, first: bool
) -> None:
    """There any live backup, a full one too, has all of them defined again: nobody can save them."""
    vm = make(box, f"crash45-{first}", cluster=box.make_cluster("c45", (4, 5)).name)
    theirs = a_backup_of_another_tool(box, vm)
    if not first:
        desk.create(vm)
    box.crash_vm(vm)
    box.start_vm(vm)
    told = desk.run("create", f"{desk.repo}::{vm.name}").ok()
    assert "and the engine has removed all checkpoints of the VM, 1 of other tools" in told.err
    assert theirs not in checkpoints(box, vm)
    assert len([e for e in box.world.events if e.code == 10791 and e.vm_id == vm.id]) == 1
    box.write(disk_of(box, vm, "root"), 5 * MIB, b"x" * 4096)
    theirs = a_backup_of_another_tool(box, vm)
    after = desk.run("create", "--json", f"{desk.repo}::{vm.name}").ok()
    (made,) = after.json["vms"]
    assert (made["kind"], theirs in checkpoints(box, vm)) == ("incremental", True)
    assert "removed all" not in after.err
    desk.assert_archived(made["archive"], vm)
    desk.assert_clean()


def test_a_checkpoint_with_a_disk_that_is_unplugged_now_is_not_tried(box: Box, desk: Desk) -> None:
    """The engine could not define it again and would remove all of them; so for its removal."""
    vm = make(box, "unplugged")
    desk.create(vm, "--backup-api", "live")
    theirs = a_backup_of_another_tool(box, vm)
    box.unplug(vm, disk_of(box, vm, "data"))
    box.write(disk_of(box, vm, "root"), 5 * MIB, b"x" * 4096)
    full = desk.create(vm)
    assert full["kind"] == "full"
    assert "not plugged in" in full["reason"]
    assert_as_it_is(box, desk, full["archive"], vm)
    assert theirs in checkpoints(box, vm)
    after = desk.create(vm)
    assert after["kind"] == "incremental"
    assert_as_it_is(box, desk, after["archive"], vm)
    assert theirs in checkpoints(box, vm)
    assert not [e for e in box.world.events if e.code in (10791, 10798) and e.vm_id == vm.id]
    desk.assert_clean()


def assert_as_it_is(box: Box, desk: Desk, archive: str, vm: Vm) -> None:
    """The guest wrote nothing since."""
    for disk in box.disks(vm):
        assert desk.archived_sha(archive, disk) == box.sha(disk), disk.alias


@pytest.mark.thin(1)
@pytest.mark.parametrize("level", [(4, 6), (4, 7)])
def test_a_vm_that_was_restarted_stays_incremental_in_every_repository(
    box: Box, desk: Desk, level: tuple[int, int]
) -> None:
    """Its records may have been lost; the first live backup from one of them shows that they were not."""
    vm = make(
        box,
        f"restarted{level[1]}",
        cluster="Default" if level == (4, 7) else box.make_cluster("c46", level).name,
    )
    other = Desk(box, desk.root / f"other{level[1]}")
    for _ in range(2):
        for place in (desk, other):
            assert place.create(vm, "--backup-api", "live")
        box.stop_vm(vm)
        box.start_vm(vm)
        box.write(disk_of(box, vm, "root"), 5 * MIB, b"x" * 4096)
    for place in (desk, other):
        made = place.create(vm, "--backup-api", "live")
        assert made["kind"] == "incremental"
        place.assert_archived(made["archive"], vm)
    desk.assert_clean()


def a_backup_of_another_tool(box: Box, vm: Vm) -> str:
    """Its checkpoint, made after the crash."""
    wanted = backups.Wanted(disks=[d.id for d in box.disks(vm)], description="another tool", legacy=True)
    backup = backups.start(box.engine, vm, wanted)
    box.wait(lambda: backup.phase == "ready", "the other tool's backup")
    backups.finalize(box.engine, vm, backup)
    box.wait(lambda: backup.phase == "succeeded", "its end")
    assert backup.to_checkpoint is not None
    return backup.to_checkpoint


def test_a_restored_snapshot_makes_a_full_backup(box: Box, desk: Desk) -> None:
    vm = make(box, "rolled")
    snapshot = box.snapshot(vm, "before")
    desk.create(vm)
    box.stop_vm(vm)
    box.restore_snapshot(vm, snapshot)
    made = desk.create(vm)
    assert made["kind"] == "full"
    desk.assert_archived(made["archive"], vm)
    desk.assert_clean()


@pytest.mark.thin(1)
@pytest.mark.parametrize("place", [5 * MIB, 29 * MIB], ids=["data", "zeros"])
def test_a_bitmap_that_lies_is_caught_and_the_disk_read_in_full(box: Box, desk: Desk, place: int) -> None:
    vm = make(box, f"liar{place}")
    root = disk_of(box, vm, "root")
    desk.create(vm)
    box.inject.lying_bitmap(root)
    box.write(root, place, b"unseen" * 1000)
    caught = desk.run("create", "--json", "--sample", "all", f"{desk.repo}::{vm.name}").ok(1)
    assert "CHANGE TRACKING IS WRONG" in caught.err
    made = caught.vm
    assert outcome(made, "root")["kind"] == "full"
    desk.assert_archived(made["archive"], vm)
    assert "marked" in desk.run("list", desk.repo).out
    after = desk.create(vm)
    assert after["kind"] == "full"
    assert "marked" in after["reason"]
    desk.assert_clean()


def test_without_a_sample_the_lie_goes_into_the_archive(box: Box, desk: Desk) -> None:
    """What the sample is for: nothing else can see it. (This test shows that the lie above is a real one.)"""
    vm = make(box, "believed")
    root = disk_of(box, vm, "root")
    desk.create(vm)
    box.inject.lying_bitmap(root)
    box.write(root, 5 * MIB, b"unseen" * 1000)
    made = desk.create(vm, "--sample", "0")
    assert desk.archived_sha(made["archive"], root) != desk.truth_sha(made["archive"], root)


def test_a_clean_cell_that_reads_zero_while_the_base_does_not_is_a_lie(box: Box, desk: Desk) -> None:
    vm = make(box, "zeroliar")
    root = disk_of(box, vm, "root")
    desk.create(vm)
    box.inject.lying_bitmap(root)
    box.discard(root, 4 * MIB, 4 * MIB)
    made = desk.run("create", "--json", "--sample", "0", f"{desk.repo}::{vm.name}").ok(1).vm
    desk.assert_archived(made["archive"], vm)


def test_disks_that_grow_come_go_move_and_change_names(box: Box, desk: Desk) -> None:
    vm = make(box, "restless")
    root, data = disk_of(box, vm, "root"), disk_of(box, vm, "data")
    desk.create(vm)
    box.grow(data, 52 * MIB + 1024)
    box.write(data, 51 * MIB, b"in the new space")
    added = box.add_disk(vm, DiskSpec(12 * MIB, alias="added"))
    box.fill(added, 0, 2 * MIB, seed=60)
    grown = desk.create(vm)
    assert outcome(grown, "data")["kind"] == "incremental"
    assert outcome(grown, "added")["kind"] == "full"
    assert outcome(grown, "added")["reason"]
    desk.assert_archived(grown["archive"], vm)
    box.stop_vm(vm)
    raw = disk_of(box, vm, "raw")
    box.remove_disk(vm, raw)
    with box.world.lock:
        root.alias, vm.name = "renamed", "restless-2"
    box.move(root, "lun")
    later = desk.create("restless-2")
    assert {d["facts"]["alias"] for d in later["disks"]} == {"renamed", "data", "added"}
    desk.assert_archived(later["archive"], vm)
    names = [a["vm_id"] for a in desk.run("list", "--json", desk.repo).json["archives"]]
    assert names == [vm.id] * 3
    desk.assert_clean()


def test_a_missing_or_damaged_base_chunk_means_a_full_read(box: Box, desk: Desk) -> None:
    vm = make(box, "damaged")
    made = desk.create(vm)
    disk = disk_of(box, vm, "root")
    dump = desk.root / "dump.json"
    desk.borg("debug", "dump-archive", f"{desk.repo}::{made['archive']}", str(dump))
    items = json.loads(dump.read_text())["_items"]
    chunks = next(i for i in items if i["path"] == f"disks/{disk.id}.raw")["chunks"]
    victim = chunks[1][0].lstrip("\x7f")
    desk.borg("debug", "delete-obj", desk.repo, victim)
    again = desk.create(vm)
    assert outcome(again, "root")["kind"] == "full"
    assert "lost chunks" in outcome(again, "root")["reason"]
    desk.assert_archived(again["archive"], vm)


def test_two_repositories_follow_their_own_checkpoints(box: Box, desk: Desk) -> None:
    vm = make(box, "twice")
    other = Desk(box, desk.root / "other")
    desk.create(vm)
    box.fill(disk_of(box, vm, "root"), 30 * MIB, MIB, seed=70)
    other.create(vm)
    assert len(checkpoints(box, vm)) == 2
    box.fill(disk_of(box, vm, "root"), 40 * MIB, MIB, seed=71)
    for place in (desk, other, desk):
        made = place.create(vm)
        assert made["kind"] == "incremental"
        place.assert_archived(made["archive"], vm)
    assert len(checkpoints(box, vm)) == 2
    desk.assert_clean()


def test_nobody_elses_checkpoint_is_touched(box: Box, desk: Desk) -> None:
    vm = make(box, "shared")
    desk.create(vm)
    with box.world.lock:
        box.world.checkpoints[vm.id][-1].description = "made by another tool"
    foreign = checkpoints(box, vm)[-1]
    desk.create(vm)
    desk.create(vm)
    assert foreign in checkpoints(box, vm)
    desk.assert_clean()


def test_estimate_tells_what_the_next_backup_reads_and_leaves_nothing(box: Box, desk: Desk) -> None:
    vm = make(box, "guess")
    desk.create(vm)
    box.fill(disk_of(box, vm, "root"), 20 * MIB, 2 * MIB, seed=80)
    before = checkpoints(box, vm)
    told = desk.run("estimate", "--json", f"{desk.repo}::guess").ok().json
    assert checkpoints(box, vm) == before
    desk.assert_clean()
    made = desk.create(vm, "--sample", "0")
    assert told["to_read"] == sum(d["stats"]["bytes_read"] for d in made["disks"])
    assert made["kind"] == "incremental"


def test_estimate_meets_what_a_backup_meets(box: Box, desk: Desk) -> None:
    """A disk that is not plugged in is read all the same; one on a domain in maintenance stops it at once."""
    vm = make(box, "rests")
    box.unplug(vm, disk_of(box, vm, "data"))
    told = desk.run("estimate", "--json", f"{desk.repo}::rests").ok().json
    assert "data" in [disk["alias"] for disk in told["disks"]]
    desk.assert_clean()
    assert told["to_read"] == sum(d["stats"]["bytes_read"] for d in desk.create(vm)["disks"])
    domain = box.world.domains[disk_of(box, vm, "data").domain]
    before = checkpoints(box, vm)
    domain.status = "maintenance"
    try:
        refused = desk.run("estimate", f"{desk.repo}::rests").ok(VmNotSuitable.exit_code)
    finally:
        domain.status = "active"
    assert "which is maintenance" in refused.err
    assert checkpoints(box, vm) == before
    desk.assert_clean()


def test_diff_names_the_ranges_from_chunk_ids_alone(box: Box, desk: Desk) -> None:
    vm = make(box, "differs")
    first = desk.create(vm)
    box.fill(disk_of(box, vm, "root"), 20 * MIB, MIB, seed=81)
    second = desk.create(vm)
    told = desk.run("diff", "--json", f"{desk.repo}::{first['archive']}", second["archive"]).ok().json
    disks = {d["alias"]: d for d in told["disks"]}
    assert disks["root"]["changes"]["ranges"] == [[20 * MIB, CELL]]
    assert disks["data"]["state"] == disks["raw"]["state"] == "same"


@pytest.mark.thin(2)
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_grew_above_a_snapshot_is_read_in_full(
    box: Box, desk: Desk, way: tuple[bool, str]
) -> None:
    """QEMU merges no bitmaps of different lengths: the engine cannot tell what changed, so all is read."""
    running, api = way
    vm = make(box, f"tall-{running}-{api}", running=running)
    desk.create(vm, "--backup-api", api)
    box.snapshot(vm, "below")
    root = disk_of(box, vm, "root")
    box.grow(root, root.virtual_size + 4 * MIB)
    box.fill(root, root.virtual_size - MIB, MIB, seed=90)
    made = desk.create(vm, "--backup-api", api)
    assert made["kind"] == "full"
    assert made["reason"]
    desk.assert_archived(made["archive"], vm)
