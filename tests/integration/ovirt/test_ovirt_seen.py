"""Places where product and box once agreed with each other and not with a running engine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ovirt_bed import PATIENCE, MiB
from ovirtbox import imports
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Snapshot, new_id

from borg_ovirt.errors import BackupFailed, RestoreFailed, VmNotSuitable
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.capture.chain import capture_chain
from borg_ovirt.ovirt.capture.image import capture_image
from borg_ovirt.ovirt.facts.ovf import parse, rewrite
from borg_ovirt.ovirt.facts.vm import fetch_ovf, find_vm, list_vms
from borg_ovirt.ovirt.make.machines import MadeVm, nic_warnings
from borg_ovirt.ovirt.make.rebuild import Above, add_snapshot
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.events import EventMark, post_event
from borg_ovirt.ovirt.session.probes import prove_restoring
from borg_ovirt.ovirt.tracked.journal import Journal

WAYS: dict[str, Callable[..., AbstractContextManager[Capture]]] = {
    "image": capture_image,
    "live": partial(capture_image, live=True),
    "chain": capture_chain,
}


@pytest.mark.parametrize(
    "search",
    [
        "name=found*",
        "name=found* sortby name",
        "name=found* SortBy name desc",
        "name=found* sortby name asc page 1",
        'description="sortby page" and name=found*',
        "",
    ],
)
def test_a_search_finds_what_it_finds_in_the_web_interface(box: Box, engine: Engine, search: str) -> None:
    for name in ("found1", "found2"):
        if not any(vm.name == name for vm in box.world.vms.values()):
            box.make_vm(name, running=False, description="sortby page")
    names = [vm.name for vm in list_vms(engine, search or None)]
    assert [name for name in names if name.startswith("found")] == ["found1", "found2"]


def test_a_search_over_several_pages(box: Box, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import borg_ovirt.ovirt.facts.vm as module

    monkeypatch.setattr(module, "_PAGE", 2)
    for number in range(5):
        box.make_vm(f"paged{number}", running=False)
    for search in ("name=paged*", "name=paged* sortby name", "name=paged* sortby name desc"):
        assert [vm.name for vm in list_vms(engine, search)] == [f"paged{n}" for n in range(5)]


def test_a_snapshot_of_the_vm_alone_is_made(box: Box, engine: Engine) -> None:
    vm = box.make_vm("alone", [DiskSpec(4 * MiB)], running=False)
    (disk,) = box.disks(vm)
    made = add_snapshot(engine, vm.id, "no disks", {})
    box.as_found()
    assert [s.description for s in vm.snapshots if s.id == made] == ["no disks"]
    assert len(disk.layers) == 1


def test_ok_is_not_taken_for_success_in_a_restore(box: Box, engine: Engine) -> None:
    vm = box.make_vm("hollow", [DiskSpec(4 * MiB)], running=False)
    (disk,) = box.disks(vm)
    with pytest.raises(RestoreFailed, match="Failed to complete snapshot 'hollow one' creation"):
        add_snapshot(engine, vm.id, "hollow one", {disk.id: Above(None, MiB)})
    box.as_found()


def test_ok_is_not_taken_for_success_in_a_backup(
    box: Box, engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = box.make_vm("hollow2", [DiskSpec(4 * MiB)])
    monkeypatch.setattr(box.engine.data, "create_volume", _no_volume)
    facts = find_vm(engine, vm.name)
    with (
        pytest.raises(BackupFailed, match="is called ok, but: Failed to complete snapshot"),
        capture_chain(engine, facts, facts.disks, journal=journal, description="x"),
    ):
        pass
    monkeypatch.undo()
    (entry,) = journal.unfinished  # it could not be merged away: the next run tries again, and tells
    assert entry.kind == "snapshot"
    entry.done()
    box.as_found()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("running", [True, False], ids=["up", "down"])
def test_a_domain_in_maintenance_is_named_before_anything_starts(
    box: Box, engine: Engine, journal: Journal, way: str, running: bool
) -> None:
    name = f"asleep-{way}-{running}"
    domain = box.make_domain(name)
    vm = box.make_vm(name, [DiskSpec(4 * MiB), DiskSpec(4 * MiB, domain=name)], running=running)
    facts = find_vm(engine, vm.name)
    domain.status = "maintenance"
    try:
        with (
            pytest.raises(VmNotSuitable, match=f"lies on the storage domain {name}, which is maintenance"),
            WAYS[way](engine, facts, facts.disks, journal=journal, description="x"),
        ):
            pass
        assert not [b for b in box.world.backups.values() if b.vm_id == vm.id]
        awake = [disk for disk in facts.disks if disk.storage_domain != domain.id]
        with WAYS[way](engine, facts, awake, journal=journal, description="x") as captured:
            captured.finish()
        captured.wait_merge()
    finally:
        domain.status = "active"


def test_a_backup_that_goes_to_its_end_unasked_is_a_failure_at_once(
    box: Box, access: EngineAccess, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    from borg_ovirt.ovirt.capture import capture as module

    monkeypatch.setattr(module, "refuse_inactive", lambda *_: None)  # it fell asleep after the look
    domain = box.make_domain("sleepy")
    vm = box.make_vm("sleepy", [DiskSpec(4 * MiB, domain="sleepy")], running=False)
    with Engine(access, patience=replace(PATIENCE, merge=600)) as engine:
        facts = find_vm(engine, vm.name)
        domain.status = "maintenance"
        begun = time.monotonic()
        with (
            pytest.raises(BackupFailed, match="phase finalizing"),
            capture_image(engine, facts, facts.disks, journal=journal, description="x", live=True),
        ):
            pass
        assert time.monotonic() - begun < 60
    (entry,) = journal.unfinished  # it is still there, and known
    assert entry.kind == "backup"
    entry.done()
    domain.status = "active"
    box.release_backups(vm)


@pytest.mark.parametrize("way", WAYS)
def test_a_vm_that_runs_stateless_is_refused(box: Box, engine: Engine, journal: Journal, way: str) -> None:
    vm = box.make_vm(f"stateless-{way}", [DiskSpec(4 * MiB)])
    now = box.engine.clock.now()
    vm.snapshots.insert(0, Snapshot(new_id(), "stateless snapshot", now, type="stateless"))
    facts = find_vm(engine, vm.name)
    with (
        pytest.raises(VmNotSuitable, match="runs stateless"),
        WAYS[way](engine, facts, facts.disks, journal=journal, description="x"),
    ):
        pass
    box.as_found()


def test_requests_and_events_can_be_joined_with_the_run(box: Box, engine: Engine) -> None:
    vm = box.make_vm("joined", [DiskSpec(4 * MiB)], running=False)
    assert re.fullmatch("[0-9a-zA-Z_-]{1,36}", engine.correlation)
    assert engine.run_id in engine.correlation
    add_snapshot(engine, vm.id, "joined", {})
    post_event(engine, "from outside", vm_id=vm.id)
    codes = {event.code for event in box.world.events if event.correlation_id == engine.correlation}
    assert {45, 68, 9801} <= codes
    box.as_found()


def test_network_cards_that_come_back_otherwise_are_told(box: Box, engine: Engine) -> None:
    vm = box.make_vm("nics", nics=5, running=False)
    gone, unplugged, other, unknown, _ = vm.nics
    unplugged.plugged = True
    kept = fetch_ovf(engine, vm.id)
    wanted = parse(kept).nics
    assert nic_warnings(engine, vm.id, wanted) == []
    vm.nics.remove(gone)
    unplugged.plugged = False
    other.profile = box.make_profile("another").name
    other.mac = "56:6f:00:00:00:01"
    unknown.network = unknown.profile = ""
    told = nic_warnings(engine, vm.id, wanted)
    assert [text.split("network card ")[1].split(" ")[0] for text in told] == [
        gone.name,
        unplugged.name,
        other.name,
        other.name,
        unknown.name,
    ]
    assert "not there" in told[0]
    assert "came back unplugged" in told[1]
    assert "MAC address 56:6f:00:00:00:01, not " in told[2]
    assert "vNIC profile another, not ovirtmgmt" in told[3]
    assert "has no network, not ovirtmgmt" in told[4]


def test_what_an_import_does_to_network_cards(box: Box, engine: Engine, tmp_path: Path) -> None:
    special = box.make_profile("special")
    vm = box.make_vm("imported", nics=4, running=False)
    taken, changed, lost, resting = vm.nics
    changed.profile, resting.plugged = "special", False
    ovf = fetch_ovf(engine, vm.id).replace(
        f"<rasd:Connection>ovirtmgmt</rasd:Connection><rasd:Linked>true</rasd:Linked><rasd:Name>{lost.name}".encode(),
        f"<rasd:Connection>gone</rasd:Connection><rasd:Linked>true</rasd:Linked><rasd:Name>{lost.name}".encode(),
    )
    del box.world.profiles[special.id]
    box.remove_vm(vm)
    box.world.given_macs.add(taken.mac.lower())
    with Journal(tmp_path, engine.instance_id) as journal:
        imported = MadeVm(engine, journal, ovf, vm_id=vm.id, name="imported", cluster_id=vm.cluster)
        imported.make()
        imported.keep()
    told = nic_warnings(engine, vm.id, parse(ovf).nics)
    assert [text.split()[2] for text in told] == [taken.name, changed.name, lost.name]
    assert any(event.code == 838 for event in box.world.events)
    assert not next(nic for nic in box.vm("imported").nics if nic.name == resting.name).plugged


KEPT = {
    "LeaseDomainId": "11111111-0000-4000-8000-000000000001",
    "CustomEmulatedMachine": "pc-q35-rhel8.6.0",
    "CustomCpuName": "Cascadelake-Server",
    "MultiQueuesEnabled": "true",
    "VirtioScsiMultiQueuesEnabled": "true",
    "UserDefinedProperties": "hugepages=1048576",
}
DEVICES = [
    ("rng", "virtio", "<source>urandom</source>"),
    ("watchdog", "i6300esb", "<action>reset</action>"),
    ("balloon", "memballoon", "<model>virtio</model>"),
    ("sound", "ich9", ""),
]


@pytest.mark.parametrize("beside", [False, True], ids=["as-it-was", "beside"])
def test_what_else_an_ovf_says_survives_the_way_back(
    box: Box, engine: Engine, tmp_path: Path, beside: bool
) -> None:
    vm = box.make_vm(f"rich-{beside}", running=False, tpm=True)
    vm.properties, vm.devices = {**KEPT, "QuotaId": new_id()}, DEVICES
    vm.nics[0].boot_order = 2
    ovf = fetch_ovf(engine, vm.id)
    vm_id, name = (new_id(), "rich-copy") if beside else (vm.id, vm.name)
    text = rewrite(ovf, {vm.id: vm_id} if beside else {}, name=name, fresh=beside)
    if not beside:
        box.remove_vm(vm)
    with Journal(tmp_path, engine.instance_id) as journal:
        imported = MadeVm(engine, journal, text, vm_id=vm_id, name=name, cluster_id=vm.cluster)
        imported.make()
        imported.keep()
    back = box.world.vms[vm_id]
    assert (back.properties, back.devices, back.tpm) == (KEPT, DEVICES, True)
    assert nic_warnings(engine, vm_id, parse(text).nics) == []
    assert b"<BootOrder>2</BootOrder>" in text


def _no_volume(*_: object, **__: object) -> None:
    from ovirtbox.processes import ToolFailed

    raise ToolFailed("the host could not make the volume")


def test_no_event_is_passed_over(box: Box, engine: Engine) -> None:
    mark = EventMark(engine)
    box.engine.log(69, "error", "the one that matters")
    for number in range(1100):
        box.engine.log(1, "normal", f"noise {number}")
    assert mark.texts({69}) == ["the one that matters"]


def test_a_vm_that_was_made_of_a_question_is_removed(
    box: Box, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rights to make VMs are asked about with names that are refused: by every engine that was seen."""
    cluster = box.make_vm("asked", running=False).cluster
    before = set(box.world.vms)
    monkeypatch.setattr(imports, "check_name", lambda name: None)
    monkeypatch.setattr(imports, "LONGEST_NAME", 1000)
    made: list[str] = []
    log = box.engine.log
    monkeypatch.setattr(
        box.engine, "log", lambda code, *a, **b: (made.append(str(code)), log(code, *a, **b))[1]
    )
    prove_restoring(engine, cluster)
    assert made, "this time it was taken"
    box.wait(lambda: set(box.world.vms) == before, "the VMs to go")
