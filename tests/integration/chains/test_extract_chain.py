"""Restores of snapshot chains into oVirt: every snapshot back in order, every byte as of each of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from chainbench import Bench, guest_bytes
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Disk, Snapshot, Vm

from borg_ovirt.errors import RestoreBlocked
from borg_ovirt.jobs.restore_plan import RestoreChoices

SIZE = 16 * MIB


def written(box: Box, disk: Disk, place: int, text: str) -> None:
    box.write(disk, place * MIB + 100, text.encode() * 500)


@dataclass
class Known:
    """What the box says a VM's disks held: now, and as of each snapshot that covers them."""

    now: dict[str, bytes]
    at: dict[tuple[str, str], bytes]
    """By description and alias."""
    snapshots: list[Snapshot]

    @classmethod
    def of(cls, box: Box, vm: Vm) -> Known:
        regular = [s for s in vm.snapshots if s.type == "regular"]
        return cls(
            {disk.alias: box.content(disk).read_bytes() for disk in box.disks(vm)},
            {
                (s.description, box.world.disks[d].alias): box.content_at(s, box.world.disks[d]).read_bytes()
                for s in regular
                for d in s.images
            },
            regular,
        )

    def check(self, box: Box, vm: Vm) -> None:
        """The VM is back with all of it."""
        regular = [s for s in vm.snapshots if s.type == "regular"]
        expected = [f"{s.description} (taken {s.date:%Y-%m-%d %H:%M:%S} UTC)" for s in self.snapshots]
        assert [s.description for s in regular] == expected
        disks = {disk.alias: disk for disk in box.disks(vm)}
        assert set(disks) == set(self.now)
        for alias, data in self.now.items():
            same = guest_bytes(disks[alias].active.path)[: disks[alias].virtual_size] == data
            assert same, alias
        for old, new in zip(self.snapshots, regular, strict=True):
            assert {box.world.disks[d].alias for d in new.images} == {
                alias for description, alias in self.at if description == old.description
            }
            for disk_id, image_id in new.images.items():
                disk = box.world.disks[disk_id]
                layer = disk.layer(image_id)
                assert layer is not None
                then = self.at[old.description, disk.alias]
                # Layers inherit the latest size; what lies beyond the size of that time reads as zeros.
                found = guest_bytes(layer.path)[: disk.virtual_size]
                same = found.ljust(disk.virtual_size, b"\0") == then.ljust(disk.virtual_size, b"\0")
                assert same, f"{disk.alias} as of {old.description}"


def make(box: Box, name: str, *, running: bool = True, domain: str = "data") -> Vm:
    """Three disks with chains of 4, 2 and 1 layers, written differently at each layer."""
    vm = box.make_vm(name, [DiskSpec(SIZE, bootable=True, domain=domain)], running=running)
    first = box.disks(vm)[0]
    written(box, first, 0, "first")
    box.snapshot(vm, "one")
    written(box, first, 1, "second")
    box.snapshot(vm, "two")
    box.add_disk(vm, DiskSpec(SIZE, format="raw", domain=domain))
    second = box.disks(vm)[1]
    written(box, first, 2, "third")
    written(box, second, 3, "raw below")
    box.snapshot(vm, "three")
    written(box, first, 0, "fourth")
    written(box, second, 4, "qcow2 above")
    box.add_disk(vm, DiskSpec(SIZE, domain=domain))
    written(box, box.disks(vm)[2], 5, "alone")
    return vm


def gone(box: Box, vm: Vm) -> None:
    if vm.status != "down":
        box.stop_vm(vm)
    box.remove_vm(vm)


@pytest.mark.parametrize("domain", ["data", "lun"])
def test_a_vm_survives_delete_and_extract(bench: Bench, box: Box, domain: str) -> None:
    vm = make(box, f"survivor-{domain}", domain=domain)
    known = Known.of(box, vm)
    ids = {disk.alias: [layer.image_id for layer in disk.layers] for disk in box.disks(vm)}
    archive = bench.create(vm).archive
    gone(box, vm)
    result = bench.extract(archive)
    back = box.vm(vm.name)
    assert back.id == vm.id
    known.check(box, back)
    assert {d.alias: [x.image_id for x in d.layers] for d in box.disks(back)} == ids
    assert all(disk.proof for disk in result.disks)
    bench.assert_clean_but(back)
    box.start_vm(back)


def test_beside_the_original_under_new_ids(bench: Bench, box: Box) -> None:
    vm = make(box, "original")
    known = Known.of(box, vm)
    archive = bench.create(vm).archive
    with pytest.raises(RestoreBlocked, match="exists"):
        bench.extract(archive)
    bench.extract(archive, choices=RestoreChoices(name="copy"))
    copy = box.vm("copy")
    assert copy.id != vm.id
    known.check(box, copy)
    mine = {d.id for d in box.disks(vm)} | {x.image_id for d in box.disks(vm) for x in d.layers}
    theirs = {d.id for d in box.disks(copy)} | {x.image_id for d in box.disks(copy) for x in d.layers}
    assert not mine & theirs
    assert {n.mac for n in vm.nics}.isdisjoint(n.mac for n in copy.nics)
    assert all(n.mac for n in copy.nics)
    bench.assert_clean_but(copy)
    gone(box, vm)
    known.check(box, copy)
