"""Chain mode that dies or fails at any step: nothing is left behind after it, or after the next run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from chainbench import Bench, Known, gone, make
from ovirtbox import attachments
from ovirtbox.box import Box
from ovirtbox.faults import conflict
from ovirtbox.model import Vm

from borg_ovirt.errors import BorgOvirtError, RestoreFailed
from borg_ovirt.ovirt.tracked.cleanup import heal


@pytest.fixture(scope="module")
def vm(box: Box) -> Iterator[Vm]:
    made = make(box, "mortal")
    yield made
    gone(box, made)


@dataclass
class Command:
    """Our command as a process that can be killed."""

    bench: Bench
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, bench: Bench, *arguments: str) -> Command:
        env = {**os.environ, **bench.box.env(), "BORG_OVIRT_STATE_DIR": str(bench.state)}
        command = [sys.executable, "-m", "borg_ovirt", *arguments]
        quiet = subprocess.DEVNULL
        return cls(bench, subprocess.Popen(command, env=env, stdout=quiet, stderr=quiet))

    def kill_when(self, condition: Callable[[], bool], what: str) -> None:
        """Kill it at the very step."""
        deadline = time.monotonic() + 120
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}"
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.005)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.bench.box.inject.clear()


def snapshots_of(vm: Vm) -> list[str]:
    return [s.description for s in list(vm.snapshots) if s.type == "regular"]


def ours(vm: Vm) -> bool:
    return any(text.startswith("borg-ovirt") for text in snapshots_of(vm))


def reading(box: Box) -> bool:
    return any(t.phase == "transferring" for t in list(box.world.transfers.values()))


STEPS: dict[str, Callable[[Box, Vm], bool]] = {
    "the snapshot is taken": lambda box, vm: ours(vm),
    "a layer is read": lambda box, vm: reading(box),
    "the merge goes on": lambda box, vm: (
        any(
            s.status == "locked" and s.description.startswith("borg-ovirt") and s.images
            for s in list(vm.snapshots)
        )
        and any(t.phase == "finished_success" for t in list(box.world.transfers.values()))
    ),
}


@pytest.mark.thin(2)
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_backup_leaves_nothing_after_the_next(bench: Bench, box: Box, vm: Vm, step: str) -> None:
    box.world.transfers.clear()
    before = snapshots_of(vm)
    if step == "a layer is read":
        box.inject.latency(0.5, "/imagetransfers/*", "GET")
    command = Command.start(bench, "create", "--mode", "chain", f"{bench.repo}::{vm.name}")
    command.kill_when(lambda: STEPS[step](box, vm), step)
    bench.borg("break-lock", bench.repo)
    if step == "the snapshot is taken":
        assert list(bench.state.glob("*.jsonl"))
    with bench.engine() as engine:
        heal(engine, bench.state, print, in_flight=0.0)
    bench.assert_clean()
    assert snapshots_of(vm) == before
    assert bench.create(vm).kind == "full"
    bench.assert_clean()


def restored(box: Box, name: str) -> Vm | None:
    return next((vm for vm in list(box.world.vms.values()) if vm.name == name), None)


RESTORE_STEPS: dict[str, Callable[[Box, set[str]], bool]] = {
    "a disk is made": lambda box, disks: bool(set(box.world.disks) - disks),
    "the VM is imported": lambda box, disks: restored(box, "copy") is not None,
    "a snapshot is made": lambda box, disks: bool((vm := restored(box, "copy")) and len(vm.snapshots) > 2),
    "a layer is written": lambda box, disks: reading(box),
}


@pytest.mark.thin(2)
@pytest.mark.parametrize("step", RESTORE_STEPS)
def test_a_killed_restore_leaves_nothing_after_cleanup(bench: Bench, box: Box, vm: Vm, step: str) -> None:
    box.world.transfers.clear()
    archive = bench.create(vm).archive
    box.world.transfers.clear()
    disks, vms = set(box.world.disks), set(box.world.vms)
    command = Command.start(bench, "extract", "--name", "copy", f"{bench.repo}::{archive}")
    command.kill_when(lambda: RESTORE_STEPS[step](box, disks), step)
    with bench.engine() as engine:
        heal(engine, bench.state, print, in_flight=0.0)
    assert set(box.world.vms) == vms
    box.wait(lambda: set(box.world.disks) == disks, "the disks to go")
    bench.assert_clean()


def test_a_backup_that_fails_while_it_reads_leaves_nothing(bench: Bench, box: Box, vm: Vm) -> None:
    before = snapshots_of(vm)
    # The third transfer that starts is refused after the others have begun.
    box.inject.status("POST", "/imagetransfers", 400, nth=3)
    with pytest.raises(BorgOvirtError):
        bench.create(vm)
    assert box.inject.hits["status"] == 1
    assert bench.archives() == []
    box.wait(lambda: snapshots_of(vm) == before, "the temporary snapshot to go")
    with bench.engine() as engine:  # the merge was not waited for: the next run strikes it out
        heal(engine, bench.state, print, in_flight=0.0)
    bench.assert_clean()


def test_a_cut_connection_is_taken_up_again(bench: Bench, box: Box, vm: Vm) -> None:
    before = box.inject.hits["drop_data"]
    box.inject.drop_data(100_000, times=2)
    result = bench.create(vm)
    assert box.inject.hits["drop_data"] == before + 2
    assert sum(outcome.stats.resumes for outcome in result.disks) >= 1
    bench.assert_clean()


def test_a_restore_that_fails_while_it_writes_takes_everything_away(bench: Bench, box: Box, vm: Vm) -> None:
    archive = bench.create(vm).archive
    disks, vms = set(box.world.disks), set(box.world.vms)
    box.inject.status("POST", "/imagetransfers", 400, nth=4)
    with pytest.raises(BorgOvirtError):
        bench.extract(archive, name="copy")
    assert set(box.world.vms) == vms
    box.wait(lambda: set(box.world.disks) == disks, "the disks to go")
    bench.assert_clean()


def test_a_disk_that_does_not_attach_is_noticed(bench: Bench, box: Box, vm: Vm) -> None:
    """The engine reports it only as an event; bytes must not go on."""
    archive = bench.create(vm).archive
    disks, vms = set(box.world.disks), set(box.world.vms)
    real, calls = attachments.attach, []

    def refuse(engine: object, machine: object, wanted: object) -> None:
        calls.append(wanted)
        if len(calls) == 2:
            raise conflict("no")
        real(engine, machine, wanted)  # type: ignore[arg-type]

    attachments.attach = refuse  # type: ignore[assignment]
    try:
        with pytest.raises(RestoreFailed, match="without the disks"):
            bench.extract(archive, name="copy")
    finally:
        attachments.attach = real
    assert set(box.world.vms) == vms
    box.wait(lambda: set(box.world.disks) == disks, "the disks to go")
    bench.assert_clean()


def test_a_wrong_backing_name_in_the_engine_is_refused(bench: Bench, box: Box, vm: Vm) -> None:
    disk = box.disks(vm)[0]
    layer = disk.layers[2]
    real, layer.parent = layer.parent, disk.layers[0].image_id
    disk.layers[1].parent, spare = layer.image_id, disk.layers[1].parent
    disk.layers[3].parent, top = disk.layers[1].image_id, disk.layers[3].parent
    try:
        with pytest.raises(BorgOvirtError, match="snapshot chain of disk mortal_Disk1 is not sound"):
            bench.create(vm, snapshot=False, freeze="never")
    finally:
        layer.parent, disk.layers[1].parent, disk.layers[3].parent = real, spare, top
    assert bench.archives() == []
    bench.assert_clean()


def test_no_wait_leaves_the_merge_to_the_engine(bench: Bench, box: Box, vm: Vm) -> None:
    before = snapshots_of(vm)
    result = bench.create(vm, wait=False)
    assert result.warnings == []
    box.wait(lambda: snapshots_of(vm) == before, "the merge")
    with bench.engine() as engine:
        heal(engine, bench.state, print, in_flight=0.0)
    bench.assert_clean()


def test_every_layer_survives_all_this(bench: Bench, box: Box, vm: Vm) -> None:
    known = Known.of(box, vm)
    bench.extract(bench.create(vm).archive, name="whole")
    known.check(box, box.vm("whole"))
    bench.assert_clean_but(box.vm("whole"))
