"""Chains of every shape: backed up, lost, brought back, equal byte for byte as of every snapshot."""

from __future__ import annotations

import pytest
from chainbench import Bench, Known, gone, written
from ovirtbox import snapshots
from ovirtbox.box import MIB, Box, DiskSpec

from borg_ovirt.errors import VmNotSuitable

SMALL = 8 * MIB


@pytest.mark.thin(1)
@pytest.mark.parametrize("domain", ["data", "lun"])
def test_grown_partial_empty_and_preallocated(bench: Bench, box: Box, domain: str) -> None:
    vm = box.make_vm(
        f"shapes-{domain}",
        [
            DiskSpec(SMALL, alias="grown", domain=domain, bootable=True, initial_size=128 * MIB),
            DiskSpec(SMALL, alias="raw", format="raw", sparse=domain == "data", domain=domain),
            DiskSpec(SMALL, alias="full", sparse=False, backup="incremental", domain=domain),
            DiskSpec(SMALL, alias="fixed", format="raw", sparse=False, domain=domain),
        ],
        running=False,
    )
    grown, raw, full, fixed = box.disks(vm)
    for number, disk in enumerate(box.disks(vm)):
        written(box, disk, number, f"base of {disk.alias}")
    lv = 128 * MIB
    box.snapshot(vm, "all four", initial_size=lv)
    box.grow(grown, SMALL + 3 * MIB + 512 * 7)
    box.grow(raw, SMALL + 4 * MIB)
    written(box, grown, 9, "in the grown part")
    written(box, raw, 10, "in the grown part of raw")
    box.snapshot(vm, "two of them", only=[grown, fixed], initial_size=lv)
    box.snapshot(vm, "again: an empty layer", only=[grown], initial_size=lv)
    box.snapshot(vm, "the VM alone", only=[])
    box.zero(grown, 9 * MIB, MIB)
    written(box, fixed, 5, "on top of fixed")
    known = Known.of(box, vm)
    archive = bench.create(vm).archive
    lengths = {d.alias: len(d.layers) for d in bench.manifest(archive).disks}
    assert lengths == {"grown": 4, "raw": 2, "full": 2, "fixed": 3}
    forms = {d.alias: (d.layers[0].format, d.layers[0].sparse) for d in bench.manifest(archive).disks}
    gone(box, vm)
    bench.extract(archive)
    back = box.vm(vm.name)
    known.check(box, back)
    made = {d.alias: (d.layers[0].format, d.layers[0].sparse) for d in box.disks(back)}
    assert made == forms
    assert full.alias in made
    bench.assert_clean_but(back)
    gone(box, back)


def test_a_vm_without_snapshots(bench: Bench, box: Box) -> None:
    vm = box.make_vm("plain", [DiskSpec(SMALL), DiskSpec(SMALL, format="raw")])
    for disk in box.disks(vm):
        written(box, disk, 2, disk.alias)
    known = Known.of(box, vm)
    archive = bench.create(vm).archive
    gone(box, vm)
    result = bench.extract(archive)
    back = box.vm("plain")
    known.check(box, back)
    assert result.snapshots == []
    assert [disk.format for disk in box.disks(back)] == ["cow", "raw"]
    assert [len(disk.layers) for disk in box.disks(back)] == [1, 1]
    bench.assert_clean_but(back)


def test_a_thin_vm_comes_back_independent_of_its_template(bench: Bench, box: Box) -> None:
    content = [(MIB, b"of the template" * 900)]
    template = box.make_template("gold", [DiskSpec(SMALL, content=content, bootable=True)])
    vm = box.make_thin_vm("thin", template, running=True)
    (disk,) = box.disks(vm)
    written(box, disk, 2, "its own")
    box.snapshot(vm, "first")
    written(box, disk, 3, "more of its own")
    known = Known.of(box, vm)
    image = box.world.disks[template.disks[0]].active.image_id
    archive = bench.create(vm).archive
    record = bench.manifest(archive).disks[0]
    assert [(x.template, x.image_id == image) for x in record.layers] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    again = bench.create(vm)
    layers = bench.manifest(again.archive).disks[0].layers
    assert [x.reused_from is not None for x in layers] == [True, True, False]
    gone(box, vm)
    result = bench.extract(again.archive)
    back = box.vm("thin")
    (disk,) = box.disks(back)
    assert disk.layers[0].image_id != image
    assert [x.parent for x in disk.layers] == [None, disk.layers[0].image_id, disk.layers[1].image_id]
    own, *others = [s for s in back.snapshots if s.type == "regular"]
    assert (own.description, result.snapshots[0]) == ("image of the template", "image of the template")
    back.snapshots.remove(own)
    known.check(box, back)
    back.snapshots.insert(0, own)
    assert others
    bench.assert_clean_but(back)


def test_layers_from_block_storage_fit_on_file_storage_and_back(bench: Bench, box: Box) -> None:
    vm = box.make_vm("mover", [DiskSpec(SMALL, domain="lun", initial_size=128 * MIB)], running=False)
    (disk,) = box.disks(vm)
    written(box, disk, 1, "below")
    box.snapshot(vm, "only", initial_size=128 * MIB)
    written(box, disk, 2, "above")
    known = Known.of(box, vm)
    made = bench.create(vm)
    archive = made.archive
    sizes = [x.size for x in bench.manifest(archive).disks[0].layers]
    assert min(sizes) >= 128 * MIB
    # Of a volume only the file is read: what lies behind its end is of others.
    assert sum(disk.stats.bytes_read for disk in made.disks) < SMALL
    bench.extract(archive, name="moved", storage_domains={"": "data"}, work_dir=bench.root)
    moved = box.vm("moved")
    known.check(box, moved)
    assert not list(bench.root.glob("borg-ovirt-*"))
    bench.assert_clean_but(moved)
    archive = bench.create(moved).archive
    assert max(x.size for x in bench.manifest(archive).disks[0].layers) < SMALL
    bench.extract(archive, name="back", storage_domains={"": "lun"})
    back = box.vm("back")
    known.check_contents(box, back)
    # The original dates stay; they are not told twice.
    assert [s.description for s in back.snapshots] == [s.description for s in moved.snapshots]
    bench.assert_clean_but(moved, back)


def test_without_a_snapshot_of_a_vm_that_is_down_all_layers_are_read(bench: Bench, box: Box) -> None:
    vm = box.make_vm("resting", [DiskSpec(SMALL), DiskSpec(SMALL, format="raw")], running=False)
    written(box, box.disks(vm)[0], 1, "below")
    box.snapshot(vm, "only", only=box.disks(vm)[:1])
    written(box, box.disks(vm)[0], 2, "above")
    written(box, box.disks(vm)[1], 3, "raw")
    known = Known.of(box, vm)
    generation = vm.generation
    result = bench.create(vm, snapshot=False)
    assert (result.method, result.consistency) == ("frozen layers", "frozen")
    assert vm.generation == generation  # no snapshot came and went
    assert [len(d.layers) for d in bench.manifest(result.archive).disks] == [2, 1]
    bench.assert_clean()
    gone(box, vm)
    bench.extract(result.archive)
    back = box.vm("resting")
    known.check(box, back)
    bench.assert_clean_but(back)


def test_without_a_snapshot_of_a_vm_that_runs_the_frozen_layers_are_read(bench: Bench, box: Box) -> None:
    vm = box.make_vm("busy", [DiskSpec(SMALL), DiskSpec(SMALL)])
    first, _ = box.disks(vm)
    written(box, first, 1, "below")
    snapshot = box.snapshot(vm, "only", only=[first])
    then = box.content_at(snapshot, first).read_bytes()
    written(box, first, 2, "above")
    result = bench.create(vm, snapshot=False)
    assert [skipped.reason for skipped in result.skipped] == ["no layer is frozen"]
    assert any("since its last snapshot" in text for text in result.warnings)
    gone(box, vm)
    bench.extract(result.archive)
    back = box.vm("busy")
    (disk,) = box.disks(back)
    assert [s.description.split(" (")[0] for s in back.snapshots if s.type == "regular"] == ["only"]
    assert box.content(disk).read_bytes() == then
    assert len(disk.layers) == 2
    bench.assert_clean_but(back)


def test_nothing_frozen_is_refused(bench: Bench, box: Box) -> None:
    vm = box.make_vm("nothing", [DiskSpec(SMALL)])
    with pytest.raises(VmNotSuitable, match="No layer of VM nothing is frozen"):
        bench.create(vm, snapshot=False)
    bench.assert_clean()


def test_a_disk_that_is_not_plugged_in_is_read_as_it_rests(bench: Bench, box: Box) -> None:
    vm = box.make_vm("loose", [DiskSpec(SMALL), DiskSpec(SMALL, active=False)])
    plugged, loose = box.disks(vm)
    written(box, plugged, 1, "plugged")
    written(box, loose, 2, "loose")
    known = Known.of(box, vm)
    result = bench.create(vm)
    assert result.method == "temporary snapshot"
    bench.assert_clean()
    gone(box, vm)
    bench.extract(result.archive)
    back = box.vm("loose")
    known.check(box, back)
    assert [a.active for a in back.attachments] == [True, False]
    bench.assert_clean_but(back)


def test_the_temporary_snapshot_has_no_memory_and_memory_is_warned_of(bench: Bench, box: Box) -> None:
    vm = box.make_vm("memory", [DiskSpec(SMALL)])
    box.snapshot(vm, "with memory", memory=True)
    taken = []
    real = snapshots.create

    def watched(*args: object, **kwargs: object) -> object:
        taken.append(kwargs.get("memory"))
        return real(*args, **kwargs)  # type: ignore[arg-type]

    snapshots.create = watched  # type: ignore[assignment]
    try:
        result = bench.create(vm)
    finally:
        snapshots.create = real
    assert taken == [False]
    assert any("the memory of snapshot with memory" in text for text in result.warnings)
    gone(box, vm)
    plan = bench.extract(result.archive, dry_run=True).plan
    assert any("without its memory" in line for line in plan.lines())
    assert vm.id not in box.world.vms
