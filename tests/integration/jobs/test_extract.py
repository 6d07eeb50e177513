"""`borg-ovirt extract`: the VM comes back, every byte proven, and a failed restore leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import Box, DiskSpec, sha_of
from ovirtbox.model import Disk, Layer, StorageDomain, Vm

MIB = 1 << 20


def make(box: Box, name: str, *, running: bool = False, cluster: str = "Default") -> Vm:
    """A VM with every kind of disk: qcow2 and raw, on file and on block storage, one not plugged in."""
    vm = box.make_vm(
        name,
        [
            DiskSpec(40 * MIB + 512, bootable=True, alias="root", description="the root disk"),
            DiskSpec(24 * MIB, domain="lun", alias="thin"),
            DiskSpec(16 * MIB, format="raw", alias="rawfile"),
            DiskSpec(17 * MIB, format="raw", sparse=False, domain="lun", alias="rawblock"),
            DiskSpec(8 * MIB, alias="unplugged", active=False, interface="virtio"),
        ],
        running=running,
        cluster=cluster,
    )
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, MIB + 4096 * number, 3 * MIB, seed=number)
        box.write(disk, disk.virtual_size - 700, bytes(range(1, 201)))
    return vm


def by_alias(box: Box, vm: Vm) -> dict[str, Disk]:
    return {disk.alias: disk for disk in box.disks(vm)}


def forms(disk: Disk) -> tuple[object, ...]:
    return disk.virtual_size, disk.format, disk.sparse, disk.backup, disk.description, disk.domain


@pytest.mark.parametrize("running", [False, True], ids=["down", "running"])
def test_a_vm_that_is_gone_comes_back_as_it_was(box: Box, desk: Desk, running: bool) -> None:
    vm = make(box, f"gone-{running}", running=running)
    made = desk.create(vm)
    before = {d.alias: (d.id, d.layers[0].image_id, forms(d)) for d in box.disks(vm)}
    truth = {d.alias: box.sha(d) for d in box.disks(vm)}
    plugs = {a.disk_id: (a.active, a.interface, a.bootable) for a in vm.attachments}
    if running:
        box.stop_vm(vm)
    for disk in [d for d in box.disks(vm) if d.alias == "unplugged"]:
        box.remove_disk(vm, disk)
    box.remove_vm(vm)
    desk.run("extract", f"{desk.repo}::{made['archive']}").ok()
    again = box.vm(vm.name)
    assert again.id == vm.id
    assert {d.alias: (d.id, d.layers[0].image_id, forms(d)) for d in box.disks(again)} == before
    assert {a.disk_id: (a.active, a.interface, a.bootable) for a in again.attachments} == plugs
    assert {d.alias: box.sha(d) for d in box.disks(again)} == truth
    desk.assert_clean()
    box.remove_vm(again)


def test_beside_the_original_everything_is_new_and_the_original_untouched(box: Box, desk: Desk) -> None:
    vm = make(box, "twin")
    desk.create(vm)
    truth = {d.alias: box.sha(d) for d in box.disks(vm)}
    desk.run("extract", "--name", "twin2", "--start", f"{desk.repo}::twin").ok()
    twin = box.vm("twin2")
    assert twin.id != vm.id
    assert twin.status == "up"
    assert {d.id for d in box.disks(twin)}.isdisjoint(d.id for d in box.disks(vm))
    assert {n.id for n in twin.nics}.isdisjoint(n.id for n in vm.nics)
    assert {n.mac for n in twin.nics}.isdisjoint(n.mac for n in vm.nics)
    assert len(twin.nics) == len(vm.nics)
    assert {d.alias: box.sha(d) for d in box.disks(twin)} == truth
    assert {d.alias: box.sha(d) for d in box.disks(vm)} == truth
    desk.assert_clean()


def test_some_disks_come_back_as_floating_disks_elsewhere(box: Box, desk: Desk) -> None:
    vm = make(box, "parts")
    desk.create(vm)
    before = set(box.world.disks)
    result = desk.run(
        "extract",
        *("--json", "--disk", "rawfile", "--disk", "root"),
        *("--storage-domain", "rawfile=lun", "--storage-domain", "data"),
        f"{desk.repo}::parts",
    ).ok()
    made = {box.world.disks[i].alias: box.world.disks[i] for i in set(box.world.disks) - before}
    assert set(made) == {"rawfile", "root"}
    assert not any(list(box.world.vms_of_disk(d.id)) for d in made.values())
    for alias, disk in made.items():
        assert box.sha(disk) == box.sha(by_alias(box, vm)[alias])
    # Block storage has no sparse raw disks: the nearest form, and the plan says so.
    assert (made["rawfile"].format, made["rawfile"].sparse) == ("raw", False)
    assert "preallocated" in json.dumps(result.json)
    desk.assert_clean()


def test_a_disk_is_overwritten_only_after_yes_and_zeros_are_written(box: Box, desk: Desk) -> None:
    vm = make(box, "over")
    desk.create(vm)
    victim = box.add_disk(None, DiskSpec(48 * MIB, alias="victim"))
    box.fill(victim, 0, 48 * MIB, seed=9)
    arguments = ["extract", "--disk", "root", "--over", victim.id]
    before = box.sha(victim)
    refused = desk.run(*arguments, f"{desk.repo}::over")
    assert refused.code == 40
    assert "--yes" in refused.err
    assert victim.id in refused.err
    assert box.sha(victim) == before
    desk.run(*arguments, "--yes", f"{desk.repo}::over").ok()
    data = box.content(victim).read_bytes()
    root = by_alias(box, vm)["root"]
    assert data[: root.virtual_size] == box.content(root).read_bytes()
    assert not any(data[root.virtual_size :])
    desk.assert_clean()


def test_a_disk_of_a_running_vm_is_never_overwritten(box: Box, desk: Desk) -> None:
    vm = make(box, "busy", running=True)
    desk.create(vm)
    root = by_alias(box, vm)["root"]
    refused = desk.run("extract", "--disk", "root", "--over", root.id, "--yes", f"{desk.repo}::busy")
    assert refused.code == 40
    assert "busy" in refused.err
    assert "up" in refused.err
    desk.assert_clean()


def test_files_need_no_engine(box: Box, desk: Desk, tmp_path: Path) -> None:
    vm = make(box, "tofiles")
    made = desk.create(vm)
    desk.run("extract", "--to", str(tmp_path / "raw"), f"{desk.repo}::tofiles", BORG_OVIRT_URL="").ok()
    for disk in box.disks(vm):
        path = tmp_path / "raw" / f"{disk.id}.raw"
        assert sha_of(path) == box.sha(disk)
        assert path.stat().st_blocks * 512 < disk.virtual_size
    assert (tmp_path / "raw" / "vm.ovf").read_text().startswith("<?xml")
    assert json.loads((tmp_path / "raw" / "manifest.json").read_bytes()) == desk.manifest(made["archive"])
    again = desk.run("extract", "--to", str(tmp_path / "raw"), f"{desk.repo}::tofiles")
    assert again.code == 40
    assert "already holds" in again.err


def test_qcow2_files_hold_the_same_bytes(box: Box, desk: Desk, tmp_path: Path) -> None:
    import subprocess

    vm = make(box, "toqcow2")
    desk.create(vm)
    out = tmp_path / "q"
    desk.run("extract", "--to", str(out), "--format", "qcow2", "--disk", "root", f"{desk.repo}::toqcow2").ok()
    root = by_alias(box, vm)["root"]
    subprocess.run(
        ["qemu-img", "convert", "-O", "raw", str(out / f"{root.id}.qcow2"), str(out / "back.raw")], check=True
    )
    assert sha_of(out / "back.raw") == box.sha(root)
    assert sorted(p.name for p in out.iterdir() if p.name.endswith(".part")) == []


def test_a_dry_run_names_every_blocker_and_touches_nothing(box: Box, desk: Desk) -> None:
    vm = make(box, "dry")
    desk.create(vm)
    disks, vms = set(box.world.disks), set(box.world.vms)
    plan = desk.run(
        "extract", "--dry-run", "--cluster", "nowhere", "--storage-domain", "x", f"{desk.repo}::dry"
    )
    assert plan.code == 40
    words = plan.out + plan.err
    for blocker in ("no cluster nowhere", "no storage domain x", "VM dry", "exists"):
        assert blocker in words
    beside = desk.run("extract", "--dry-run", "--name", "dry2", f"{desk.repo}::dry").ok()
    assert "VM dry2" in beside.out
    assert (set(box.world.disks), set(box.world.vms)) == (disks, vms)


@pytest.mark.thin(1)
@pytest.mark.parametrize("keep", [False, True], ids=["undone", "kept"])
def test_a_restore_that_fails_half_way_is_undone_unless_kept(box: Box, desk: Desk, keep: bool) -> None:
    vm = make(box, f"half-{keep}")
    desk.create(vm)
    disks, vms = set(box.world.disks), set(box.world.vms)
    box.inject.status("POST", "*/vms", 400, times=99)
    failed = desk.run("extract", "--name", "half2", *(["--keep"] if keep else []), f"{desk.repo}::{vm.name}")
    assert failed.code == 16
    assert "half2" in failed.err
    assert set(box.world.vms) == vms
    assert len(set(box.world.disks) - disks) == (5 if keep else 0)
    desk.assert_clean()


def test_a_wrong_byte_on_the_target_fails_the_proof(
    box: Box, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File storage promises zeros in a new raw volume; here it lies: the restore is refused and undone."""
    vm = make(box, "proof")
    desk.create(vm)
    disks = set(box.world.disks)
    create_volume = box.engine.data.create_volume

    def lying(layer: Layer, domain: StorageDomain, **more: object) -> None:
        create_volume(layer, domain, **more)  # type: ignore[arg-type]
        if layer.format == "raw" and domain.kind == "file":
            with layer.path.open("r+b") as volume:
                volume.seek(9 * MIB)
                volume.write(b"stale")

    monkeypatch.setattr(box.engine.data, "create_volume", lying)
    failed = desk.run("extract", "--name", "proof2", f"{desk.repo}::proof")
    assert failed.code == 42
    assert "rawfile" in failed.err
    assert set(box.world.disks) == disks
    desk.assert_clean()
    desk.run("extract", "--name", "proof3", "--no-proof", f"{desk.repo}::proof").ok()
