"""Backups of the box: a true instant while the guest writes, and dirty extents that tell all changes."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator

import ovirtsdk4 as sdk
import pytest
from box_client import KIB, MIB, Client, refused, sha_file
from ovirtbox import backups
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk, Vm
from ovirtsdk4 import types

_names = (f"vm{number}" for number in itertools.count())


@pytest.fixture
def client(box: Box, connection: sdk.Connection) -> Iterator[Client]:
    yield Client(box, connection)
    assert box.clean() == []


def make(box: Box, *specs: DiskSpec, running: bool = True, cluster: str = "Default") -> tuple[Vm, list[Disk]]:
    vm = box.make_vm(next(_names), specs or [DiskSpec(32 * MIB)], running=running, cluster=cluster)
    return vm, box.disks(vm)


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def check_whole(client: Client, vm: Vm, backup: types.Backup, disks: list[Disk]) -> None:
    """Every byte of every disk, through a transfer of the backup, is what it was at its instant."""
    for disk in disks:
        transfer = client.transfer(disk, backup=types.Backup(id=backup.id))
        want = sha_file(client.box.content_at(backup.id, disk))
        assert client.sha(transfer.transfer_url, disk.virtual_size) == want, disk.alias
        client.cancel(transfer)


def dirty_of(client: Client, disk: Disk, backup: types.Backup) -> list[tuple[int, int]]:
    transfer = client.transfer(disk, backup=types.Backup(id=backup.id))
    found = client.dirty(transfer.transfer_url)
    client.finalize(transfer)
    return found


@pytest.mark.parametrize("legacy", [True, False], ids=["live", "hybrid"])
def test_point_in_time_while_the_guest_writes(box: Box, client: Client, legacy: bool) -> None:
    vm, disks = make(
        box, DiskSpec(32 * MIB), DiskSpec(24 * MIB, "raw"), DiskSpec(16 * MIB, "raw", domain="lun")
    )
    for number, disk in enumerate(disks):
        box.write(disk, MIB, noise(number, 2 * MIB))
    stop = threading.Event()

    def guest() -> None:
        source = random.Random(5)
        while not stop.wait(0.002):
            disk = source.choice(disks)
            where = source.randrange(0, disk.virtual_size - 256 * KIB, 512)
            source.choice(
                [
                    lambda d=disk, w=where: box.write(d, w, source.randbytes(70000)),
                    lambda d=disk, w=where: box.zero(d, w, 100 * KIB),
                    lambda d=disk, w=where: box.discard(d, w, 256 * KIB),
                ]
            )()

    writer = threading.Thread(target=guest)
    writer.start()
    try:
        backup = client.start_backup(vm, disks, legacy=legacy)
        check_whole(client, vm, backup, disks)
    finally:
        stop.set()
        writer.join()
    assert any(sha_file(box.content(d)) != sha_file(box.content_at(backup.id, d)) for d in disks)
    client.end_backup(vm, backup.id)
    for disk in disks:
        assert box.read(disk, 0, disk.virtual_size) == box.content(disk).read_bytes()


@pytest.mark.parametrize("kind", ["live", "cold", "hybrid"])
def test_incremental_extents_are_the_writes(box: Box, client: Client, kind: str) -> None:
    vm, (disk, raw) = make(box, DiskSpec(32 * MIB), DiskSpec(8 * MIB, "raw"), running=kind != "cold")
    legacy = kind != "hybrid"
    box.write(disk, 0, noise(1, 3 * MIB))
    full = client.start_backup(vm, [disk, raw], legacy=legacy)
    assert client.modes(vm, full.id) == {disk.id: "full", raw.id: "full"}
    check_whole(client, vm, full, [disk, raw])
    client.end_backup(vm, full.id)

    box.write(disk, 5 * MIB, noise(2, 64 * KIB))
    box.write(disk, 7 * MIB + 1, noise(3, 1))
    box.zero(disk, MIB, 64 * KIB)
    box.discard(disk, 2 * MIB, 128 * KIB)
    second = client.start_backup(vm, [disk, raw], since=full.to_checkpoint_id, legacy=legacy)
    if kind != "cold":  # the disks of a VM that is down rest
        box.write(disk, 20 * MIB, noise(4, 64 * KIB))
    assert client.modes(vm, second.id) == {disk.id: "incremental", raw.id: "full"}
    changed = [(MIB, 64), (2 * MIB, 128), (5 * MIB, 64), (7 * MIB, 64)]
    assert dirty_of(client, disk, second) == [(start, start + size * KIB) for start, size in changed]
    check_whole(client, vm, second, [disk, raw])
    client.end_backup(vm, second.id)
    if kind == "cold":
        box.write(disk, 20 * MIB, noise(4, 64 * KIB))

    third = client.start_backup(vm, [disk], since=second.to_checkpoint_id, legacy=legacy)
    assert dirty_of(client, disk, third) == [(20 * MIB, 20 * MIB + 64 * KIB)]
    client.end_backup(vm, third.id)
    ids = [c.id for c in client.checkpoints(vm)]
    assert ids == [full.to_checkpoint_id, second.to_checkpoint_id, third.to_checkpoint_id]
    assert [c.parent_id for c in client.checkpoints(vm)] == [None, *ids[:-1]]


@pytest.mark.thin(1)
@pytest.mark.parametrize("kind", ["live", "cold", "hybrid"])
def test_bitmaps_live_through_snapshots_merges_and_restarts(box: Box, client: Client, kind: str) -> None:
    vm, (disk,) = make(box)
    box.write(disk, 0, noise(1, MIB))
    full = client.start_backup(vm, [disk])
    client.end_backup(vm, full.id)

    marks = []

    def write(mib: int) -> None:
        box.write(disk, mib * MIB, noise(mib, 64 * KIB))
        marks.append((mib * MIB, mib * MIB + 64 * KIB))

    def check() -> None:
        backup = client.start_backup(vm, [disk], since=full.to_checkpoint_id, legacy=kind != "hybrid")
        assert dirty_of(client, disk, backup) == sorted(marks)
        check_whole(client, vm, backup, [disk])
        client.end_backup(vm, backup.id)

    write(2)
    first = box.snapshot(vm, "one")
    write(4)
    second = box.snapshot(vm, "two")
    write(6)
    if kind == "cold":
        box.stop_vm(vm)
    check()
    box.remove_snapshot(vm, first)  # an intermediate merge
    check()
    write(8)
    box.remove_snapshot(vm, second)  # a merge of the active layer
    check()
    if kind != "cold":
        box.stop_vm(vm)
        box.start_vm(vm)
    write(10)
    check()
    assert len(disk.layers) == 1


@pytest.mark.parametrize("running", [True, False])
def test_a_merge_carries_bitmaps_that_only_the_upper_layer_has(
    box: Box, client: Client, running: bool
) -> None:
    vm, (disk,) = make(box, running=running)
    box.write(disk, 0, noise(1, MIB))
    low, high = box.snapshot(vm, "low"), box.snapshot(vm, "high")
    full = client.start_backup(vm, [disk])
    client.end_backup(vm, full.id)
    box.write(disk, 3 * MIB, noise(3, 64 * KIB))
    marks = [(3 * MIB, 3 * MIB + 64 * KIB)]
    for gone in (high, low):
        box.remove_snapshot(vm, gone)
        backup = client.start_backup(vm, [disk], since=full.to_checkpoint_id)
        assert dirty_of(client, disk, backup) == marks
        client.end_backup(vm, backup.id)


@pytest.mark.parametrize("running", [True, False])
def test_what_a_disk_gained_above_a_stale_volume_is_zero(box: Box, client: Client, running: bool) -> None:
    """The raw volume below is longer than its disk: nothing of its old data may shine through."""
    vm, (disk,) = make(box, DiskSpec(16 * MIB, "raw", domain="lun"), running=running)
    snapshot = box.snapshot(vm, "s")
    box.grow(disk, 24 * MIB)
    assert not any(box.read(disk, 16 * MIB, 8 * MIB))
    box.remove_snapshot(vm, snapshot)
    assert box.read(disk, 0, 24 * MIB) == box.content(disk).read_bytes()
    assert not any(box.read(disk, 16 * MIB, 8 * MIB))


def test_bytes_of_a_grown_disk(box: Box, client: Client) -> None:
    vm, disks = make(
        box, DiskSpec(16 * MIB), DiskSpec(16 * MIB, "raw"), DiskSpec(16 * MIB, "raw", domain="lun")
    )
    full = client.start_backup(vm, disks)
    client.end_backup(vm, full.id)
    for disk in disks:
        box.grow(disk, 24 * MIB)
        box.write(disk, 20 * MIB, noise(3, 64 * KIB))
    backup = client.start_backup(vm, disks, since=full.to_checkpoint_id)
    check_whole(client, vm, backup, disks)
    assert dirty_of(client, disks[0], backup) == [(20 * MIB, 20 * MIB + 64 * KIB)]
    client.end_backup(vm, backup.id)


@pytest.mark.parametrize("kind", ["live", "cold", "hybrid"])
def test_a_disk_grown_above_a_snapshot_has_no_incremental(box: Box, client: Client, kind: str) -> None:
    """The bitmaps of its layers differ in length, and QEMU joins only equal ones."""
    vm, (disk,) = make(box, DiskSpec(8 * MIB), running=kind != "cold")
    full = client.start_backup(vm, [disk], legacy=kind != "hybrid")
    client.end_backup(vm, full.id)
    snapshot = box.snapshot(vm, "below")
    box.grow(disk, 12 * MIB)
    since = full.to_checkpoint_id
    if kind == "live":
        wanted = types.Backup(disks=[types.Disk(id=disk.id)], from_checkpoint_id=since)
        made = client.backups(vm).add(wanted, query={"legacy": "true"})
        service = client.backups(vm).backup_service(made.id)
        client.until(lambda: service.get().phase.value, lambda phase: phase == "failed")
    else:
        backup = client.start_backup(vm, [disk], since=since, legacy=kind == "cold")
        start = lambda: client.transfer(disk, backup=types.Backup(id=backup.id))  # noqa: E731
        assert refused(start) == (400, "[]")
        client.until(
            lambda: box.world.transfers.values(),
            lambda all_: all(t.phase.startswith("finished") for t in all_),
        )
        client.end_backup(vm, backup.id)
    assert since in [c.id for c in client.checkpoints(vm)]
    box.remove_snapshot(vm, snapshot)  # one layer again: the bitmap has the new length
    backup = client.start_backup(vm, [disk], since=since, legacy=kind != "hybrid")
    assert client.modes(vm, backup.id) == {disk.id: "incremental"}
    assert dirty_of(client, disk, backup) in ([], [(8 * MIB, 12 * MIB)])
    check_whole(client, vm, backup, [disk])
    client.end_backup(vm, backup.id)


def test_raw_on_block_is_stale_and_longer_than_its_disk(box: Box, client: Client) -> None:
    _, (disk,) = make(box, DiskSpec(20 * MIB, "raw", domain="lun"), running=False)
    transfer = client.transfer(disk)
    extents = client.http("GET", f"{transfer.transfer_url}/extents").json()
    assert sum(e["length"] for e in extents) == 128 * MIB
    assert client.read(transfer.transfer_url, 0, 4 * KIB).strip(b"\0")
    beyond = client.http("GET", transfer.transfer_url, headers={"Range": f"bytes={20 * MIB}-{21 * MIB}"})
    assert beyond.status_code == 416
    assert client.sha(transfer.transfer_url, disk.virtual_size) == box.sha(disk)
    client.finalize(transfer)


def test_lost_checkpoints_fail_the_post_and_are_all_deleted(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    full = client.start_backup(vm, [disk])
    client.end_backup(vm, full.id)
    box.inject.lose_checkpoints(vm)
    since = full.to_checkpoint_id
    assert refused(lambda: client.start_backup(vm, [disk], since=since)) == (400, "[]")
    assert client.checkpoints(vm) == []
    assert 10791 in [event.code for event in box.world.events if event.vm_id == vm.id]
    assert [b.phase.value for b in client.backups(vm).list()] == ["succeeded", "failed"]
    status, detail = refused(lambda: client.start_backup(vm, [disk], since=since))
    assert (status, detail) == (400, f"[Cannot backup VM. Checkpoint ID {since} doesn't exist.]")
    client.end_backup(vm, client.start_backup(vm, [disk]).id)


@pytest.mark.parametrize("kind", ["cold", "hybrid"])
def test_a_missing_bitmap_shows_when_the_transfer_starts(box: Box, client: Client, kind: str) -> None:
    vm, (disk,) = make(box, running=kind == "hybrid")
    legacy = kind == "cold"
    full = client.start_backup(vm, [disk], legacy=legacy)
    client.end_backup(vm, full.id)
    box.inject.lose_bitmap(vm, full.to_checkpoint_id)
    backup = client.start_backup(vm, [disk], since=full.to_checkpoint_id, legacy=legacy)
    assert client.modes(vm, backup.id) == {disk.id: "incremental"}
    start = lambda: client.transfer(disk, backup=types.Backup(id=backup.id))  # noqa: E731
    assert refused(start) == (400, "[]")
    (failed,) = [t for t in client.transfers.list() if t.image.id == disk.id]
    client.wait_phase(failed, "finished_failure")
    client.end_backup(vm, backup.id)


def test_a_lying_bitmap_misses_one_write(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    full = client.start_backup(vm, [disk])
    client.end_backup(vm, full.id)
    box.inject.lying_bitmap(disk)
    box.write(disk, 3 * MIB, noise(1, 64 * KIB))
    box.write(disk, 5 * MIB, noise(2, 64 * KIB))
    backup = client.start_backup(vm, [disk], since=full.to_checkpoint_id)
    check_whole(client, vm, backup, [disk])
    assert dirty_of(client, disk, backup) == [(5 * MIB, 5 * MIB + 64 * KIB)]
    client.end_backup(vm, backup.id)


def test_checkpoints_can_be_removed_anywhere_and_restore_loses_them(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    made = []
    for _ in range(3):
        backup = client.start_backup(vm, [disk])
        client.end_backup(vm, backup.id)
        made.append(backup.to_checkpoint_id)
        box.write(disk, len(made) * MIB, noise(1, 64 * KIB))
    client.remove_checkpoint(vm, made[1])
    assert [c.id for c in client.checkpoints(vm)] == [made[0], made[2]]
    backup = client.start_backup(vm, [disk], since=made[0])
    expected = [(n * MIB, n * MIB + 64 * KIB) for n in (1, 2, 3)]
    assert dirty_of(client, disk, backup) == expected
    client.end_backup(vm, backup.id)

    frozen = box.snapshot(vm, "to go back to")
    box.stop_vm(vm)
    box.restore_snapshot(vm, frozen)
    assert {str(c.state) for c in client.checkpoints(vm)} == {"invalid"}


def test_while_a_checkpoint_is_removed(box: Box, client: Client) -> None:
    vm, (disk,) = make(box, running=False)
    backup = client.start_backup(vm, [disk])
    client.end_backup(vm, backup.id)
    service = client.system.vms_service().vm_service(vm.id).checkpoints_service()
    remove = service.checkpoint_service(backup.to_checkpoint_id).remove
    transfer = client.transfer(disk)
    locked = f"[Cannot remove checkpoint: The following disks are locked: {disk.alias}."
    status, words = refused(remove)
    assert (status, words.startswith(locked)) == (409, True)
    assert client.finalize(transfer) == "finished_success"
    tick, box.engine.clock.tick = box.engine.clock.tick, 1.0
    try:
        remove()
    finally:
        box.engine.clock.tick = tick
    removal = "The VM is during a checkpoint removal operation.]"
    assert refused(lambda: client.start_backup(vm, [disk])) == (409, f"[Cannot backup VM. {removal}")
    assert refused(remove) == (409, f"[Cannot remove checkpoint. {removal}")
    box.wait(lambda: client.checkpoints(vm) == [], "its removal")


def test_locks_of_a_live_backup(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    service = client.system.vms_service().vm_service(vm.id)
    backup = client.start_backup(vm, [disk])
    assert client.system.disks_service().disk_service(disk.id).get().status == types.DiskStatus.LOCKED
    shown = service.get(all_content=True)
    assert shown.initialization is None or not shown.initialization.configuration
    during = (409, "[Cannot backup VM. The VM is during a backup operation.]")
    assert refused(lambda: client.start_backup(vm, [disk])) == during
    snapshot = types.Snapshot(description="no", persist_memorystate=False)
    status, detail = refused(lambda: service.snapshots_service().add(snapshot))
    assert (status, detail) == (409, "[Cannot create Snapshot. The VM is during a backup operation.]")
    assert refused(service.stop)[0] == 409

    transfer = client.transfer(disk, backup=types.Backup(id=backup.id))
    finalize = client.backups(vm).backup_service(backup.id).finalize
    assert refused(finalize) == (
        409,
        "[Cannot stop VM backup. There is an active image transfer for VM backup]",
    )
    assert client.finalize(transfer) == "finished_success"
    client.end_backup(vm, backup.id)
    status, detail = refused(finalize)
    assert status == 400
    assert detail.endswith("is already in 'succeeded' phase, no need to stop the backup again]")
    assert client.modes(vm, backup.id) == {}


def test_a_hybrid_backup_lets_the_vm_live(box: Box, client: Client) -> None:
    vm, (disk,) = make(box, running=False)
    box.write(disk, 0, noise(1, MIB))
    backup = client.start_backup(vm, [disk], legacy=False)
    snapshots = client.system.vms_service().vm_service(vm.id).snapshots_service().list()
    assert "Auto-generated for Backup VM" in [s.description for s in snapshots]
    assert backup.snapshot.id in [s.id for s in snapshots]
    assert client.system.disks_service().disk_service(disk.id).get().status == types.DiskStatus.OK
    assert refused(lambda: client.transfer(disk)) == (
        409,
        "[Cannot transfer Virtual Disk: Disk is locked. Please try again later.]",
    )
    assert refused(lambda: client.start_backup(vm, [disk], legacy=False))[0] == 409
    box.start_vm(vm)
    box.write(disk, 2 * MIB, noise(2, MIB))
    check_whole(client, vm, backup, [disk])
    client.end_backup(vm, backup.id)
    assert len(disk.layers) == 1
    assert box.read(disk, 0, disk.virtual_size) == box.content(disk).read_bytes()


def test_what_no_backup_is_made_of(box: Box, client: Client) -> None:
    vm, (disk, loose) = make(box, DiskSpec(8 * MIB), DiskSpec(8 * MIB, active=False))
    _, (strange,) = make(box, DiskSpec(8 * MIB))
    unknown = Disk(
        id="00000000-1111-4222-8333-444444444444",
        alias="x",
        domain="",
        virtual_size=0,
        format="",
        sparse=True,
    )
    start = lambda *disks: lambda: client.start_backup(vm, list(disks))  # noqa: E731
    assert refused(start(unknown)) == (
        400,
        f"[Cannot backup VM. The following disk(s) ID(s) does not exist: {unknown.id}.]",
    )
    assert refused(start(loose)) == (
        409,
        f"[Cannot backup VM. The following disks are not active on VM {vm.name}: {loose.id}]",
    )
    assert refused(start(strange))[0] == 500
    vm.status = "paused"
    assert refused(start(disk)) == (
        409,
        "[Cannot backup VM. The Virtual Machine should be in Up or Down status.]",
    )
    vm.status = "up"
    backup = client.start_backup(vm, [disk])
    cow = lambda: client.transfer(disk, backup=types.Backup(id=backup.id), format=types.DiskFormat.COW)  # noqa: E731
    assert refused(cow) == (
        400,
        "[Cannot transfer Virtual Disk. The specified format is not applicable for VM backup.]",
    )
    client.end_backup(vm, backup.id)


def test_old_cluster_levels(box: Box, client: Client) -> None:
    box.make_cluster("old", (4, 4))
    vm, (disk, raw) = make(box, DiskSpec(8 * MIB), DiskSpec(8 * MIB, "raw"), cluster="old")
    assert refused(lambda: client.start_backup(vm, [disk, raw])) == (
        409,
        f"[Cannot backup VM. Incremental backup is disabled for the following disks: {raw.id}.]",
    )
    client.end_backup(vm, client.start_backup(vm, [disk], legacy=False).id)
    box.stop_vm(vm)
    assert refused(lambda: client.start_backup(vm, [disk]))[0] == 409


def test_an_engine_restart_fails_backups_with_a_chosen_id(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    chosen = "11111111-2222-4333-8444-555555555555"
    wanted = types.Backup(id=chosen, disks=[types.Disk(id=disk.id)])
    assert client.backups(vm).add(wanted, query={"legacy": "true"}).id == chosen
    client.wait_backup(vm, chosen, "ready")
    box.inject.restart_engine()
    client.until(lambda: client.backups(vm).backup_service(chosen).get().phase.value, lambda p: p == "failed")
    backup = client.start_backup(vm, [disk])
    box.inject.restart_engine()
    assert client.backups(vm).backup_service(backup.id).get().phase == types.BackupPhase.READY
    client.end_backup(vm, backup.id)


def test_consistency_can_be_required_of_a_live_backup(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    wanted = types.Backup(disks=[types.Disk(id=disk.id)])
    made = client.backups(vm).add(wanted, query={"legacy": "true", "require_consistency": "true"})
    service = client.backups(vm).backup_service(made.id)
    client.until(lambda: service.get().phase.value, lambda phase: phase == "failed")
    vm.agent = True
    client.end_backup(vm, client.start_backup(vm, [disk], require_consistency="true").id)


def test_finished_backups_are_kept_a_while(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    backup = client.start_backup(vm, [disk])
    client.end_backup(vm, backup.id)
    box.shift(minutes=16)
    service = client.backups(vm).backup_service(backup.id)
    client.until(lambda: [b.id for b in client.backups(vm).list()], lambda ids: backup.id not in ids)
    with pytest.raises(sdk.NotFoundError):
        service.get()


def test_scratch_disks_need_room(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    box.inject.fill_domain("data")
    try:
        made = client.backups(vm).add(types.Backup(disks=[types.Disk(id=disk.id)]), query={"legacy": "true"})
        service = client.backups(vm).backup_service(made.id)
        client.until(lambda: service.get().phase.value, lambda phase: phase == "failed")
    finally:
        box.inject.fill_domain("data", False)


def test_a_cold_backup_waits_for_an_engine_that_learns_its_domains(box: Box, client: Client) -> None:
    vm, disks = make(box, running=False)
    domain = box.world.domains[disks[0].domain]
    with box.world.lock:  # no turn of the engine's own between the two
        domain.status = "unknown"
        wanted = backups.Wanted([disk.id for disk in disks], legacy=True)
        begun = backups.start(box.engine, vm, wanted)
        for _ in range(3):
            backups.tick(box.engine)
        assert begun.phase == "initializing"
        domain.status = "active"
    client.wait_backup(vm, begun.id, "ready")
    client.end_backup(vm, begun.id)
