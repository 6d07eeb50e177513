"""Snapshots merged away between two backups, in every way: no layer is reused that is not what it was."""

from __future__ import annotations

import random

import pytest
from chainbench import Bench, Known, guest_bytes, make, written
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Disk, Vm


def assert_archived(bench: Bench, box: Box, vm: Vm, archive: str, known: Known) -> None:
    """What stock borg takes out of the archive is what the box says of every snapshot and of now."""
    root = bench.unpack(archive)
    manifest = bench.manifest(archive)
    descriptions = {s.id: s.description for s in manifest.snapshots}
    assert list(descriptions.values()) == [s.description for s in known.snapshots]
    seen = set()
    for disk in manifest.disks:
        for layer in disk.layers:
            owner = descriptions.get(layer.snapshot_id or "")
            wanted = known.now[disk.alias] if owner is None else known.at[owner, disk.alias]
            same = guest_bytes(root / layer.path) == wanted
            assert same, f"{disk.alias} as of {owner or 'now'}"
            seen.add((owner, disk.alias))
    assert {(o, a) for o, a in seen if o} == set(known.at)


def reused(bench: Bench, archive: str, alias: str) -> list[bool]:
    disk = next(d for d in bench.manifest(archive).disks if d.alias == alias)
    return [layer.reused_from is not None for layer in disk.layers]


@pytest.mark.thin(4)
@pytest.mark.parametrize(
    ("merged", "running", "expected"),
    [
        # The chain is one - two - three - active; merging a snapshot away changes the layer it froze, and the
        # parent of the one that lay two above it.
        ("one", True, [False, False, False]),
        ("two", True, [True, False, False]),
        ("two", False, [True, False, False]),
        ("three", True, [True, True, False]),
    ],
)
def test_a_snapshot_merged_away(
    bench: Bench, box: Box, merged: str, running: bool, expected: list[bool]
) -> None:
    vm = box.make_vm(f"merge {merged} {running}", [DiskSpec(8 * MIB)], running=running)
    (disk,) = box.disks(vm)
    for number, name in enumerate(("one", "two", "three")):
        written(box, disk, number, name)
        box.snapshot(vm, name)
    written(box, disk, 4, "active")
    first = bench.create(vm)
    assert reused(bench, first.archive, disk.alias) == [False] * 4
    box.remove_snapshot(vm, next(s for s in vm.snapshots if s.description == merged))
    known = Known.of(box, vm)
    second = bench.create(vm)
    assert reused(bench, second.archive, disk.alias) == expected
    assert_archived(bench, box, vm, second.archive, known)
    third = bench.create(vm)
    assert reused(bench, third.archive, disk.alias) == [True, True, False]
    assert_archived(bench, box, vm, third.archive, known)
    bench.assert_clean()


def test_the_layer_under_our_own_snapshot_is_read_again_though_nothing_was_written(
    bench: Bench, box: Box
) -> None:
    vm = box.make_vm("quiet", [DiskSpec(8 * MIB)])
    (disk,) = box.disks(vm)
    written(box, disk, 1, "once")
    first, second = bench.create(vm), bench.create(vm)
    images = [bench.manifest(x.archive).disks[0].layers[0].image_id for x in (first, second)]
    assert images[0] == images[1]  # the merge keeps the id: it proves nothing
    assert reused(bench, second.archive, disk.alias) == [False]


def test_a_user_snapshot_right_after_ours_does_not_make_its_layer_known(bench: Bench, box: Box) -> None:
    """The layer that our snapshot froze was written to since, and is now frozen by a snapshot that stays."""
    vm = box.make_vm("caught", [DiskSpec(8 * MIB)])
    (disk,) = box.disks(vm)
    written(box, disk, 1, "before")
    bench.create(vm)
    written(box, disk, 1, "after!")
    box.snapshot(vm, "stays")
    known = Known.of(box, vm)
    second = bench.create(vm)
    assert reused(bench, second.archive, disk.alias) == [False, False]
    assert_archived(bench, box, vm, second.archive, known)


def test_a_disk_moved_to_another_domain_or_rolled_back_is_read_again(bench: Bench, box: Box) -> None:
    vm = make(box, "rolled", running=False)
    first = box.disks(vm)[0]
    bench.create(vm)
    box.move(box.disks(vm)[1], "lun")
    box.restore_snapshot(vm, next(s for s in vm.snapshots if s.description == "two"))
    written(box, first, 6, "after going back")
    known = Known.of(box, vm)
    second = bench.create(vm)
    assert reused(bench, second.archive, box.disks(vm)[1].alias)[0] is False
    assert_archived(bench, box, vm, second.archive, known)
    bench.assert_clean()


def test_rounds_of_anything(bench: Bench, box: Box) -> None:
    """Writes, snapshots and merges in any order between backups: every archive is the truth of its time."""
    dice = random.Random(2)
    vm = box.make_vm("dice", [DiskSpec(8 * MIB), DiskSpec(8 * MIB, format="raw")])
    names = iter(f"s{number}" for number in range(99))
    kinds = set()
    for number in range(4):
        for _ in range(dice.randint(2, 4)):
            _act(box, vm, dice, names)
        known = Known.of(box, vm)
        result = bench.create(vm)
        kinds.add(result.kind)
        assert_archived(bench, box, vm, result.archive, known)
        if number == 2:
            bench.borg("prune", "--keep-last", "1", bench.repo)
            bench.borg("compact", bench.repo)
    bench.assert_clean()
    assert "full" in kinds


def _act(box: Box, vm: Vm, dice: random.Random, names: object) -> None:
    regular = [s for s in vm.snapshots if s.type == "regular"]
    disk: Disk = dice.choice(box.disks(vm))
    what = dice.choice(["write", "write", "discard", "snapshot", "merge", "toggle"])
    if what == "write":
        box.fill(disk, dice.randrange(7) * MIB, dice.randrange(1, 3) * 64 * 1024, dice.randrange(1 << 20))
    elif what == "discard":
        box.discard(disk, dice.randrange(7) * MIB, MIB)
    elif what == "snapshot" and len(regular) < 4:
        box.snapshot(vm, next(names))  # type: ignore[call-overload]
    elif what == "merge" and regular:
        box.remove_snapshot(vm, dice.choice(regular))
    elif what == "toggle":
        (box.stop_vm if vm.status == "up" else box.start_vm)(vm)
