"""An engine that restarts refuses before it is silent: its answers are no verdicts, and it is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ovirt_bed import PATIENCE, MiB
from ovirt_ways import WAYS, go, make_vms
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.errors import EngineUnreachable
from borg_ovirt.ovirt.facts.vm import vm_status
from borg_ovirt.ovirt.make.disks import disk_exists
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.cleanup import heal
from borg_ovirt.ovirt.tracked.journal import Journal

PHASES = {"stopping": 0.5, "settling": 0.6}


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    return make_vms(box)


@pytest.fixture(autouse=True)
def _settled(box: Box) -> Iterator[None]:
    yield
    box.wait(lambda: all(d.status == "active" for d in box.world.domains.values()), "the domains")


@pytest.mark.thin(4)
@pytest.mark.parametrize("way", WAYS)
def test_a_restart_while_the_disks_are_read(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str
) -> None:
    go(engine, journal, way, lambda captured: box.inject.restart_engine(0.4, **PHASES))
    assert box.clean() == []


@pytest.mark.thin(4)
@pytest.mark.parametrize("way", ["hybrid", "cold", "snapshot", "chain"])
@pytest.mark.parametrize("delay", [0.02, 0.15])
def test_a_restart_while_the_instant_is_made(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str, delay: float
) -> None:
    timer = threading.Timer(delay, lambda: box.inject.restart_engine(0.3, **PHASES))
    timer.start()
    go(engine, journal, way)
    timer.join()
    assert box.clean() == []


def test_not_found_proves_nothing_while_the_engine_stops(box: Box, engine: Engine, tmp_path: Path) -> None:
    """A disk of a run that died is still there: it is removed, not struck out."""
    vm = box.make_vm("kept", running=False)
    disk = box.add_disk(None, DiskSpec(MiB, alias="of a dead run"))
    with Journal(tmp_path, engine.instance_id) as journal:
        journal.intend("disk", id=disk.id, alias=disk.alias).made(disk.id)
    for _ in range(4):  # each begins with another kind of refusal
        box.inject.restart_engine(0.1, stopping=0.2)
        assert vm_status(engine, vm.id) == "down"
        assert disk_exists(engine, disk.id)
    box.inject.restart_engine(0.2, stopping=0.3)
    assert len(heal(engine, tmp_path)) == 1
    assert disk.id not in box.world.disks
    assert not disk_exists(engine, disk.id)
    box.remove_vm(vm)


def test_the_limit_of_a_wait_does_not_run_while_the_engine_is_away(box: Box, engine: Engine) -> None:
    started = time.monotonic()

    def probe() -> bool | None:
        with pytest.raises(NotFound):
            vm_status(engine, "00000000-0000-4000-8000-000000000001")
        return True if time.monotonic() - started > 1.6 else None

    box.inject.restart_engine(1.5)
    engine.patience.wait("something", probe, 0.4)


def test_an_engine_without_its_database_is_told_as_such(box: Box, engine: Engine) -> None:
    vm = box.make_vm("dark", running=False)
    box.inject.restart_engine(1.0, database=True)
    engine.patience, patient = replace(PATIENCE, engine=0.3), engine.patience
    with pytest.raises(EngineUnreachable, match=r"health page answers 500.*restart ovirt-engine"):
        vm_status(engine, vm.id)
    engine.patience = patient
    assert vm_status(engine, vm.id) == "down"
    box.remove_vm(vm)
