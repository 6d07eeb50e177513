"""What was done though its answer was lost is found, not done twice, and not left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from ovirt_bed import PATIENCE, MiB, opened_chain
from ovirt_ways import begin, go, make_vms, steps
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.ovirt.facts.checkpoints import list_checkpoints, remove_checkpoint
from borg_ovirt.ovirt.facts.vm import find_vm, list_vms
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess, types
from borg_ovirt.ovirt.session.events import post_event
from borg_ovirt.ovirt.session.faults import Unclear
from borg_ovirt.ovirt.tracked.journal import Journal


@pytest.fixture
def engine(access: EngineAccess) -> Iterator[Engine]:
    """One that looks less long for what may have been made: here it is made at once, or never."""
    with Engine(access, patience=replace(PATIENCE, unclear=0.5)) as opened:
        yield opened


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    return make_vms(box)


def made(box: Box, vm: Vm) -> tuple[int, int]:
    """How many backups and transfers of the VM the engine has begun until now."""
    with box.world.lock:
        started = [e for e in box.world.events if e.code in (10790, 1031)]
        disks = {disk.id for disk in box.disks(vm)}
        backups = sum(e.code == 10790 and e.vm_id == vm.id for e in started)
        return backups, sum(e.code == 1031 and e.disk_id in disks for e in started)


def test_nothing_that_changes_something_is_sent_twice_unseen(box: Box, engine: Engine) -> None:
    """libcurl would, on a connection that was used before: the engine would refuse the second one."""
    list_vms(engine)
    event = types().Event(origin="x", severity=types().LogSeverity.NORMAL, custom_id=1, description="once")
    box.inject.lose("POST", "/events")
    with pytest.raises(Unclear):
        engine.call("add an event", lambda s: s.events_service().add(event), once=True)
    assert [e.description for e in box.world.events].count("once") == 1


@pytest.mark.thin(24)
@pytest.mark.parametrize(("way", "method", "path", "nth"), steps("POST", "PUT", "DELETE"))
def test_a_lost_answer_costs_nothing(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str, method: str, path: str, nth: int
) -> None:
    vm, lost = vms[way], box.inject.hits["lose"]
    before = made(box, vm)
    box.inject.lose(method, path, nth=nth)
    go(engine, journal, way)
    assert box.inject.hits["lose"] == lost + 1
    backups, transfers = (now - then for now, then in zip(made(box, vm), before, strict=True))
    assert backups <= 1
    assert transfers <= len(vm.attachments) + (3 if way.startswith("chain") else 0)
    assert journal.unfinished == []
    assert box.clean() == []


def test_what_comes_after_it_was_asked_for_again_is_ended_too(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm]
) -> None:
    """A slow engine: the connection is cut, no transfer is there, it is made again: now there are two.

    Only of a backup: there its locks do not keep the second one out.
    """
    cut = box.inject.hits["cut"]
    box.inject.cut("POST", "/imagetransfers", 1.5)

    def both() -> bool:
        with box.world.lock:
            lasting = [t.image_id for t in box.world.transfers.values() if not t.phase.startswith("fin")]
            return len(lasting) > len(set(lasting))

    with begin(engine, journal, "hybrid") as captured:
        box.wait(both, "what was asked for first", 20)
        captured.finish()
    assert captured.wait_merge() == []
    assert box.inject.hits["cut"] == cut + 1
    assert journal.unfinished == []
    assert box.clean() == []


def test_an_event_is_there_once(box: Box, engine: Engine) -> None:
    box.inject.lose("POST", "/events")
    post_event(engine, "told once")
    assert [e.description for e in box.world.events].count("told once") == 1


@pytest.mark.parametrize("verb", ["freeze", "thaw"])
def test_a_guest_is_frozen_and_thawed(box: Box, engine: Engine, journal: Journal, verb: str) -> None:
    """A frozen guest refuses to be frozen again."""
    vm = box.make_vm(f"lost-{verb}", [DiskSpec(MiB, bootable=True)], agent=True)
    facts, lost = find_vm(engine, vm.name), box.inject.hits["lose"]
    box.inject.lose("POST", f"/vms/{vm.id}/{verb}filesystems")
    with opened_chain(engine, facts, facts.disks, journal=journal, freeze="require") as captured:
        assert captured.consistency == "frozen"
        assert not vm.frozen
        captured.finish()
    assert captured.wait_merge() == []
    assert box.inject.hits["lose"] == lost + 1
    assert journal.unfinished == []


@pytest.mark.parametrize(
    ("way", "path"),
    [
        ("hybrid", "/imagetransfers/*/cancel"),
        ("hybrid", "/vms/*/backups/*/finalize"),
        ("live", "/imagetransfers/*/cancel"),
        ("live", "/vms/*/backups/*/finalize"),
        ("chain", "/imagetransfers/*/cancel"),
        ("chain", "/vms/*/snapshots/*"),
    ],
)
def test_what_is_given_up_is_ended(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str, path: str
) -> None:
    lost = box.inject.hits["lose"]
    box.inject.lose("DELETE" if "snapshots" in path else "POST", path)
    with pytest.raises(RuntimeError), begin(engine, journal, way):
        raise RuntimeError("given up")
    assert box.inject.hits["lose"] == lost + 1
    assert journal.unfinished == []
    assert box.clean() == []


@pytest.mark.parametrize("way", ["hybrid", "live"])
def test_a_checkpoint_is_removed(
    box: Box, engine: Engine, journal: Journal, vms: dict[str, Vm], way: str
) -> None:
    go(engine, journal, way)
    vm, lost = vms[way], box.inject.hits["lose"]
    newest = list_checkpoints(engine, vm.id)[-1]
    box.inject.lose("DELETE", "/vms/*/checkpoints/*")
    remove_checkpoint(engine, vm.id, newest.id)
    assert box.inject.hits["lose"] == lost + 1
    assert newest.id not in [c.id for c in list_checkpoints(engine, vm.id)]


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("way", "method", "path", "nth"),
    [s for s in steps("POST", "DELETE") if s[3] == 1 and s[0] in ("hybrid", "cold", "chain")],
)
def test_a_page_of_the_proxy_is_no_verdict(
    box: Box,
    engine: Engine,
    journal: Journal,
    vms: dict[str, Vm],
    way: str,
    method: str,
    path: str,
    nth: int,
) -> None:
    """It says nothing of whether the request was done: once it was, the other times it was not."""
    box.inject.status(method, path, 500, "html", times=2)
    box.inject.garble(method, path, 502, nth=3)
    go(engine, journal, way)
    assert journal.unfinished == []
    assert box.clean() == []
