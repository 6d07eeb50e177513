"""Raw disks whose size is no multiple of 4096: file storage takes none, and that is settled beforehand."""

from __future__ import annotations

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

ODD = 2 * MIB + 512


def odd(box: Box, name: str, domain: str = "data") -> Vm:
    disk = DiskSpec(ODD, format="raw", domain=domain, alias="odd")
    vm = box.make_vm(name, [DiskSpec(2 * MIB, alias="even"), disk], running=False)
    for seed, made in enumerate(box.disks(vm)):
        box.fill(made, 0, made.virtual_size, seed=seed)
    return vm


@pytest.mark.parametrize(("domain", "form"), [("data", "cow"), ("lun", "raw")])
def test_it_becomes_qcow2_where_it_must_and_every_byte_is_there(
    box: Box, desk: Desk, domain: str, form: str
) -> None:
    vm = odd(box, f"odd-{domain}", domain)
    truth = [box.content(disk).read_bytes() for disk in box.disks(vm)]
    archive = desk.create(vm)["archive"]
    ran = desk.run("extract", "--name", f"back-{domain}", f"{desk.repo}::{archive}").ok()
    assert ("becomes qcow2 sparse" in ran.err) == (form == "cow")
    back = box.disks(box.vm(f"back-{domain}"))
    assert [box.content(disk).read_bytes()[: disk.virtual_size] for disk in back] == truth
    assert (back[1].format, back[1].virtual_size) == (form, ODD)
    desk.assert_clean()


def test_with_its_chain_it_is_in_the_way(box: Box, desk: Desk) -> None:
    vm = odd(box, "odd-chain")
    archive = desk.create(vm, "--mode", "chain", "--no-snapshot")["archive"]
    made = (set(box.world.disks), len(box.world.transfers))
    told = desk.run("extract", "--name", "x", f"{desk.repo}::{archive}").ok(40).err
    assert f"the base of disk odd is raw of {ODD} bytes" in told
    assert (set(box.world.disks), len(box.world.transfers)) == made
    desk.run("extract", "--name", "flat", "--flatten", f"{desk.repo}::{archive}").ok()
    back = next(disk for disk in box.disks(box.vm("flat")) if disk.alias == "odd")
    truth = next(disk for disk in box.disks(vm) if disk.alias == "odd")
    assert box.sha(back) == box.sha(truth)


def test_over_such_a_disk_is_in_the_way(box: Box, desk: Desk) -> None:
    vm = odd(box, "odd-over")
    archive = desk.create(vm)["archive"]
    victim = box.add_disk(None, DiskSpec(ODD, format="raw", alias="victim"))
    place = f"{desk.repo}::{archive}"
    told = desk.run("extract", "--disk", "odd", "--over", victim.id, "--yes", place).ok(40).err
    assert f"disk victim is raw of {ODD} bytes: file storage takes no upload to it" in told
    assert victim.id in box.world.disks
