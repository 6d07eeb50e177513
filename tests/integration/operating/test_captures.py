"""Several VMs under way at a time: how many, in which order, at which instant, what an end leaves behind."""

from __future__ import annotations

import copy
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from harness import BIN, Desk
from operating import SMALL, assert_extracts, configure, in_process, outcomes
from ovirtbox.backups import give_up
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.config.schema import Limits
from borg_ovirt.config.types import Room
from borg_ovirt.jobs.backup import storing
from borg_ovirt.jobs.backup.opened import OneRepository
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import open_repository

NAMES = [f"vm{number}" for number in range(5)]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """An engine whose backups take half a second to be ready."""
    with Box.start(tmp_path_factory.mktemp("box"), rhythm=0.05) as started:
        yield started


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    found = {}
    for number, name in enumerate(NAMES):
        vm = found[name] = box.make_vm(name, [DiskSpec(SMALL)], running=number % 2 == 0)
        box.fill(box.disks(vm)[0], 0, MIB, seed=number)
    return found


@pytest.fixture(autouse=True)
def borg_home(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BORG_BASE_DIR", "BORG_PASSPHRASE"):
        monkeypatch.setenv(name, desk.env[name])


def open_now(box: Box) -> int:
    """Backups that are not over: each holds an instant."""
    return sum(b.phase in ("initializing", "starting", "ready") for b in box.world.backups.values())


class Blocking(Progress):
    """The first VM that is stored stays there until others have begun, and then for a while."""

    def __init__(self, box: Box, count: int) -> None:
        self.known = set(box.world.backups)
        self.begun: list[str] = []
        self._box = box
        self._count = count

    def disk(self, name: str, size: int, to_read: int | None = None) -> Any:
        if not self.begun:
            self._box.wait(lambda: len(self._new()) >= self._count, "other backups", timeout=20)
            time.sleep(1)  # time for one more, if nothing held it back
            self.begun = [self._box.world.vms[b.vm_id].name for b in self._new()]
        return super().disk(name, size, to_read)

    def _new(self) -> list[Any]:
        return [b for b in list(self._box.world.backups.values()) if b.id not in self.known]


@pytest.mark.parametrize("room", [storing.ROOM, 0], ids=["held", "streamed"])
def test_so_many_are_under_way_the_neediest_first(
    box: Box, vms: dict[str, Vm], desk: Desk, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streamed: nothing fits into memory, so only the next one is begun before its turn."""
    monkeypatch.setattr("borg_ovirt.jobs.backup.create.ROOM", room)
    monkeypatch.setattr(storing, "ROOM", room)
    monkeypatch.setattr(storing, "LEAD", float("inf"))
    in_process(desk, "vm0", "vm1", limits=Limits(captures=1))  # they need it least from now on
    count = 3 if room else 2
    blocking = Blocking(box, count)
    result = in_process(desk, progress=blocking, limits=Limits(captures=3))
    assert len(set(blocking.begun)) == count
    needy = ["vm2", "vm3", "vm4", "vm0", "vm1"]
    assert sorted(blocking.begun) == needy[:count]
    assert [vm.status for vm in result.vms] == ["ok"] * 5
    assert [vm.vm for vm in result.vms] == needy
    made = [name.split("-")[0] for name in desk.archives()][2:]
    assert sorted(made) == sorted(needy)
    # Who has no increment yet (vm0, vm1) is expected to be small.
    assert room or [name for name in made if name in needy[:3]] == needy[:3]
    for outcome in result.vms[:2]:
        assert_extracts(desk, outcome.archive or "", vms[outcome.vm])
    desk.assert_clean()


def test_one_at_a_time_is_one_at_a_time(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            most[0] = max(most[0], open_now(box))

    watcher = threading.Thread(target=watch)
    watcher.start()
    in_process(desk, *NAMES[:3], limits=Limits(captures=1))
    over.set()
    watcher.join()
    assert most == [1]


@pytest.mark.soak
def test_the_limits_of_readers_hold_for_all_of_them(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    waited: list[str] = []

    class Listening(Progress):
        def step(self, text: str) -> None:
            if "waiting for a place" in text:
                waited.append(text)

    limits = Limits(captures=3, readers_per_domain=1)
    result = in_process(desk, *NAMES[:3], progress=Listening(), limits=limits)
    assert result.status == "ok"
    assert len(waited) >= 2


def test_the_archives_are_of_their_instants(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    """Guests write while a second night is under way, before it and after it."""
    limits = Limits(captures=4)
    in_process(desk, limits=limits)
    up = [vm for name, vm in vms.items() if int(name[2:]) % 2 == 0]
    over = threading.Event()

    def write() -> None:
        for seed in range(1000, 100_000):
            for vm in up:
                box.fill(box.disks(vm)[0], (seed % 8) * MIB, 4096, seed=seed)
            if over.wait(0.02):
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        result = in_process(desk, limits=limits)
    finally:
        over.set()
        writer.join()
    assert {vm.kind for vm in result.vms} == {"incremental"}
    for outcome in result.vms:
        if vms[outcome.vm] in up:
            assert_extracts(desk, outcome.archive or "", vms[outcome.vm])
    desk.assert_clean()


def test_one_whose_capture_fails_costs_the_others_nothing(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    backups = len(box.world.backups)
    box.inject.status("POST", f"/vms/{vms['vm1'].id}/backups", 400, detail="[Cannot backup VM. No.]", times=9)
    result = in_process(desk, limits=Limits(captures=4))
    box.inject.clear()
    assert {vm.vm: vm.status for vm in result.vms} == {**dict.fromkeys(NAMES, "ok"), "vm1": "failed"}
    assert "Cannot backup VM. No." in (result.vms[1].error or "")
    assert len(box.world.backups) == backups + 4, "each of the others was read once"
    desk.assert_clean()


def test_a_repository_that_breaks_costs_the_vm_that_it_broke_under(
    box: Box, vms: dict[str, Vm], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others that were under way are taken again, into the repository as it was opened again."""
    monkeypatch.setenv("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
    desk.env["BORG_RELOCATED_REPO_ACCESS_IS_OK"] = "yes"
    pids, rsh = desk.root / "pids", desk.root / "rsh"
    rsh.write_text(f'#!/bin/sh\nshift\necho $$ >> {pids}\nexec "$@"\n')
    rsh.chmod(0o755)
    location = f"ssh://backup.example{desk.repo}"

    class Breaking(Blocking):
        def disk(self, name: str, size: int, to_read: int | None = None) -> Any:
            first = not self.begun
            gauge = super().disk(name, size, to_read)
            if first:
                os.kill(int(pids.read_text().split()[-1]), signal.SIGKILL)
            return gauge

    def open_remote() -> Any:
        return open_repository(
            location, write=True, lock_wait=30.0, rsh=str(rsh), remote_path=str(BIN / "borg")
        )

    repositories = OneRepository("remote", location, open_remote)
    limits, names = Limits(captures=3), NAMES[:3]
    result = in_process(desk, *names, progress=Breaking(box, 3), repositories=repositories, limits=limits)
    assert sorted(vm.status for vm in result.vms) == ["failed", "ok", "ok"]
    assert len(pids.read_text().split()) == 2
    desk.assert_clean()


def started(desk: Desk, *options: str) -> subprocess.Popen[str]:
    command = desk.command("create", "--no-progress", "--captures", "4", *options)
    return subprocess.Popen(command, env=desk.env, stderr=subprocess.PIPE, text=True)


def test_a_signal_ends_all_of_them(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk)
    process = started(desk)
    box.wait(lambda: open_now(box) >= 3, "three at a time")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "Traceback" not in err
    desk.assert_clean()
    # What was stored before is whole; nothing was begun after the signal.
    assert len(desk.archives()) < len(vms)
    desk.borg("check", "--verify-data", desk.repo)
    assert set(outcomes(desk.run("create", "--json").ok().json).values()) == {"ok"}


def test_a_kill_leaves_what_the_journal_knows(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    configure(desk)
    process = started(desk)
    box.wait(lambda: open_now(box) >= 3, "three at a time")
    process.kill()
    process.communicate()
    assert box.clean(timeout=0) != []
    desk.a_day_later()
    desk.assert_clean()


def test_two_repositories_take_what_is_under_way_together(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    other = copy.copy(desk)
    other.repo = str(desk.root / "other")
    desk.borg("init", "-e", "repokey", other.repo)
    both = {"local": {"location": desk.repo}, "other": {"location": other.repo}}
    configure(desk, repositories=both, limits={"captures": 4})
    three = ["--vm", "vm0", "--vm", "vm1", "--vm", "vm2"]
    assert set(outcomes(desk.run("create", "--json", *three).ok().json).values()) == {"ok"}
    for number, name in enumerate(NAMES[:3]):
        box.fill(box.disks(vms[name])[0], 3 * MIB, MIB, seed=700 + number)
    backups = len(box.world.backups)
    done = desk.run("create", "--json", *three).ok()
    assert {(vm["status"], vm["kind"]) for vm in done.vms.values()} == {("ok", "incremental")}
    assert len(box.world.backups) == backups + 3
    for outcome in done.vms.values():
        for place in (desk, other):
            assert_extracts(place, outcome["archive"], vms[outcome["vm"]])
    desk.assert_clean()


@pytest.mark.soak
def test_the_room_is_watched_for_all_of_them(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    """Who waits for its turn is ended too when a domain fills up meanwhile."""
    domain = box.domain("data")
    before = domain.capacity

    class Filling(Blocking):
        def disk(self, name: str, size: int, to_read: int | None = None) -> Any:
            gauge = super().disk(name, size, to_read)
            domain.capacity = before // 1000
            return gauge

    limits = Limits(captures=3, min_free=Room(size=before // 2), rate_limit=64 << 10)
    try:
        result = in_process(desk, progress=Filling(box, 3), limits=limits, guard_every=0.05)
    finally:
        domain.capacity = before
    assert "must stay free" in (result.vms[-1].error or "")
    desk.assert_clean()


def test_hooks_run_for_each_of_them(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    log = desk.root / "log"
    hooks = [
        {"when": when, "command": f'echo "$BORG_OVIRT_WHEN $BORG_OVIRT_VM_NAME" >> {log}'}
        for when in ("before-vm", "on-success", "after-vm")
    ]
    configure(desk, hooks=hooks, limits={"captures": 4})
    desk.run("create").ok()
    lines = Path(log).read_text().splitlines()
    for name in NAMES:
        mine = [line.split()[0] for line in lines if line.endswith(name)]
        assert mine == ["before-vm", "on-success", "after-vm"]


def test_a_run_is_seen_on_a_terminal_and_by_who_finds_its_lock(
    box: Box, vms: dict[str, Vm], desk: Desk
) -> None:
    """Every wait counts its seconds, and a held lock tells which VM its holder is at."""
    go = desk.root / "go"
    configure(desk, hooks=[{"when": "before-vm", "command": f"until [ -e {go} ]; do sleep 0.1; done"}])
    master, terminal = pty.openpty()
    command = desk.command("create", "--vm", "vm0", "--vm", "vm1")
    process = subprocess.Popen(command, env={**desk.env, "COLUMNS": "200"}, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # the end of a terminal
            while data := os.read(master, 1 << 16):
                seen.append(data)

    def words() -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(seen).decode(errors="replace"))

    reader = threading.Thread(target=read)
    reader.start()
    waits = r"vm1: running the before-vm command until .*, ([0-9.]+)s"
    box.wait(lambda: len(set(re.findall(waits, words()))) >= 3, "a wait that counts", timeout=60)
    assert "VM 2 of 2, 0 done, 0 B read" in words()
    refused = desk.run("create", "--lock-wait", "0", f"{desk.repo}::vm4")
    go.touch()
    assert process.wait(120) == 0, words()
    reader.join()
    os.close(master)
    assert "), VM 2 of 2, for " in refused.err
    told = [line.strip() for line in re.split(r"[\r\n]+", words())]
    done = {line for line in told if re.match(r"VM \d of 2: ", line)}
    assert [name in line for name, line in zip(("1 of 2", "2 of 2"), sorted(done), strict=True)] == [True] * 2
    assert all(re.search(": full, [0-9.]+ MiB read, ", line) for line in done)
    assert not [line for line in told if line.startswith(("vm0: full", "vm1: full"))]
    assert "waiting for the backup of VM vm0 to be ready, " in words()


def test_one_that_fails_at_its_end_was_read_and_is_no_start(
    box: Box, vms: dict[str, Vm], desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for the end: the archive is there by then. The engine has removed the new checkpoint, so
    the next backup starts from the one before."""
    vm = vms["vm1"]
    first = desk.create(vm, "--backup-api", "live")
    box.fill(box.disks(vm)[0], 2 * MIB, MIB, seed=801)
    monkeypatch.setattr(box.engine.rhythm, "factor", 0.12)
    process = subprocess.Popen(
        desk.command("create", "--no-progress", "--backup-api", "live", f"{desk.repo}::vm1"),
        env=desk.env,
        stderr=subprocess.PIPE,
        text=True,
    )
    ending = [*box.world.backups.values()][-1:]

    def is_ending() -> bool:
        ending[:] = [b for b in box.world.backups.values() if b.phase == "finalizing"]
        return bool(ending)

    box.wait(is_ending, "the end")
    with box.world.lock:
        give_up(box.engine, ending[0])
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "failed after it was read: its archive is complete" in err
    monkeypatch.undo()
    failed = desk.archives()[-1]
    assert_extracts(desk, failed, vm)
    box.fill(box.disks(vm)[0], 4 * MIB, MIB, seed=802)
    again = desk.create(vm, "--backup-api", "live")
    assert again["kind"] == "incremental"
    assert desk.manifest(again["archive"])["run"]["base"]["name"] == first["archive"] != failed
    assert_extracts(desk, again["archive"], vm)
    desk.assert_clean()


def test_the_way_is_chosen_by_what_it_holds_up(box: Box, vms: dict[str, Vm], desk: Desk) -> None:
    """At first everything is read, and it may take long; then little has changed, and it is soon over."""
    configure(desk, policy={"lock_limit": "15s"})  # as long as a backup takes without any reading
    first = desk.run("create", "--json", "--vm", "vm0", "--vm", "vm1").ok().vms
    assert {vm["way"] for vm in first.values()} == {"hybrid backup"}
    desk.run(
        "create", "--json", "--vm", "vm0"
    ).ok()  # the first increment: what is to be expected is known now
    box.fill(box.disks(vms["vm0"])[0], 5 * MIB, MIB, seed=810)
    configure(desk, policy={"lock_limit": "2m"})
    second = desk.run("create", "--json", "--vm", "vm0", "--vm", "vm1").ok().vms
    assert {name: vm["way"] for name, vm in second.items()} == {"vm0": "live backup", "vm1": "cold backup"}
    assert {vm["kind"] for vm in second.values()} == {"incremental"}
    why = desk.manifest(second["vm0"]["archive"])["run"]["way_reason"]
    assert "without a snapshot to merge, and the VM may migrate and stop again within" in why
    for name, vm in second.items():
        assert_extracts(desk, vm["archive"], vms[name])
