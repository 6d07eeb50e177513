"""Disks that change between the look at the VM and the instant of its backup: none is cut off or missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from chainbench import Bench, guest_bytes
from ovirtbox import attachments
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Disk, Vm

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.backup import create
from borg_ovirt.jobs.backup.create import CreateOptions

SIZE = 8 * MIB
WAYS = {
    "hybrid-up": (True, CreateOptions(cell=MIB)),
    "hybrid-down": (False, CreateOptions(cell=MIB)),
    "live": (True, CreateOptions(cell=MIB, backup_api="live")),
    "cold": (False, CreateOptions(cell=MIB, backup_api="live")),
    "chain-up": (True, CreateOptions(cell=MIB, mode="chain")),
    "chain-down": (False, CreateOptions(cell=MIB, mode="chain")),
}


@pytest.fixture
def bench(box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("BORG_BASE_DIR", str(tmp_path / "borg"))
    monkeypatch.setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
    return Bench(box, tmp_path)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Something that happens once, when the VM was looked at and its backup has not begun."""
    real = create.fetch_ovf

    def arrange(event: Callable[[], object]) -> None:
        todo = [event]

        def fetch(*arguments: object) -> bytes:
            ovf = real(*arguments)  # type: ignore[arg-type]
            while todo:
                todo.pop()()
            return ovf

        monkeypatch.setattr(create, "fetch_ovf", fetch)

    return arrange


def make(box: Box, name: str, running: bool) -> Vm:
    specs = [DiskSpec(SIZE, alias="cow", bootable=True), DiskSpec(SIZE, alias="raw", format="raw")]
    vm = box.make_vm(name, specs, running=running)
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, 0, 2 * MIB, seed=number)
    return vm


def content(bench: Bench, archive: str, disk: Disk) -> bytes:
    """A disk as stock borg takes it out of the archive."""
    root = bench.root / archive
    if not root.exists():
        root.mkdir()
        bench.borg("extract", f"{bench.repo}::{archive}", cwd=root)
    record = next(d for d in bench.manifest(archive).disks if d.id == disk.id)
    if record.layers:
        return guest_bytes(root / record.layers[-1].path)
    return (root / record.path).read_bytes()


def assert_true(bench: Bench, vm: Vm, archive: str) -> None:
    sizes = {disk.id: disk.size for disk in bench.manifest(archive).disks}
    for disk in bench.box.disks(vm):
        truth = bench.box.content(disk).read_bytes()
        same = content(bench, archive, disk) == truth
        assert same, f"{disk.alias}: {sizes[disk.id]} of {len(truth)} bytes"
        assert sizes[disk.id] == len(truth)


@pytest.mark.thin(3)
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_grows_is_not_cut_off(
    bench: Bench, box: Box, meanwhile: Callable[[Callable[[], object]], None], way: str
) -> None:
    running, options = WAYS[way]
    vm = make(box, f"grows-{way}", running)

    def grow() -> None:
        for disk in box.disks(vm):
            box.grow(disk, disk.virtual_size + 3 * MIB)
            box.fill(disk, disk.virtual_size - MIB, MIB, seed=77)

    meanwhile(grow)
    first = bench.create(vm, options)
    assert_true(bench, vm, first.archive)
    assert sum("changed while the backup began" in text for text in bench.told.steps) == 2
    meanwhile(grow)
    assert_true(bench, vm, bench.create(vm, options).archive)
    bench.assert_clean()


@pytest.mark.thin(2)
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_comes_is_told_and_one_that_goes_ends_it(
    bench: Bench, box: Box, meanwhile: Callable[[Callable[[], object]], None], way: str
) -> None:
    running, options = WAYS[way]
    vm = make(box, f"comes-{way}", running)
    meanwhile(lambda: box.add_disk(vm, DiskSpec(SIZE, alias="late", active=False)))
    result = bench.create(vm, options)
    assert [(s.alias, s.reason) for s in result.skipped] == [
        ("late", "it was attached while the backup began")
    ]
    assert any("disk late of VM" in text for text in result.warnings)
    assert {s.alias for s in bench.manifest(result.archive).skipped} == {"late"}
    late = next(disk for disk in box.disks(vm) if disk.alias == "late")
    attachment = next(a for a in vm.attachments if a.disk_id == late.id)
    before = bench.archives()
    meanwhile(lambda: attachments.detach(box.engine, vm, attachment))
    # The engine itself misses it where it was to be part of the snapshot.
    with pytest.raises(BorgOvirtError, match=r"late was detached|not attached to the VM .*: late"):
        bench.create(vm, options)
    assert bench.archives() == before
    bench.assert_clean()


@pytest.mark.thin(2)
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_moved_or_got_a_layer_is_described_as_it_is_read(
    bench: Bench, box: Box, meanwhile: Callable[[Callable[[], object]], None], way: str
) -> None:
    running, options = WAYS[way]
    vm = make(box, f"moves-{way}", False)
    raw = next(disk for disk in box.disks(vm) if disk.alias == "raw")

    def change() -> None:
        box.move(raw, "lun")
        box.snapshot(vm, "taken meanwhile")
        if running:
            box.start_vm(vm)

    meanwhile(change)
    result = bench.create(vm, options)
    assert_true(bench, vm, result.archive)
    record = next(disk for disk in bench.manifest(result.archive).disks if disk.alias == "raw")
    assert (record.format, record.storage_domain) == ("cow", "lun")
    assert any("moved to another storage domain" in text for text in bench.told.steps)
    bench.assert_clean()
