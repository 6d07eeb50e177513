"""Repositories that hold a VM in chunks of different sizes: it is read once for each size, in one run."""

from __future__ import annotations

from fan import MIB, bytes_read, second, together
from harness import Desk
from ovirtbox.box import Box, DiskSpec


def test_a_vm_in_two_grids_is_read_twice_and_each_repository_keeps_its_own(box: Box, desk: Desk) -> None:
    vm = box.make_vm("grids", [DiskSpec(16 * MIB, bootable=True)], running=True)
    (disk,) = box.disks(vm)
    box.fill(disk, 0, 9 * MIB, seed=1)
    other = second(desk, "other")
    desk.create(vm.name)
    other.create(vm.name, "--chunk-size", "1MiB")
    box.write(disk, 5 * MIB, b"\x05" * MIB)
    made = desk.run("create", "--json", *(f"{one.repo}::{vm.name}" for one in (desk, other))).ok()
    assert "read 2 times: the repositories hold it in chunks of different sizes" in made.err
    (told,) = made.json["vms"]
    assert told["kind"] == "incremental"
    assert bytes_read(told) == 5 * MIB, "the changed MiB in a cell of each size"
    assert {stored["repository"]: stored["error"] for stored in told["stored"]} == {
        desk.repo: None,
        other.repo: None,
    }
    archives = {stored["repository"]: stored["archive"] for stored in told["stored"]}
    for one, chunk in ((desk, 4 * MIB), (other, 1 * MIB)):
        archive = archives[one.repo]
        assert [record["cell"] for record in one.manifest(archive)["disks"]] == [chunk]
        one.assert_archived(archive, vm)
        one.borg("check", "--verify-data", one.repo)
    desk.assert_clean()


def test_a_second_read_that_fails_costs_the_first_nothing(box: Box, desk: Desk) -> None:
    vm = box.make_vm("burning", [DiskSpec(8 * MIB, bootable=True)], running=True)
    box.fill(box.disks(vm)[0], 0, 3 * MIB, seed=2)
    other = second(desk, "other")
    desk.create(vm.name)
    other.create(vm.name, "--chunk-size", "1MiB")
    box.inject.status("POST", "/imagetransfers", 400, detail="[The host is on fire]", nth=2, times=99)
    told = together(vm, [desk, other], code=1)
    box.inject.clear()
    kept, missed = sorted(told["stored"], key=lambda stored: stored["error"] or "")
    assert (kept["repository"], kept["error"]) == (other.repo, None)
    assert (missed["repository"], missed["archive"]) == (desk.repo, None)
    assert "The host is on fire" in missed["error"], "the cause, where it is looked for"
    assert told["archive"] == kept["archive"]
    assert any(desk.repo in warning and "on fire" in warning for warning in told["warnings"])
    other.assert_archived(kept["archive"], vm)
    assert len(desk.archives()) == 1
    desk.assert_clean()


def test_an_archive_cut_anew_in_one_of_them_is_no_base_there(box: Box, desk: Desk) -> None:
    """Chunks of the right size at other places: they are not those of the cells."""
    vm = box.make_vm("cut", [DiskSpec(8 * MIB, alias="root", bootable=True)])
    (disk,) = box.disks(vm)
    for place in (0, 1, 4):
        box.fill(disk, place * MIB + 512, MIB - 1024, seed=place)
    other = second(desk, "other")
    first = together(vm, [desk, other], "--chunk-size", "1MiB")["archive"]
    other.borg("recreate", "--chunker-params", "fixed,1048576,4096", f"{other.repo}::{first}")
    box.fill(disk, 6 * MIB, 64 << 10, seed=60)
    made = together(vm, [desk, other], "--sample", "0")
    assert made["warnings"] == []
    for one in (desk, other):
        one.assert_archived(made["archive"], vm)
    desk.assert_clean()
