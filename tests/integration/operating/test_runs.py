"""Runs under limits and in trouble: windows, shards, room, rates, several repositories, kills."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from harness import BIN, Desk
from operating import SMALL, assert_extracts, configure, in_process, outcomes
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.config.schema import Limits
from borg_ovirt.config.types import Room
from borg_ovirt.jobs.backup.opened import OneRepository
from borg_ovirt.jobs.runs.slots import try_lock
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import open_repository


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    found = {}
    for number, name in enumerate(("alpha", "beta", "gamma")):
        vm = found[name] = box.make_vm(name, [DiskSpec(SMALL)], running=False)
        box.fill(box.disks(vm)[0], 0, 2 * MIB, seed=number)
    return found


def test_no_vm_is_started_after_the_window(vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk, limits={"until": "06:00"})
    minute_ago = datetime.now().astimezone() - timedelta(minutes=1)
    # One minute ago is tomorrow's window: everything runs. The window in the plan's past stops all.
    assert desk.run("create", "--vm", "alpha", "--until", f"{minute_ago:%H:%M}").ok().out
    result = in_process(desk, until=datetime.now(timezone.utc) - timedelta(seconds=1))
    assert {vm.status for vm in result.vms} == {"not started"}
    assert result.status == "warning"
    assert "not started: it is past" in result.vms[0].warnings[0]


def test_shards_part_the_fleet(vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk)
    parts = [desk.run("create", "-n", "--json", "--shard", f"{i}/3").ok().json for i in (1, 2, 3)]
    names = [row["vm"] for part in parts for row in part]
    assert sorted(names) == ["alpha", "beta", "gamma"]
    assert desk.run("create", "--shard", "4/3").code == 2


def test_a_domain_without_room_is_left_alone(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk)
    begun = set(box.world.backups)
    failed = desk.run("create", "--json", "--vm", "alpha", "--min-free", "3TiB").ok(2).vm
    assert "Storage domain data has" in failed["error"]
    assert "3 TiB must stay free" in failed["error"]
    refused = desk.run("create", "--min-free", "3TiB", f"{desk.repo}::alpha").ok(21)
    assert "3 TiB must stay free" in refused.err
    assert set(box.world.backups) <= begun
    assert desk.archives() == []


@pytest.fixture(autouse=True)
def borg_home(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BORG_BASE_DIR", "BORG_PASSPHRASE"):
        monkeypatch.setenv(name, desk.env[name])


def test_a_domain_that_fills_up_meanwhile_ends_the_backup(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    domain = box.domain("data")

    class Filling(Progress):
        """As soon as the reading begins somebody else takes the room."""

        def disk(self, name: str, size: int, to_read: int | None = None) -> Any:
            if "alpha" in name:
                domain.capacity = box.world.domains[domain.id].capacity // 1000
            return super().disk(name, size, to_read)

    before = domain.capacity
    limits = Limits(min_free=Room(size=before // 2), rate_limit=64 << 10)
    try:
        started = time.monotonic()
        result = in_process(desk, "alpha", progress=Filling(), limits=limits, guard_every=0.05)
    finally:
        domain.capacity = before
    assert time.monotonic() - started < 25  # at the rate of this run the disk would take 32 s
    assert result.vms[0].status == "failed"
    assert "must stay free" in (result.vms[0].error or "")
    assert desk.archives() == []
    desk.assert_clean()


def test_the_rate_limit_holds(vms: dict[str, Vm], desk: Desk) -> None:
    started = time.monotonic()
    result = in_process(desk, "alpha", limits=Limits(rate_limit=MIB))
    assert result.vms[0].bytes_read == 2 * MIB
    assert time.monotonic() - started > 0.9  # one second's worth may burst, the other MiB has to wait


def test_limits_of_readers_are_shared_by_processes(vms: dict[str, Vm], desk: Desk) -> None:
    domain = desk.box.domain("data").id
    held = try_lock(desk.root / "state" / "places" / f"domain-{domain}.0.lock")
    assert held is not None
    told: list[str] = []

    class Listening(Progress):
        def step(self, text: str) -> None:
            told.append(text)
            if text.startswith("waiting for a place"):
                held.close()

    limits = Limits(readers_per_domain=1, readers_per_host=2)
    result = in_process(desk, "alpha", progress=Listening(), limits=limits)
    assert f"waiting for a place to read at domain {domain}" in told
    assert result.status == "ok"


def test_a_vm_that_another_process_works_on_comes_last(vms: dict[str, Vm], desk: Desk) -> None:
    held = try_lock(desk.root / "state" / "vms" / f"{vms['alpha'].id}.lock")
    assert held is not None
    made: list[str] = []

    class Listening(Progress):
        def step(self, text: str) -> None:
            if ": archive " in text:
                made.append(text.split(": ")[1])
            if len(made) == 2 and not held.closed:
                held.close()

    result = in_process(desk, progress=Listening())
    assert (sorted(made[:2]), made[2:]) == (["beta", "gamma"], ["alpha"])
    assert result.status == "ok"


def test_several_repositories_take_one_read_of_each_vm(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    other = str(desk.root / "other")
    desk.borg("init", "-e", "repokey", other)
    both = {"local": {"location": desk.repo}, "other": {"location": other}}
    configure(desk, repositories=both)
    backups = len(box.world.backups)
    done = desk.run("create", "--json").ok()
    assert outcomes(done.json) == dict.fromkeys(("alpha", "beta", "gamma"), "ok")
    assert len(box.world.backups) == backups + 3  # the engine made one backup of each
    for vm in done.vms.values():
        assert vm["bytes_read"] == 2 * MIB
        assert [(s["repository"], s["archive"]) for s in vm["stored"]] == [
            (desk.repo, vm["archive"]),
            (other, vm["archive"]),
        ]
    assert [(r["name"], r["location"], r["error"]) for r in done.json["repositories"]] == [
        ("local", desk.repo, None),
        ("other", other, None),
    ]
    for location in (desk.repo, other):
        elsewhere = copy.copy(desk)
        elsewhere.repo = location
        assert_extracts(elsewhere, done.vms["beta"]["archive"], vms["beta"])
    desk.assert_clean()


def test_a_repository_that_is_not_there_costs_the_others_nothing(
    box: Box, vms: dict[str, Vm], desk: Desk
) -> None:
    nowhere = {"location": str(desk.root / "nowhere")}
    both = {"local": {"location": desk.repo}, "lost": nowhere}
    configure(desk, repositories=both, limits={"captures": 1})  # between two VMs it is tried again
    done = desk.run("create", "--json").ok(2)
    assert outcomes(done.json) == dict.fromkeys(("alpha", "beta", "gamma"), "warning")
    local, lost = done.json["repositories"]
    assert local["error"] is None
    assert lost["error"].startswith("There is no Borg repository")
    for vm in done.vms.values():
        assert [s["archive"] for s in vm["stored"]] == [vm["archive"], None]
    # It was tried once more, and no oftener.
    assert done.err.count("opening it again") == 1
    assert done.err.count("given up for the rest of the run") == 1
    assert "lost" in desk.run("create", "--vm", "beta").ok(2).out


def test_a_repository_that_breaks_is_opened_again(
    vms: dict[str, Vm], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
    desk.env["BORG_RELOCATED_REPO_ACCESS_IS_OK"] = "yes"
    pids = desk.root / "pids"
    rsh = desk.root / "rsh"
    rsh.write_text(f'#!/bin/sh\nshift\necho $$ >> {pids}\nexec "$@"\n')
    rsh.chmod(0o755)
    location = f"ssh://backup.example{desk.repo}"

    class Breaking(Progress):
        """The server dies while the second VM is read."""

        def disk(self, name: str, size: int, to_read: int | None = None) -> Any:
            if "beta" in name:
                os.kill(int(pids.read_text().split()[-1]), signal.SIGKILL)
            return super().disk(name, size, to_read)

    def open_remote() -> Any:
        return open_repository(
            location, write=True, lock_wait=30.0, rsh=str(rsh), remote_path=str(BIN / "borg")
        )

    repositories = OneRepository("remote", location, open_remote)
    result = in_process(desk, progress=Breaking(), repositories=repositories, limits=Limits(captures=1))
    assert {vm.vm: vm.status for vm in result.vms} == {"alpha": "ok", "beta": "failed", "gamma": "ok"}
    assert len(pids.read_text().split()) == 2
    assert sorted(name.split("-")[0] for name in desk.archives()) == ["alpha", "gamma"]
    desk.assert_clean()


def kill_one(box: Box, desk: Desk) -> None:
    """A backup of alpha that dies while it reads."""
    configure(desk)
    command = desk.command("create", "--rate-limit", "64KiB", "--vm", "alpha", "--no-progress")
    process = subprocess.Popen(command, env=desk.env, stderr=subprocess.DEVNULL)
    box.wait(lambda: any(t.phase == "transferring" for t in box.world.transfers.values()), "a transfer")
    process.kill()
    process.wait()
    assert box.clean(timeout=0) != []


def test_a_run_heals_the_one_before(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    kill_one(box, desk)
    listed = desk.run("cleanup", "--dry-run", "--json").ok().json
    assert [(line["kind"], line["journalled"]) for line in listed["found"]] == [
        ("transfer", True),
        ("backup", True),
    ]
    done = desk.run("create", "--json", "--vm", "alpha", "--lock-wait", "20").ok()
    assert "of a run that died" in done.err
    assert outcomes(done.json) == {"alpha": "ok"}
    desk.assert_clean()
    assert Path(desk.repo).is_dir()


def test_what_lost_its_journal_is_ended_when_asked_for(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    """The engine tells of no transfer which backup it is of: those of its disks go first."""
    kill_one(box, desk)
    for journal in (desk.root / "state").glob("*.jsonl"):
        journal.unlink()
    told = desk.run("cleanup", "--tagged", "--older-than", "0s").ok().out
    assert "1 removed." in told
    desk.assert_clean()


def test_what_never_ends_holds_up_no_other(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    """It is told at once, and tried for seconds; nobody waits for it but the backup of its own VM."""
    kill_one(box, desk)
    path = f"/vms/{vms['alpha'].id}/backups/*/finalize"
    box.inject.status("POST", path, 409, detail="There is an active image transfer.", times=10_000)
    started = time.monotonic()
    done = desk.run("create", "--json", "--vm", "beta").ok()
    assert time.monotonic() - started < 60
    assert outcomes(done.json) == {"beta": "ok"}
    assert "ending the backup" in done.err
    assert "could not end the backup" in done.err
    box.inject.clear()
    desk.run("cleanup").ok()
    desk.assert_clean()
