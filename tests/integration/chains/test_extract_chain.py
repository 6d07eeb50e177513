"""Restores of snapshot chains into oVirt: every snapshot back in order, every byte as of each of them."""

from __future__ import annotations

import pytest
from chainbench import Bench, Known, gone, make
from ovirtbox.box import Box

from borg_ovirt.errors import RestoreBlocked


@pytest.mark.thin(1)
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
    bench.extract(archive, name="copy")
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
