"""Whatever breaks: no archive, or a right one; and an engine as it was found."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable

import pytest
from harness import Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.errors import NotAuthorized

MIB = 1 << 20


def make(box: Box, name: str, *, running: bool = True) -> Vm:
    vm = box.make_vm(
        name,
        [
            DiskSpec(48 * MIB, bootable=True),
            DiskSpec(32 * MIB, domain="lun"),
            DiskSpec(16 * MIB, format="raw"),
        ],
        running=running,
    )
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, 0, 12 * MIB, seed=number)
    return vm


def test_cut_connections_are_taken_up_again_and_counted(box: Box, desk: Desk) -> None:
    vm = make(box, "cut")
    box.inject.drop_data(5 * MIB, times=3)
    made = desk.create(vm, "--readers", "1")  # one connection carries enough to be cut
    assert sum(d["stats"]["resumes"] for d in made["disks"]) >= 1
    desk.assert_archived(made["archive"], vm)
    desk.assert_clean()


def test_an_engine_that_restarts_for_a_moment_is_waited_for(box: Box, desk: Desk) -> None:
    vm = make(box, "away")
    box.inject.status("GET", "*/imagetransfers/*", 503, "html", times=2)
    made = desk.create(vm)
    desk.assert_archived(made["archive"], vm)
    desk.assert_clean()


WAITED_OUT = {("POST", "*/backups", 1), ("GET", "*/backups/*", 2)}
"""Refused without a word while the backup begins: something may be in its way, and is waited for."""


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("method", "path", "nth"),
    [
        ("POST", "*/backups", 1),
        ("GET", "*/backups/*", 2),
        ("POST", "*/imagetransfers", 1),
        ("POST", "*/imagetransfers", 3),
        ("POST", "*/imagetransfers/*/finalize", 2),
        ("POST", "*/backups/*/finalize", 1),
    ],
    ids=lambda value: str(value).strip("*/"),
)
def test_a_refusal_at_any_step_leaves_no_archive_and_a_clean_engine(
    box: Box, desk: Desk, method: str, path: str, nth: int
) -> None:
    vm = make(box, f"refused-{method}-{path.strip('*/').replace('/', '-').replace('*', 'x')}-{nth}")
    box.inject.status(method, path, 400, nth=nth)
    failed = desk.run("create", f"{desk.repo}::{vm.name}")
    if (method, path, nth) in WAITED_OUT:
        assert failed.code <= 1, failed.err
        desk.assert_archived(desk.archives()[-1], vm)
        desk.assert_clean()
        return
    assert failed.code >= 2, failed.err
    assert desk.archives() == []
    assert box.world.checkpoints.get(vm.id, []) == []
    desk.assert_clean()
    box.inject.clear()
    after = desk.create(vm)
    desk.assert_archived(after["archive"], vm)
    desk.assert_clean()


@pytest.mark.parametrize("refused", [0, 3], ids=["polls", "and what ends it"])
def test_two_failed_polls_of_a_new_transfer(box: Box, desk: Desk, refused: int) -> None:
    """Nobody waits for minutes, and nothing stays, whether the run comes through or gives up."""
    vm = make(box, f"polls-{refused}")
    box.inject.status("GET", "*/imagetransfers/*", 500, times=2)
    if refused:  # the transfer is refused for good then, and its end, and that of the backup, for a while
        box.inject.status("GET", "*/imagetransfers/*", 400, nth=1, times=2)
        box.inject.status("POST", "*/imagetransfers/*/cancel", 500, times=refused)
        box.inject.status("POST", "*/backups/*/finalize", 500, times=refused)
    begun = time.monotonic()
    run = desk.run("create", f"{desk.repo}::{vm.name}")
    assert time.monotonic() - begun < 120
    if refused:
        assert run.code >= 2
        assert desk.archives() == []
    else:
        run.ok()
        desk.assert_archived(desk.archives()[-1], vm)
    assert box.inject.hits["status"] >= 2
    desk.assert_clean()


def test_a_right_to_end_that_is_missing_is_told_at_once(box: Box, desk: Desk) -> None:
    """What could not be ended is ended by the next run that may."""
    vm = make(box, "no-right")
    for path in ("*/imagetransfers/*/finalize", "*/imagetransfers/*/cancel", "*/backups/*/finalize"):
        box.inject.status("POST", path, 403, times=999)
    begun = time.monotonic()
    refused = desk.run("create", f"{desk.repo}::{vm.name}")
    assert time.monotonic() - begun < 60
    assert refused.code == NotAuthorized.exit_code
    assert "may not" in refused.err or "right" in refused.err
    assert desk.archives() == []
    box.inject.clear()
    desk.a_day_later()
    desk.assert_clean()
    desk.create(vm)


def _interrupted(
    box: Box, desk: Desk, vm: Vm, when: Callable[[], bool], number: signal.Signals
) -> tuple[int, str]:
    """Start a slow backup, send a signal once `when` holds, and let it end."""
    process = subprocess.Popen(
        desk.command("create", f"{desk.repo}::{vm.name}"), env=desk.env, stderr=subprocess.PIPE, text=True
    )
    try:
        box.wait(when, "the moment to interrupt", timeout=60)
        process.send_signal(number)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, err


def _transferring(box: Box, vm: Vm) -> bool:
    disks = {d.id for d in box.disks(vm)}
    with box.world.lock:
        return any(t.disk_id in disks and t.phase == "transferring" for t in box.world.transfers.values())


@pytest.mark.thin(1)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_leaves_nothing_behind(box: Box, desk: Desk, number: signal.Signals) -> None:
    vm = make(box, f"stopped-{number.name}")
    box.inject.latency(0.3, "*/imagetransfers*")
    code, err = _interrupted(box, desk, vm, lambda: _transferring(box, vm), number)
    assert code == 128 + number
    assert "Traceback" not in err
    assert desk.archives() == []
    assert box.world.checkpoints.get(vm.id, []) == []
    desk.assert_clean()
    desk.borg("check", desk.repo)


def test_a_kill_is_healed_by_the_next_run(box: Box, desk: Desk) -> None:
    vm = make(box, "killed")
    first = desk.create(vm)
    box.inject.latency(0.3, "*/imagetransfers*")
    code, _ = _interrupted(box, desk, vm, lambda: _transferring(box, vm), signal.SIGKILL)
    assert code == -signal.SIGKILL
    box.inject.clear()
    assert box.clean(timeout=0.1) != []
    box.fill(box.disks(vm)[0], 20 * MIB, MIB, seed=99)
    after = desk.create(vm)
    assert after["kind"] == "incremental", "the checkpoint of the first archive is still good"
    assert after["archive"] != first["archive"]
    desk.assert_archived(after["archive"], vm)
    desk.a_day_later()  # the kill may have come while a transfer was asked for: that one is looked for again
    desk.assert_clean()


def test_a_killed_restore_is_undone_by_the_next_one(box: Box, desk: Desk) -> None:
    vm = make(box, "wounded", running=False)
    desk.create(vm)
    disks = set(box.world.disks)
    box.inject.latency(0.3, "*/imagetransfers*")
    process = subprocess.Popen(desk.command("extract", "--name", "w2", f"{desk.repo}::wounded"), env=desk.env)
    try:
        box.wait(
            lambda: any(t.direction == "upload" for t in list(box.world.transfers.values())),
            "an upload",
            timeout=60,
        )
    finally:
        process.kill()
        process.wait()
    box.inject.clear()
    assert set(box.world.disks) > disks
    desk.run("extract", "--name", "w3", f"{desk.repo}::wounded").ok()
    assert {vm.name for vm in box.world.vms.values()} & {"w2", "w3"} == {"w3"}
    assert len(set(box.world.disks) - disks) == 3
    assert box.clean() == []  # what may have been on its way when the run was killed is looked for again


def test_a_full_repository_leaves_no_archive(box: Box, desk: Desk) -> None:
    vm = make(box, "full")
    desk.borg("config", desk.repo, "storage_quota", "10M")
    failed = desk.run("create", f"{desk.repo}::full")
    assert failed.code == 33
    assert "quota" in failed.err.lower()
    desk.assert_clean()
    desk.borg("config", "--delete", desk.repo, "storage_quota")
    assert desk.archives() == []
    made = desk.create(vm)
    desk.assert_archived(made["archive"], vm)


def test_a_daemon_that_dies_for_good_ends_the_run(box: Box, desk: Desk) -> None:
    """The tickets are gone with it, and the engine can make no other transfers."""
    vm = make(box, "deaf")
    ended = threading.Event()

    def die() -> None:
        while not ended.is_set():
            if _transferring(box, vm):
                box.inject.status("POST", "*/imagetransfers", 400, times=1 << 30)
                box.inject.restart_imageio()
                return
            ended.wait(0.01)

    thread = threading.Thread(target=die)
    thread.start()
    try:
        run = desk.run("create", "--rate-limit", "4MiB", f"{desk.repo}::deaf")
    finally:
        ended.set()
        thread.join()
    assert run.code >= 2
    assert "disk" in run.err
    assert desk.archives() == []
    desk.assert_clean()


def test_no_ticket_and_no_password_in_the_words(box: Box, desk: Desk) -> None:
    vm = make(box, "secret")
    box.inject.status("POST", "*/imagetransfers/*/finalize", 400)
    failed = desk.run("create", "--debug", "-vv", f"{desk.repo}::secret", BORG_OVIRT_PASSWORD=box.password)
    tickets = [t.ticket for t in box.world.transfers.values() if t.ticket]
    words = failed.out + failed.err
    assert failed.code >= 2
    assert tickets or box.world.transfers
    for secret in [*tickets, box.password, desk.env["BORG_PASSPHRASE"]]:
        assert secret not in words
    assert os.path.exists(box.password_file)
    assert vm.status == "up"
