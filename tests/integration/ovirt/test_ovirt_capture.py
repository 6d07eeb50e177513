"""One instant of a VM's disks, every way there is, on the box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ovirt_bed import MiB, digest, dirty, opened_image, source_of
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.errors import BackupFailed, CheckpointLost, EngineRefused, VmNotSuitable
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.checkpoints import checkpoint_disks, list_checkpoints, remove_checkpoint
from borg_ovirt.ovirt.facts.vm import find_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import heal, leftovers
from borg_ovirt.ovirt.tracked.journal import Journal

SIZE = 24 * MiB
ODD = 9 * MiB + 512


@pytest.fixture(scope="module", autouse=True)
def _clusters(box: Box) -> None:
    box.make_cluster("old", (4, 4))
    box.make_cluster("middle", (4, 6))


def make(
    box: Box,
    name: str,
    specs: Sequence[DiskSpec] = (DiskSpec(SIZE, bootable=True), DiskSpec(ODD, format="raw", domain="lun")),
    *,
    running: bool = True,
    cluster: str = "Default",
    agent: bool = False,
) -> Vm:
    vm = box.make_vm(name, specs, running=running, cluster=cluster, agent=agent)
    for number, disk in enumerate(box.disks(vm)):
        if disk.layers:
            box.fill(disk, MiB, 2 * MiB, seed=number)
    return vm


def truth(box: Box, vm: Vm) -> dict[str, str]:
    return {disk.id: box.sha(disk) for disk in box.disks(vm) if disk.layers}


def run(
    engine: Engine, journal: Journal, vm: Vm, *, since: str | None = None, **options: Any
) -> tuple[Capture, dict[str, str], dict[str, list[tuple[int, int]]]]:
    """A capture from beginning to end: what was captured, what was read, what was dirty."""
    facts = find_vm(engine, vm.name)
    with opened_image(
        engine,
        facts,
        facts.disks,
        journal=journal,
        description="borg-ovirt repositories=ab",
        from_checkpoint=since,
        **options,
    ) as captured:
        assert [disk.facts.id for disk in captured.disks] == [disk.id for disk in facts.disks]
        changed = {d.facts.id: dirty(source_of(d)) for d in captured.disks if d.layers[0].incremental}
        read = {disk.facts.id: digest(source_of(disk)) for disk in captured.disks}
        captured.finish()
    assert captured.wait_merge() == []
    return captured, read, changed


@pytest.mark.thin(6)
@pytest.mark.parametrize(
    ("cluster", "running", "live", "way", "consistency"),
    [
        ("Default", True, False, "hybrid backup", "unknown"),
        ("Default", True, True, "live backup", "unknown"),
        ("Default", False, False, "hybrid backup", "frozen"),
        ("Default", False, True, "cold backup", "frozen"),
        ("middle", True, False, "live backup", "unknown"),
        ("middle", False, False, "cold backup", "frozen"),
        ("old", True, False, "temporary snapshot", "unknown"),
        ("old", False, False, "raw transfer", "frozen"),
    ],
)
def test_every_way_gives_one_instant(
    box: Box,
    engine: Engine,
    journal: Journal,
    cluster: str,
    running: bool,
    live: bool,
    way: str,
    consistency: str,
) -> None:
    specs = [DiskSpec(SIZE, bootable=True), DiskSpec(ODD, format="raw", domain="lun")]
    if way != "hybrid backup":
        specs.append(DiskSpec(5 * MiB, active=False))
    vm = make(box, f"{cluster}-{running}-{live}", specs, running=running, cluster=cluster)
    wanted = truth(box, vm)
    facts = find_vm(engine, vm.name)
    with opened_image(engine, facts, facts.disks, journal=journal, live=live) as captured:
        assert (captured.method, captured.consistency) == (way, consistency)
        if running:
            for disk in box.disks(vm)[:2]:
                box.fill(disk, 0, 4 * MiB, seed=99)  # the guest goes on writing
        assert {d.facts.id: digest(source_of(d)) for d in captured.disks} == wanted
        assert [d.method for d in captured.disks] == [way, way, "raw transfer"][: len(specs)]
        assert abs((captured.instant - box.engine.clock.now()).total_seconds()) < 60
        captured.finish()
    assert captured.wait_merge() == []
    assert bool(captured.to_checkpoint) == way.endswith("backup")
    assert (captured.backup_id is not None) == way.endswith("backup")
    box.clean()
    if running:
        box.stop_vm(vm)
    box.remove_vm(vm)


@pytest.mark.parametrize(("running", "way"), [(True, "live backup"), (False, "cold backup")])
def test_a_disk_that_is_not_plugged_in_is_no_obstacle(
    box: Box, engine: Engine, journal: Journal, running: bool, way: str
) -> None:
    """A hybrid backup would lock it until its merge has ended: another way is taken, and said why."""
    specs = [DiskSpec(5 * MiB, bootable=True), DiskSpec(3 * MiB, active=False, alias="resting")]
    vm = make(box, f"resting-{running}", specs, running=running)
    facts, wanted = find_vm(engine, vm.name), truth(box, vm)
    with opened_image(engine, facts, facts.disks, journal=journal) as captured:
        assert captured.method == way
        assert "not plugged in: disk resting" in captured.method_reason
        assert {d.facts.id: digest(source_of(d)) for d in captured.disks} == wanted
        captured.finish()
    assert captured.wait_merge() == []
    with opened_image(engine, facts, facts.disks[:1], journal=journal) as captured:
        assert captured.method == "hybrid backup"  # what is not read may be locked
        captured.finish()
    assert captured.wait_merge() == []


@pytest.mark.parametrize(
    ("cluster", "running", "live"),
    [
        ("Default", True, False),
        ("Default", True, True),
        ("Default", False, True),
        ("middle", True, False),
    ],
)
def test_an_incremental_backup_tells_what_changed(
    box: Box, engine: Engine, journal: Journal, cluster: str, running: bool, live: bool
) -> None:
    vm = make(box, f"incremental-{cluster}-{running}-{live}", running=running, cluster=cluster)
    system, raw = box.disks(vm)
    first, read, changed = run(engine, journal, vm, live=live)
    assert read == truth(box, vm)
    assert changed == {}
    assert [c.id for c in list_checkpoints(engine, vm.id)] == [first.to_checkpoint]
    assert first.to_checkpoint is not None
    assert checkpoint_disks(engine, vm.id, first.to_checkpoint) == [system.id]
    box.write(system, 5 * MiB, b"x" * 65536)
    box.write(raw, 0, b"y" * 4096)
    later = box.add_disk(vm, DiskSpec(2 * MiB))
    second, read, changed = run(engine, journal, vm, since=first.to_checkpoint, live=live)
    assert read == truth(box, vm)
    assert changed == {system.id: [(5 * MiB, 65536)]}
    assert second.from_checkpoint == first.to_checkpoint
    reasons = {disk.facts.id: disk.layers[0].reason for disk in second.disks}
    assert reasons[system.id] is None
    assert "raw disk" in str(reasons[raw.id])
    assert "not part of the checkpoint" in str(reasons[later.id])
    box.write(system, 6 * MiB, b"z" * 65536)
    _, read, changed = run(engine, journal, vm, since=first.to_checkpoint, live=live)
    assert changed[system.id] == [(5 * MiB, 65536), (6 * MiB, 65536)]
    assert [c.description[:26] for c in list_checkpoints(engine, vm.id)] == ["borg-ovirt repositories=ab"] * 3
    remove_checkpoint(engine, vm.id, first.to_checkpoint)
    remove_checkpoint(engine, vm.id, first.to_checkpoint)
    assert first.to_checkpoint not in {c.id for c in list_checkpoints(engine, vm.id)}


@pytest.mark.thin(5)
@pytest.mark.parametrize(("running", "live"), [(True, False), (True, True), (False, False), (False, True)])
@pytest.mark.parametrize("loss", ["unknown", "removed", "bitmap"])
def test_a_lost_checkpoint_is_told_and_everything_is_as_before(
    box: Box, engine: Engine, journal: Journal, running: bool, live: bool, loss: str
) -> None:
    vm = make(box, f"lost-{running}-{live}-{loss}", [DiskSpec(4 * MiB)], running=running)
    first, _, _ = run(engine, journal, vm, live=live)
    since = first.to_checkpoint
    assert since is not None
    if loss == "unknown":
        since = "00000000-0000-4000-8000-000000000001"
    elif loss == "removed":
        remove_checkpoint(engine, vm.id, since)
    else:
        box.inject.lose_bitmap(vm, since)
    box.write(box.disks(vm)[0], 0, b"x" * 4096)
    with pytest.raises(CheckpointLost) as caught:
        run(engine, journal, vm, since=since, live=live)
    assert caught.value.reason
    assert box.clean() == []
    assert journal.unfinished == []
    _, read, _ = run(engine, journal, vm, live=live)
    assert read == truth(box, vm)


def test_freezing_in_a_live_backup(box: Box, engine: Engine, journal: Journal) -> None:
    with_agent = make(box, "agent", [DiskSpec(MiB * 4)], agent=True)
    without = make(box, "no-agent", [DiskSpec(MiB * 4)])
    captured, _, _ = run(engine, journal, with_agent, freeze="require")
    assert (captured.method, captured.consistency) == ("live backup", "frozen")
    assert "frozen" in captured.method_reason
    with pytest.raises(BackupFailed, match="guest agent"):
        run(engine, journal, without, freeze="require")
    captured, _, _ = run(engine, journal, without, freeze="never", live=True)
    assert captured.consistency == "unknown"
    captured, _, _ = run(engine, journal, without, freeze="auto", live=True)
    assert captured.consistency == "unknown"


def test_auto_goes_on_where_an_agent_cannot_freeze(box: Box, engine: Engine, journal: Journal) -> None:
    vm = make(box, "agent-that-fails", [DiskSpec(MiB * 4)])
    facts = replace(find_vm(engine, vm.name), guest_agent=True)
    with opened_image(engine, facts, facts.disks, journal=journal, live=True, freeze="auto") as captured:
        assert captured.consistency == "not frozen"
        assert captured.method == "live backup"
        captured.finish()
    assert captured.wait_merge() == []


def test_freezing_for_a_temporary_snapshot(box: Box, engine: Engine, journal: Journal) -> None:
    vm = make(box, "frozen-snapshot", agent=True, cluster="old")  # one raw disk: no backup at this level
    before = len(box.world.events)
    captured, read, _ = run(engine, journal, vm, freeze="require")
    assert (captured.method, captured.consistency) == ("temporary snapshot", "frozen")
    assert read == truth(box, vm)
    codes = [event.code for event in box.world.events[before:]]
    assert codes.index(10767) < codes.index(10768)
    without = make(box, "unfrozen-snapshot", cluster="old")
    with pytest.raises(BackupFailed, match="could not be frozen"):
        run(engine, journal, without, freeze="require")


@pytest.mark.parametrize("status", ["paused", "migrating", "suspended", "powering_up", "image_locked"])
def test_states_that_forbid_a_backup(box: Box, engine: Engine, journal: Journal, status: str) -> None:
    vm = make(box, f"state-{status}", [DiskSpec(MiB * 4)], running=False)
    facts = find_vm(engine, vm.name)
    vm.status = status
    refused = opened_image(engine, facts, facts.disks, journal=journal)
    with pytest.raises(VmNotSuitable, match=status.replace("_", " ")) as caught:
        refused.__enter__()
    assert "\n" not in str(caught.value)
    vm.status = "down"


def test_the_hosted_engine_and_a_preview(box: Box, engine: Engine, journal: Journal) -> None:
    vm = box.make_vm("HostedEngine", [DiskSpec(MiB)], origin="hosted_engine", running=False)
    with pytest.raises(VmNotSuitable, match="Hosted Engine"):
        run(engine, journal, vm)
    other = make(box, "previewing", [DiskSpec(MiB * 4)], running=False)
    snapshot = box.snapshot(other, "old")
    snapshot.status = "in_preview"
    with pytest.raises(VmNotSuitable, match="preview"):
        run(engine, journal, other)
    snapshot.status = "ok"
    box.remove_snapshot(other, snapshot)


def test_only_the_disks_that_were_asked_for(box: Box, engine: Engine, journal: Journal) -> None:
    vm = make(box, "some-disks", [DiskSpec(MiB * 4), DiskSpec(MiB * 4), DiskSpec(MiB, storage_type="lun")])
    facts = find_vm(engine, vm.name)
    assert [d.skip_reason for d in facts.disks] == [None, None, "direct LUN"]
    with opened_image(engine, facts, facts.disks[1:2], journal=journal) as captured:
        assert [d.facts.alias for d in captured.disks] == ["some-disks_Disk2"]
        captured.finish()
    assert captured.wait_merge() == []


def test_a_vm_with_only_inactive_disks(box: Box, engine: Engine, journal: Journal) -> None:
    vm = make(box, "inactive", [DiskSpec(MiB * 4, active=False)])
    captured, read, _ = run(engine, journal, vm)
    assert (captured.method, captured.method_reason) == ("raw transfer", "no disk is plugged in")
    assert read == truth(box, vm)


def test_a_second_backup_waits_for_the_first(box: Box, engine: Engine, journal: Journal) -> None:
    vm = make(box, "busy", [DiskSpec(MiB * 4)])
    facts = find_vm(engine, vm.name)
    impatient = Engine(engine.access, patience=replace(engine.patience, lock=0.3))
    with impatient, opened_image(engine, facts, facts.disks, journal=journal) as captured:
        second = opened_image(impatient, facts, facts.disks, journal=journal)
        with pytest.raises(EngineRefused, match="backup"):
            second.__enter__()
        assert digest(source_of(captured.disks[0])) == box.sha(box.disks(vm)[0])
        captured.finish()
    assert captured.wait_merge() == []


def test_a_snapshot_that_could_not_be_merged_is_merged_later(
    box: Box, engine: Engine, tmp_path: Path
) -> None:
    """First by us when the backup has ended, then by the next run; until then the journal knows it."""
    vm = make(box, "leftover", [DiskSpec(MiB * 4)])
    facts = find_vm(engine, vm.name)
    with Journal(tmp_path, engine.instance_id) as journal:
        with opened_image(engine, facts, facts.disks, journal=journal) as captured:
            box.inject.fail_merges(2)  # the engine's and ours
            captured.finish()
        (warning,) = captured.wait_merge()
        assert captured.wait_merge() == []
    assert "leftover" in warning
    assert "cleanup" in warning
    assert [s.description for s in vm.snapshots] == ["Auto-generated for Backup VM", "Active VM"]
    assert [line.kind for line in leftovers(tmp_path)] == ["backup"]
    assert len(heal(engine, tmp_path)) == 1
    assert [s.description for s in vm.snapshots] == ["Active VM"]
    assert not list(tmp_path.iterdir())


def test_somebodys_snapshot_of_meanwhile_does_not_keep_ours(
    box: Box, engine: Engine, journal: Journal
) -> None:
    """The engine does not even try to merge its own then, and calls the backup succeeded."""
    vm = make(box, "meanwhile", [DiskSpec(MiB * 4)])
    facts = find_vm(engine, vm.name)
    with opened_image(engine, facts, facts.disks, journal=journal) as captured:
        theirs = box.snapshot(vm, "of somebody")
        captured.finish()
    assert captured.wait_merge() == []
    assert [s.description for s in vm.snapshots] == ["of somebody", "Active VM"]
    assert journal.unfinished == []
    box.remove_snapshot(vm, theirs)
