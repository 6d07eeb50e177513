"""Whatever goes wrong, and wherever: the engine is left as it was found."""

from __future__ import annotations

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ovirt_bed import PATIENCE, MiB, digests
from ovirt_ways import USED, WAYS, begin, go, make_vms, steps
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.errors import BorgOvirtError, NotAuthorized, TransferFailed
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.vm import find_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import heal, leftovers
from borg_ovirt.ovirt.tracked.journal import Journal


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    return make_vms(box)


@pytest.mark.thin(8)
@pytest.mark.parametrize(("way", "method", "path", "nth"), steps())
def test_a_refusal_at_any_step_leaves_nothing(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str, method: str, path: str, nth: int
) -> None:
    before = box.inject.hits["status"]
    box.inject.status(method, path, 400, detail="[Something is wrong]", nth=nth)
    with pytest.raises(BorgOvirtError, match="Something is wrong"):
        go(engine, journal, way)
    assert box.inject.hits["status"] == before + 1
    assert box.clean() == []
    assert journal.unfinished == []
    go(engine, journal, way)  # and the next run works


@pytest.mark.thin(4)
@pytest.mark.parametrize("way", WAYS)
def test_an_error_of_the_job_leaves_nothing(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str
) -> None:
    def body(captured: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go(engine, journal, way, body)
    assert box.clean() == []
    assert journal.unfinished == []


@pytest.mark.thin(4)
@pytest.mark.parametrize("way", WAYS)
def test_leaving_without_finish_is_an_end_too(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str
) -> None:
    with begin(engine, journal, way):
        pass
    assert box.clean() == []
    assert journal.unfinished == []


@pytest.mark.thin(4)
@pytest.mark.parametrize("way", WAYS)
def test_an_error_after_finish_waits_for_the_merge(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str
) -> None:
    context = begin(engine, journal, way)
    context.__enter__().finish()
    assert not context.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert journal.unfinished == []
    assert box.clean() == []


@pytest.mark.thin(10)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("delay", [0.03, 0.15, 0.35, 0.8])
def test_an_interrupt_at_any_moment(
    box: Box, engine: Engine, tmp_path: Path, vms: dict[str, Vm], way: str, delay: float
) -> None:
    facts = find_vm(engine, way)

    def wait_for_the_end() -> None:
        with Journal(tmp_path, engine.instance_id) as journal, begin(engine, journal, way, facts):
            for _ in range(3000):
                time.sleep(0.01)

    threading.Timer(delay, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        wait_for_the_end()
    # What was unclear when the interrupt came is for the next run to find.
    heal(engine, tmp_path, in_flight=0.0)
    assert list(tmp_path.iterdir()) == []
    assert box.clean() == []


_VICTIM = """
import json, sys, time
from pathlib import Path
from borg_ovirt.ovirt.capture.chain import capture_chain
from borg_ovirt.ovirt.capture.image import capture_image
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.facts.vm import find_vm
url, user, password, ca, state, vm, mode, options = sys.argv[1:]
capture = capture_chain if mode == "chain" else capture_image
options = json.loads(options)
with Engine(EngineAccess(url, user, Path(password).read_text().strip(), Path(ca))) as engine:
    with Journal(Path(state), engine.instance_id) as journal:
        facts = find_vm(engine, vm)
        print("go", flush=True)
        with capture(engine, facts, facts.disks, journal=journal, description="x", **options) as captured:
            captured.open(layer for disk in captured.disks for layer in disk.layers)
            print("captured", flush=True)
            time.sleep(60)
"""


@pytest.mark.thin(8)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", ["captured", "0.1", "0.4"])
def test_a_killed_run_is_healed_by_the_next(
    box: Box, engine: Engine, tmp_path: Path, vms: dict[str, Vm], way: str, moment: str
) -> None:
    arguments = [
        box.url,
        box.user,
        str(box.password_file),
        str(box.ca_file),
        str(tmp_path),
        way,
        WAYS[way][2],
        json.dumps(WAYS[way][3]),
    ]
    victim = subprocess.Popen([sys.executable, "-c", _VICTIM, *arguments], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    assert victim.stdout.readline() == "go\n"
    if moment == "captured":
        assert victim.stdout.readline() == "captured\n"
        assert box.clean(timeout=0) != []
    else:
        time.sleep(float(moment))
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    victim.stdout.close()
    found = leftovers(tmp_path, engine.instance_id)
    assert leftovers(tmp_path, "another engine") == []
    said: list[str] = []
    done = heal(engine, tmp_path, said.append)
    assert len(done) <= len(found)
    if moment == "captured":
        assert len(done) == len(found) == {"hybrid": 3, "raw": 3, "chain-raw": 3}.get(way, 4)
    engine.patience = replace(PATIENCE, unclear=0.1)
    heal(engine, tmp_path, in_flight=0.0)  # the next run: what is not to be seen by now never was
    assert list(tmp_path.iterdir()) == []
    assert box.clean() == []
    assert heal(engine, tmp_path) == []


@pytest.mark.parametrize("way", ["hybrid", "live", "chain"])
def test_a_right_that_is_missing_at_the_end_is_told_at_once(
    box: Box, engine: Engine, tmp_path: Path, vms: dict[str, Vm], way: str
) -> None:
    """Nobody waits for a right. What could not be ended stays in the journal."""
    for path in ("/imagetransfers/*/finalize", "/imagetransfers/*/cancel", "/vms/*/backups/*/finalize"):
        box.inject.status("POST", path, 403, nth=2 if "transfers/*/f" in path else 1, times=999)
    box.inject.status("DELETE", "/vms/*/snapshots/*", 403, times=999)
    started = time.monotonic()
    with Journal(tmp_path, engine.instance_id) as journal:
        with pytest.raises(NotAuthorized), begin(engine, journal, way) as captured:
            captured.finish()
        assert len(journal.unfinished) > 1
    assert time.monotonic() - started < 20, "patience here is 30 s for each"
    box.inject.clear()
    heal(engine, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert box.clean() == []


@pytest.mark.parametrize("way", ["hybrid", "live", "chain"])
def test_an_end_that_fails_is_asked_for_again(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str
) -> None:
    """The polls of a new transfer fail, and so does what should end it, for a while."""
    box.inject.status("GET", "/imagetransfers/*", 400, times=2)
    box.inject.status("POST", "/imagetransfers/*/cancel", 400, times=2)
    box.inject.status("POST", "/vms/*/backups/*/finalize", 500, times=1)
    with pytest.raises(BorgOvirtError), begin(engine, journal, way):
        pass
    assert journal.unfinished == []
    assert box.clean() == []


def test_healing_touches_nobody_elses(box: Box, engine: Engine, tmp_path: Path, vms: dict[str, Vm]) -> None:
    vm = box.make_vm("bystander", [DiskSpec(MiB)])
    kept = box.snapshot(vm, "borg-ovirt by hand")
    with Journal(tmp_path / "a", engine.instance_id) as other:
        facts = find_vm(engine, "live")
        with begin(engine, other, "live", facts) as captured:
            assert heal(engine, tmp_path / "a") == []
            assert digests(captured)
            captured.finish()
    assert kept in vm.snapshots
    box.remove_snapshot(vm, kept)


@pytest.mark.parametrize("way", ["hybrid", "live", "cold", "snapshot", "chain", "chain-down"])
def test_a_daemon_that_loses_its_tickets_is_survived(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str
) -> None:
    """The source stays the same instant, so new transfers of it give the same bytes."""
    facts = find_vm(engine, way)
    facts = replace(facts, disks=tuple(disk for disk in facts.disks if disk.active))
    truth = {f"disk {disk.alias}": box.sha(disk) for disk in box.disks(vms[way])}
    with begin(engine, journal, way, facts) as captured:
        before = digests(captured)
        box.inject.restart_imageio()
        assert digests(captured) == before
        assert all(truth[name] == found for name, found in before.items() if name in truth)
        assert before
        captured.finish()
    assert captured.wait_merge() == []


def test_a_raw_transfer_whose_ticket_is_lost_fails(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm]
) -> None:
    """Between two transfers somebody could have started the VM: not the same instant any more."""

    def lose(captured: Capture) -> None:
        box.inject.restart_imageio()
        digests(captured)

    with pytest.raises(TransferFailed, match="The engine ended the transfer of disk raw_Disk1"):
        go(engine, journal, "raw", lose)
    assert box.clean() == []


def test_a_dropped_connection_is_resumed(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm]
) -> None:
    vm = box.make_vm("dropped", [DiskSpec(24 * MiB)])
    box.fill(box.disks(vm)[0], 0, 24 * MiB, seed=3)
    facts = find_vm(engine, "dropped")
    engine.use_sockets = False
    before = box.inject.hits["drop_data"]
    box.inject.drop_data(5 * MiB + 77, times=3)
    with begin(engine, journal, "hybrid", facts) as captured:
        assert list(digests(captured).values()) == [box.sha(box.disks(vm)[0])]
        captured.finish()
    assert captured.wait_merge() == []
    assert box.inject.hits["drop_data"] >= before + 2


@pytest.mark.thin(4)
@pytest.mark.parametrize("way", WAYS)
def test_an_engine_that_answers_late_is_not_asked_twice(
    box: Box, engine: Engine, tmp_path: Path, vms: dict[str, Vm], way: str
) -> None:
    """A POST that timed out was carried out all the same: it is looked up, never repeated."""
    hasty = Engine(replace(engine.access, timeout=2.0), patience=PATIENCE)
    (made,) = USED[way] - {"imagetransfers"} or {""}
    path = f"/vms/*/{made}" if made else "/imagetransfers"
    with hasty, Journal(tmp_path, engine.instance_id) as journal:
        box.inject.latency(2.6, path, "POST", times=1)
        go(hasty, journal, way)
        assert journal.unfinished == []
    assert box.clean() == []
