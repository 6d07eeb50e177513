"""A repository that missed a backup goes on from where it was; what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

from fan import MIB, assert_equal, beside, bytes_read, make, second, together
from harness import Desk
from ovirtbox.box import Box


def test_one_that_was_away_goes_on_from_its_own_checkpoint(box: Box, desk: Desk) -> None:
    vm = make(box, "away")
    other = second(desk, "other")
    first = together(vm, [desk, other])
    path = Path(other.repo)
    path.rename(path.with_name("elsewhere"))
    box.fill(box.disks(vm)[0], 20 * MIB, 64 << 10, seed=9)
    missed = together(vm, [desk, other], "--sample", "0", code=1)
    assert bytes_read(missed) == 64 << 10
    path.with_name("elsewhere").rename(path)
    box.fill(box.disks(vm)[0], 25 * MIB, 64 << 10, seed=8)
    made = together(vm, [desk, other], "--sample", "0")
    assert bytes_read(made) == 128 << 10
    assert_equal(made, [desk, other], vm)
    assert desk.manifest(made["archive"])["run"]["base"]["name"] == missed["archive"]
    assert other.manifest(made["archive"])["run"]["base"]["name"] == first["archive"]
    assert len(box.world.checkpoints[vm.id]) == 1
    desk.assert_clean()


def test_one_that_failed_half_way_goes_on_from_its_own_checkpoint(box: Box, desk: Desk) -> None:
    vm = make(box, "halfway")
    other = second(desk, "other")
    first = together(vm, [desk, other])
    desk.borg("config", other.repo, "storage_quota", "10M")
    box.fill(box.disks(vm)[0], 20 * MIB, 64 << 10, seed=9)
    missed = together(vm, [desk, other], "--sample", "0", code=1)
    assert [s["archive"] for s in missed["stored"]] == [missed["archive"], None]
    assert other.archives() == [first["archive"]]
    desk.borg("config", other.repo, "storage_quota", "1G")
    made = together(vm, [desk, other], "--sample", "0")
    assert made["kind"] == "incremental"
    assert bytes_read(made) == 64 << 10
    assert_equal(made, [desk, other], vm)
    assert len(box.world.checkpoints[vm.id]) == 1
    desk.assert_clean()


def test_lost_checkpoints_make_one_full_read_for_all(box: Box, desk: Desk) -> None:
    vm = make(box, "lost")
    desks = [desk, second(desk, "other")]
    together(vm, desks)
    box.inject.lose_checkpoints(vm)
    made = together(vm, desks)
    assert made["kind"] == "full"
    assert_equal(made, desks, vm)
    desk.assert_clean()


def test_what_cannot_be_is_refused(box: Box, desk: Desk) -> None:
    vm = make(box, "refused")
    other = second(desk, "other")
    words = [f"{desk.repo}::{vm.name}", f"{other.repo}::{vm.name}"]
    assert "the same VM" in desk.run("create", words[0], f"{other.repo}::another").ok(2).err
    assert "named twice" in desk.run("create", words[0], words[0]).ok(2).err
    gone = beside(desk, str(desk.root / "nothing"))
    assert desk.run("create", f"{gone.repo}::{vm.name}", f"{gone.repo}-2::{vm.name}").code == 30
    assert desk.archives() == other.archives() == []


def test_different_grids_are_read_once_each(box: Box, desk: Desk) -> None:
    vm = make(box, "gridded")
    other = second(desk, "other")
    fine = other.create(vm, "--chunk-size", "1MiB")
    coarse = desk.create(vm)
    box.fill(box.disks(vm)[0], 20 * MIB, 64 << 10, seed=9)
    done = desk.run(
        "create", "--json", "--sample", "0", f"{desk.repo}::{vm.name}", f"{other.repo}::{vm.name}"
    ).ok()
    assert "read 2 times: the repositories hold it in chunks of different sizes" in done.err
    made = done.vm
    assert made["kind"] == "incremental"
    assert bytes_read(made) == made["bytes_read"] == 2 * (64 << 10)
    stored = {one["repository"]: one for one in made["stored"]}
    for place, base in ((desk, coarse), (other, fine)):
        mine = stored[place.repo]
        assert (mine["archive"], mine["base"]) == (place.archives()[-1], base["archive"])
        place.assert_archived(mine["archive"], vm)
    desk.assert_clean()
