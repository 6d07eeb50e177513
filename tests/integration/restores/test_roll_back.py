"""A VM's disks back to an archive in place: right to the byte, only what differs, and never lost."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
from chainbench import Bench
from harness import Desk, Run
from ovirtbox.box import MIB, Box, DiskSpec, sha_of
from ovirtbox.model import Vm
from restored import lose, make

from borg_ovirt.errors import RestoreFailed
from borg_ovirt.jobs.restore.options import RollbackOptions
from borg_ovirt.jobs.restore.rollback import Rollback
from borg_ovirt.jobs.restore.rollback_state import unfinished
from borg_ovirt.ovirt.tracked.journal import Journal

CELL = 4 * MIB


@pytest.fixture
def vm(box: Box, request: pytest.FixtureRequest) -> Vm:
    return make(box, f"back-{request.node.name[-24:].translate(str.maketrans('_[', '--', ']'))}")


def contents(box: Box, vm: Vm) -> dict[str, str]:
    return {disk.alias: sha_of(box.content(disk)) for disk in box.disks(vm)}


def change(box: Box, vm: Vm, seed: int) -> None:
    """A little of the first disk, nothing of the second."""
    box.fill(box.disks(vm)[0], 8 * MIB, 64 << 10, seed=seed)


def back(desk: Desk, archive: str, *more: str) -> Run:
    return desk.run("rollback", f"{desk.repo}::{archive}", "--json", *more)


def test_there_and_back_again(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    then = contents(box, vm)
    change(box, vm, 50)
    desk.create(vm)
    box.fill(box.disks(vm)[0], 0, 64 << 10, seed=51)
    now = contents(box, vm)
    would = back(desk, archive, "--dry-run").ok().json
    assert {disk["alias"]: disk["differs"] for disk in would["disks"]} == {
        "root": 9 * MIB + 512 - 8 * MIB,
        "data": 0,
    }
    assert contents(box, vm) == now
    done = back(desk, archive).ok().json
    assert contents(box, vm) == then
    root, data = done["disks"]
    assert root["stats"]["bytes_written"] + root["stats"]["bytes_zeroed"] == CELL + MIB + 512
    assert data["stats"]["requests"] == 0
    desk.assert_archived(done["before"], vm)
    assert desk.archived_sha(done["before"], box.disks(vm)[0]) == now["root"]
    following = desk.create(vm)
    assert following["kind"] == "incremental"
    desk.assert_archived(following["archive"], vm)
    assert desk.archived_sha(following["archive"], box.disks(vm)[0]) == then["root"]
    back(desk, done["before"]).ok()
    assert contents(box, vm) == now
    desk.assert_clean()


def test_without_an_archive_of_the_present_it_is_read(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    then = contents(box, vm)
    change(box, vm, 60)
    assert desk.run("rollback", f"{desk.repo}::{archive}", "--no-safety").code == 2
    done = back(desk, archive, "--no-safety", "--yes").ok().json
    assert done["before"] is None
    assert contents(box, vm) == then
    assert done["disks"][0]["stats"]["bytes_written"] <= MIB + 512
    assert len(desk.archives()) == 1
    following = desk.create(vm)
    desk.assert_archived(following["archive"], vm)
    desk.assert_clean()


@pytest.mark.thin(1)
@pytest.mark.parametrize("way", ["finish", "undo"])
def test_killed_half_way_it_is_told_and_finished_or_undone(box: Box, desk: Desk, vm: Vm, way: str) -> None:
    archive = desk.create(vm)["archive"]
    then = contents(box, vm)
    for seed, disk in enumerate(box.disks(vm)):
        box.fill(disk, 0, 4 * MIB, seed=70 + seed)
    now = contents(box, vm)
    disks = {disk.id for disk in box.disks(vm)}
    command = desk.command("rollback", f"{desk.repo}::{archive}")
    with subprocess.Popen(command, env=desk.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        deadline = time.monotonic() + 60
        while not [
            t for t in box.world.transfers.values() if t.direction == "upload" and t.phase == "transferring"
        ]:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    before = next(name for name in desk.archives() if name != archive)
    target, right = (archive, then) if way == "finish" else (before, now)
    told = desk.run("rollback", f"{desk.repo}::{target}", "--dry-run").ok(0, 40)  # a disk may be locked yet
    assert f"half-way to archive {archive}" in told.out
    assert f"::{before}" in told.out
    assert "half-way" in desk.run("create", f"{desk.repo}::nobody").err
    back(desk, target).ok()
    assert disks <= set(box.world.disks), "the disk was removed with its transfer"
    assert contents(box, vm) == right
    assert "half-way" not in desk.run("rollback", f"{desk.repo}::{target}", "--dry-run").ok().out
    desk.assert_archived(desk.create(vm)["archive"], vm)
    desk.a_day_later()  # the kill may have come while a transfer was asked for: that one is looked for again
    desk.assert_clean()


def test_an_error_half_way_keeps_the_disk(box: Box, desk: Desk, vm: Vm, tmp_path: Path) -> None:
    archive = desk.create(vm)["archive"]
    then = contents(box, vm)
    change(box, vm, 80)
    box.fill(box.disks(vm)[1], 0, MIB, seed=81)
    desk.create(vm)
    lost = box.disks(vm)[1]
    lose(desk, archive, lost.id)
    refused = back(desk, archive)
    assert refused.code == 40
    assert "disk data is damaged in the archive" in refused.err
    back(desk, archive, "--disk", "root").ok()
    assert contents(box, vm)["root"] == then["root"]
    assert contents(box, vm)["data"] != then["data"]


def test_what_is_in_the_way(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    chain = desk.create(vm, "--mode", "chain")["archive"]
    gone = box.add_disk(vm, DiskSpec(MIB, alias="gone"))
    with_gone = desk.create(vm)["archive"]
    box.delete_disk(gone)
    for asked, words in (
        ([chain], "snapshot chains"),
        ([with_gone], "has no disk gone"),
        ([archive, "--disk", "nope"], "no disk nope"),
    ):
        refused = back(desk, *asked)
        assert refused.code == 40
        assert words in refused.err
        assert back(desk, *asked, "--dry-run").code == 40
    box.start_vm(vm)
    running = back(desk, archive)
    assert running.code == 40
    assert "is up: stop it first" in running.err
    box.stop_vm(vm)
    desk.assert_clean()


def test_the_present_is_kept_under_the_rules_of_the_vm(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    then = contents(box, vm)
    box.fill(box.disks(vm)[1], 0, MIB, seed=85)
    now = contents(box, vm)
    box.add_disk(vm, DiskSpec(MIB, alias="swap"))
    rules = desk.root / "rules.yaml"
    rules.write_text(
        "vms: {exclude_disks: {aliases: [swap, data]}}\n"
        "policy: {mode: chain, sample: all}\n"
        "retention: {last: 2}\n"
    )
    config = {"BORG_OVIRT_CONFIG": str(rules)}
    done = desk.run("rollback", f"{desk.repo}::{archive}", "--json", **config).ok().json
    kept = desk.manifest(done["before"])
    assert kept["mode"] == "image"
    assert {disk["alias"]: disk["run"]["sample"]["asked"] for disk in kept["disks"]} == {
        "root": "all",
        "data": "all",
    }
    assert {disk["alias"]: disk["reason"] for disk in kept["skipped"]} == {"swap": "excluded by swap"}
    assert {a: sha for a, sha in contents(box, vm).items() if a != "swap"} == then
    desk.run("prune", desk.repo, **config).ok()
    assert set(desk.archives()) == {archive, done["before"]}  # it counts as any other of the VM's
    back(desk, done["before"]).ok()
    assert {a: sha for a, sha in contents(box, vm).items() if a != "swap"} == now
    desk.assert_clean()


def test_a_disk_that_has_grown_is_zeros_behind_the_archived_end(box: Box, desk: Desk, vm: Vm) -> None:
    archive = desk.create(vm)["archive"]
    then = {disk.id: box.content(disk).read_bytes() for disk in box.disks(vm)}
    for disk in box.disks(vm):
        box.grow(disk, 16 * MIB)
        box.fill(disk, 15 * MIB, MIB, seed=86)
    back(desk, archive).ok()
    for disk in box.disks(vm):
        assert box.content(disk).read_bytes() == then[disk.id].ljust(16 * MIB, b"\0")
    desk.assert_archived(desk.create(vm)["archive"], vm)
    desk.assert_clean()


def test_what_ran_meanwhile_is_not_written_over(box: Box, bench: Bench, vm: Vm) -> None:
    archive = bench.create(vm, mode="image").archive
    change(box, vm, 90)
    saved = bench.create(vm, mode="image").archive

    def save(vm_id: str, disks: tuple[str, ...]) -> str:
        """The VM runs when its present state has just been kept."""
        box.start_vm(vm)
        box.write(box.disks(vm)[0], 0, b"written meanwhile")
        box.stop_vm(vm)
        return saved

    with (
        bench.engine() as engine,
        Journal(bench.state, engine.instance_id) as journal,
        bench.repository() as repository,
    ):
        state, told = bench.state, bench.told
        job = Rollback(repository, engine, journal, state, RollbackOptions(), told, save, "R")
        with pytest.raises(RestoreFailed, match="was started meanwhile"):
            job.run(archive)
    assert box.read(box.disks(vm)[0], 0, 17) == b"written meanwhile"
    assert not unfinished(bench.state)
    bench.assert_clean()
