"""Backups that the engine refuses without a word, as a running engine did: the reason is looked for, what
passes is waited for, and the checkpoint is not blamed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from ovirt_bed import PATIENCE, MiB, opened_image
from ovirtbox.box import Box, DiskSpec
from ovirtbox.locks import VM, exclusive
from ovirtbox.model import Vm

from borg_ovirt.errors import BackupFailed, TransferFailed
from borg_ovirt.ovirt.facts.checkpoints import list_checkpoints
from borg_ovirt.ovirt.facts.vm import find_vm
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.journal import Journal


def back_up(engine: Engine, journal: Journal, vm: Vm, **options: object) -> str | None:
    facts = find_vm(engine, vm.name)
    with opened_image(engine, facts, facts.disks, journal=journal, **options) as captured:
        captured.finish()
    assert captured.wait_merge() == []
    return captured.to_checkpoint


@contextmanager
def for_a_moment(undo: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(1.5, undo)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def begun(box: Box, vm: Vm) -> int:
    return len([e for e in box.world.events if e.code == 10790 and e.vm_id == vm.id])


@pytest.mark.parametrize("live", [False, True], ids=["hybrid", "live"])
@pytest.mark.parametrize("incremental", [False, True], ids=["full", "incremental"])
def test_too_little_room_is_told_as_such_and_tried_once(
    box: Box, engine: Engine, journal: Journal, live: bool, incremental: bool
) -> None:
    name = f"narrow-{live}-{incremental}"
    box.make_domain(name)
    vm = box.make_vm(name, [DiskSpec(4 * MiB, domain=name)], agent=True)
    since = back_up(engine, journal, vm, live=live) if incremental else None
    held = [c.id for c in list_checkpoints(engine, vm.id)]
    before = begun(box, vm)
    box.inject.fill_domain(name)
    try:
        with pytest.raises(BackupFailed, match=f"too little room is left on {name}"):
            back_up(engine, journal, vm, live=live, from_checkpoint=since)
    finally:
        box.inject.fill_domain(name, full=False)
    assert begun(box, vm) == before + 1
    assert [c.id for c in list_checkpoints(engine, vm.id)] == held
    back_up(engine, journal, vm, live=live, from_checkpoint=since)


def test_an_illegal_disk_is_named(box: Box, engine: Engine, journal: Journal) -> None:
    vm = box.make_vm("illegal", [DiskSpec(4 * MiB), DiskSpec(4 * MiB, alias="broken")])
    facts = find_vm(engine, vm.name)
    box.disks(vm)[1].active.status = "illegal"
    try:
        with (
            pytest.raises(BackupFailed, match="its disks are illegal: broken"),
            opened_image(engine, facts, facts.disks, journal=journal),
        ):
            pass
    finally:
        box.disks(vm)[1].active.status = "ok"


def test_a_locked_disk_is_waited_for_and_told(
    box: Box, engine: Engine, journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    vm = box.make_vm("locked", [DiskSpec(4 * MiB, alias="merging")])
    since = back_up(engine, journal, vm)
    (disk,) = box.disks(vm)
    disk.active.status = "locked"

    def let_go() -> None:
        disk.active.status = "ok"

    with for_a_moment(let_go):
        back_up(engine, journal, vm, from_checkpoint=since)
    assert "its disks are locked: merging; waiting" in caplog.text
    box.as_found()


def test_a_vm_that_something_else_works_on(box: Box, access: EngineAccess, journal: Journal) -> None:
    """Its lock is not to be seen: some tries, then it is said that no reason is known."""
    vm = box.make_vm("worked-on", [DiskSpec(4 * MiB)])
    with Engine(access, patience=replace(PATIENCE, unclear=1.0)) as engine:
        since = back_up(engine, journal, vm)
        locks = box.engine.locks
        locks.take("somebody", "Cannot", exclusive(VM, vm.id))
        with pytest.raises(BackupFailed, match="gives no reason"):
            back_up(engine, journal, vm, from_checkpoint=since)
        with for_a_moment(lambda: locks.drop("somebody")):
            back_up(engine, journal, vm, from_checkpoint=since)


def test_a_guest_that_shuts_down_is_the_reason_that_is_told(
    box: Box, engine: Engine, journal: Journal
) -> None:
    vm = box.make_vm("goes-down", [DiskSpec(4 * MiB)])
    facts = find_vm(engine, vm.name)
    with (
        pytest.raises(BackupFailed, match="went down while its live backup was read: VM goes-down is down"),
        opened_image(engine, facts, facts.disks, journal=journal, live=True),
    ):
        _shut_down(box, vm)


def _shut_down(box: Box, vm: Vm) -> None:
    """From within the guest; then nothing of it can be read any more."""
    box.crash_vm(vm)
    box.engine.log(61, "normal", f"VM {vm.name} is down. Exit message: User shut down", vm_id=vm.id)
    raise TransferFailed("The connection broke 33 times.")
