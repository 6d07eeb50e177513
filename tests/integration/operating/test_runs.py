"""Runs under limits and in trouble: windows, shards, room, rates, several repositories, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from harness import BIN, Desk
from operating import SMALL, assert_extracts, configure
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.config.schema import Config, Limits
from borg_ovirt.config.types import Room
from borg_ovirt.jobs.backup.create import CreateOptions
from borg_ovirt.jobs.runs.hooks import Hooks
from borg_ovirt.jobs.runs.outcome import RunResult
from borg_ovirt.jobs.runs.run import RunPlan, run
from borg_ovirt.jobs.runs.slots import try_lock
from borg_ovirt.jobs.selection import fleet
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import open_repository


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    found = {}
    for number, name in enumerate(("alpha", "beta", "gamma")):
        vm = found[name] = box.make_vm(name, [DiskSpec(SMALL)], running=False)
        box.fill(box.disks(vm)[0], 0, 2 * MIB, seed=number)
    return found


def outcomes(result: Any) -> dict[str, str]:
    return {vm["vm"]: vm["status"] for vm in result["vms"]}


def test_no_vm_is_started_after_the_window(vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk, limits={"until": "06:00"})
    minute_ago = datetime.now().astimezone() - timedelta(minutes=1)
    # One minute ago is tomorrow's window: everything runs. The window in the plan's past stops all.
    assert desk.run("create", "--vm", "alpha", "--until", f"{minute_ago:%H:%M}").ok().out
    with in_process(desk) as (engine, journal, options):
        plan = options(until=datetime.now(timezone.utc) - timedelta(seconds=1))
        result = run(opener(desk), engine, plan, journal, Progress(), Hooks([], {}))
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
    run_ = desk.run("create", "--json", "--vm", "alpha", "--min-free", "3TiB").ok(2).json["runs"][0]
    assert "Storage domain data has" in run_["vms"][0]["error"]
    assert "3 TiB must stay free" in run_["vms"][0]["error"]
    refused = desk.run("create", "--min-free", "3TiB", f"{desk.repo}::alpha").ok(21)
    assert "3 TiB must stay free" in refused.err
    assert set(box.world.backups) <= begun
    assert desk.archives() == []


@contextmanager
def in_process(desk: Desk) -> Iterator[tuple[Engine, Journal, Any]]:
    """An engine, a journal, and a way to make plans, without a command line."""
    box = desk.box
    access = EngineAccess(box.url, box.user, box.password, ca_file=box.ca_file)
    state = desk.root / "state"
    with Engine(access) as engine, Journal(state, engine.instance_id) as journal:
        members = fleet(engine, Config())

        def plan(names: tuple[str, ...] = (), **more: Any) -> RunPlan:
            chosen = [m for m in members if not names or m.name in names]
            return RunPlan(members=chosen, options=lambda _: CreateOptions(readers=2), state=state, **more)

        yield engine, journal, plan


def opener(desk: Desk, **more: Any) -> Any:
    return lambda: open_repository(desk.repo, write=True, **more)


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
    limits = Limits(min_free=Room(size=before // 2))
    try:
        with in_process(desk) as (engine, journal, plan):
            ordered = plan(("alpha",), limits=limits, rate=64 << 10, guard_every=0.05)
            started = time.monotonic()
            result = run(opener(desk), engine, ordered, journal, Filling(), Hooks([], {}))
    finally:
        domain.capacity = before
    assert time.monotonic() - started < 25  # at the rate of this run the disk would take 32 s
    assert result.vms[0].status == "failed"
    assert "must stay free" in (result.vms[0].error or "")
    assert desk.archives() == []
    desk.assert_clean()


def test_the_rate_limit_holds(vms: dict[str, Vm], desk: Desk) -> None:
    with in_process(desk) as (engine, journal, plan):
        started = time.monotonic()
        ordered = plan(("alpha",), rate=MIB)
        result = run(opener(desk), engine, ordered, journal, Progress(), Hooks([], {}))
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

    with in_process(desk) as (engine, journal, plan):
        ordered = plan(("alpha",), limits=Limits(readers_per_domain=1, readers_per_host=2))
        result = run(opener(desk), engine, ordered, journal, Listening(), Hooks([], {}))
    assert f"waiting for a place to read at domain {domain}" in told
    assert result.status == "ok"


def test_a_vm_that_another_process_works_on_comes_last(vms: dict[str, Vm], desk: Desk) -> None:
    held = try_lock(desk.root / "state" / "vms" / f"{vms['alpha'].id}.lock")
    assert held is not None
    made: list[str] = []

    class Listening(Progress):
        def step(self, text: str) -> None:
            if ": archive " in text:
                made.append(text.split(":")[0])
            if len(made) == 2 and not held.closed:
                held.close()

    with in_process(desk) as (engine, journal, plan):
        result = run(opener(desk), engine, plan(), journal, Listening(), Hooks([], {}))
    assert made == ["beta", "gamma", "alpha"]
    assert result.status == "ok"


def test_several_repositories_at_once(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    other = str(desk.root / "other")
    desk.borg("init", "-e", "repokey", other)
    nowhere = {"location": str(desk.root / "nowhere")}
    both = {"local": {"location": desk.repo}, "other": {"location": other}}
    configure(desk, repositories=both)
    done = desk.run("create", "--json").ok()
    runs = {r["repository"]: r for r in done.json["runs"]}
    assert set(runs) == {desk.repo, other}
    for r in runs.values():
        assert outcomes(r) == dict.fromkeys(("alpha", "beta", "gamma"), "ok")
    assert "other: alpha: archive alpha-" in done.err
    configure(desk, repositories={**both, "lost": nowhere})
    done = desk.run("create", "--vm", "beta", "--json").ok(2)
    by_name = {r["repository"]: r for r in done.json["runs"]}
    assert by_name["lost"]["error"].startswith("There is no Borg repository")
    for location in (desk.repo, other):
        (vm,) = by_name[location]["vms"]
        assert (vm["status"], vm["kind"]) == ("ok", "incremental")
    assert_extracts(desk, by_name[desk.repo]["vms"][0]["archive"], vms["beta"])
    desk.assert_clean()


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

    with in_process(desk) as (engine, journal, plan):
        result: RunResult = run(open_remote, engine, plan(), journal, Breaking(), Hooks([], {}))
    assert {vm.vm: vm.status for vm in result.vms} == {"alpha": "ok", "beta": "failed", "gamma": "ok"}
    assert len(pids.read_text().split()) == 2
    assert sorted(name.split("-")[0] for name in desk.archives()) == ["alpha", "gamma"]
    desk.assert_clean()


def test_a_signal_ends_the_run_in_order(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    other = str(desk.root / "other")
    desk.borg("init", "-e", "repokey", other)
    configure(desk, repositories={"local": {"location": desk.repo}, "other": {"location": other}})
    command = [*desk.command("create", "--rate-limit", "64KiB", "--no-progress")]
    process = subprocess.Popen(command, env=desk.env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    box.wait(lambda: any(t.phase == "transferring" for t in box.world.transfers.values()), "a transfer")
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read()
    assert process.wait(60) == 143, said
    assert desk.archives() == []
    desk.assert_clean()


def test_a_run_heals_the_one_before(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk)
    command = desk.command("create", "--rate-limit", "64KiB", "--vm", "alpha", "--no-progress")
    process = subprocess.Popen(command, env=desk.env, stderr=subprocess.DEVNULL)
    box.wait(lambda: any(t.phase == "transferring" for t in box.world.transfers.values()), "a transfer")
    process.kill()
    process.wait()
    assert box.clean(timeout=0) != []
    listed = desk.run("cleanup", "--dry-run", "--json").ok().json
    assert [(line["kind"], line["journalled"]) for line in listed["found"]] == [
        ("transfer", True),
        ("backup", True),
    ]
    done = desk.run("create", "--json", "--vm", "alpha", "--lock-wait", "20").ok()
    assert "of a run that died" in done.err
    assert outcomes(done.json["runs"][0]) == {"alpha": "ok"}
    desk.assert_clean()
    assert Path(desk.repo).is_dir()
