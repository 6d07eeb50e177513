"""Parts of a chain archive: the latest state alone, one snapshot's state, files, single disks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from chainbench import Bench, Known, gone, guest_bytes, make
from ovirtbox.box import Box
from ovirtbox.model import Vm

from borg_ovirt.errors import ArchiveNotFound, RestoreBlocked


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return make(box, "parts", running=False)


@pytest.fixture(scope="module")
def known(box: Box, vm: Vm) -> Known:
    return Known.of(box, vm)


def contents(box: Box, vm: Vm) -> dict[str, bytes]:
    return {disk.alias: guest_bytes(disk.active.path)[: disk.virtual_size] for disk in box.disks(vm)}


def test_flattened_the_latest_state_comes_back_alone(bench: Bench, box: Box, vm: Vm, known: Known) -> None:
    archive = bench.create(vm).archive
    work = bench.root / "work"
    work.mkdir()
    result = bench.extract(archive, flatten=True, name="flat", work_dir=work)
    flat = box.vm("flat")
    assert contents(box, flat) == known.now
    assert [len(disk.layers) for disk in box.disks(flat)] == [1, 1, 1]
    assert [s.type for s in flat.snapshots] == ["active"]
    assert all(disk.proof for disk in result.disks)
    assert not list(work.iterdir())
    bench.assert_clean_but(flat)


@pytest.mark.parametrize("flatten", [False, True])
def test_the_vm_as_of_one_snapshot(bench: Bench, box: Box, vm: Vm, known: Known, flatten: bool) -> None:
    archive = bench.create(vm).archive
    name = f"as-of-two-{flatten}"
    bench.extract(archive, snapshot="two", flatten=flatten, name=name, work_dir=bench.root)
    back = box.vm(name)
    (disk,) = box.disks(back)
    assert contents(box, back) == {disk.alias: known.at["two", disk.alias]}
    older = [s for s in back.snapshots if s.type == "regular"]
    assert [s.description.split(" (")[0] for s in older] == ([] if flatten else ["one"])
    assert len(disk.layers) == (1 if flatten else 2)
    if older:
        layer = disk.layer(older[0].images[disk.id])
        assert layer is not None
        assert guest_bytes(layer.path) == known.at["one", disk.alias]
    bench.assert_clean_but(back)


def test_a_snapshot_that_covers_other_disks_too(bench: Bench, box: Box, vm: Vm, known: Known) -> None:
    archive = bench.create(vm).archive
    bench.extract(archive, snapshot="three", name="as-of-three")
    back = box.vm("as-of-three")
    assert contents(box, back) == {
        alias: data for (description, alias), data in known.at.items() if description == "three"
    }
    assert [disk.format for disk in box.disks(back)] == ["cow", "raw"]
    bench.assert_clean_but(back)


def test_an_unknown_snapshot_is_told_with_the_known_ones(bench: Bench, vm: Vm) -> None:
    archive = bench.create(vm).archive
    with pytest.raises(ArchiveNotFound, match=r"no snapshot nonsense; it has one \("):
        bench.extract(archive, snapshot="nonsense")


def test_one_disk_comes_back_floating_and_flattened(bench: Bench, box: Box, vm: Vm, known: Known) -> None:
    archive = bench.create(vm).archive
    before = set(box.world.disks)
    alias = box.disks(vm)[1].alias
    bench.extract(archive, disks=(alias,), work_dir=bench.root)
    (new,) = set(box.world.disks) - before
    disk = box.world.disks[new]
    assert guest_bytes(disk.active.path) == known.now[alias]
    assert not list(box.world.vms_of_disk(new))
    bench.assert_clean()


def files(bench: Bench, archive: str, directory: Path, **options: object) -> list[str]:
    return [path for path, _ in bench.extract(archive, directory=directory, **options).files]


def test_into_files_as_it_lies(bench: Bench, vm: Vm) -> None:
    archive = bench.create(vm).archive
    directory = bench.root / "files"
    planned = files(bench, archive, directory, dry_run=True)
    assert not directory.exists()
    assert files(bench, archive, directory) == planned
    assert all(Path(path).exists() for path in planned)
    stock = bench.unpack(archive)
    mine = sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())
    theirs = sorted(path.relative_to(stock) for path in stock.rglob("*") if path.is_file())
    assert mine == theirs
    for path in (path for path in mine if path.name != "README.txt"):  # it says that step 1 is done
        same = (directory / path).read_bytes() == (stock / path).read_bytes()
        assert same, path
    with pytest.raises(RestoreBlocked, match="already holds"):
        files(bench, archive, directory)


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_into_files_joined(bench: Bench, box: Box, vm: Vm, known: Known, form: str) -> None:
    archive = bench.create(vm).archive
    directory = bench.root / "files"
    files(bench, archive, directory, flatten=True, form=form)
    for disk in box.disks(vm):
        path = directory / f"{disk.id}.{form}"
        data = path.read_bytes() if form == "raw" else guest_bytes(path)
        same = data == known.now[disk.alias]
        assert same, disk.alias
    names = {path.name for path in directory.iterdir()}
    images = {f"{disk.id}.{form}" for disk in box.disks(vm)}
    assert names == {"vm.ovf", "manifest.json", "README.txt", *images}
    told = (directory / "README.txt").read_text()
    assert "disks/" not in told
    assert all(f"  {image}   " in told for image in images)


def test_into_files_as_of_a_snapshot_and_one_disk(bench: Bench, box: Box, vm: Vm, known: Known) -> None:
    archive = bench.create(vm).archive
    directory = bench.root / "files"
    disk = box.disks(vm)[0]
    files(bench, archive, directory, flatten=True, snapshot="two", disks=(disk.alias,))
    same = (directory / f"{disk.id}.raw").read_bytes() == known.at["two", disk.alias]
    assert same
    assert len(list(directory.glob("*.raw"))) == 1
    assert json.loads((directory / "manifest.json").read_text())["mode"] == "chain"
    with pytest.raises(RestoreBlocked, match="no disk other"):
        files(bench, archive, bench.root / "none", disks=("other",))


def test_the_vm_is_gone_at_the_end(box: Box, vm: Vm) -> None:
    gone(box, vm)
    assert vm.id not in box.world.vms
