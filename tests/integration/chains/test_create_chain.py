"""Backups of snapshot chains: what goes into the archive, what is read for it, what is left behind."""

from __future__ import annotations

from datetime import timedelta

import pytest
from chainbench import QUICK, Bench, guest_bytes, make, written
from ovirtbox import transfers
from ovirtbox.box import Box
from ovirtbox.engine import EngineCore
from ovirtbox.model import Transfer, Vm

from borg_ovirt.ovirt.facts.vm import read_snapshots
from borg_ovirt.pipe.sample import Sampling


@pytest.fixture
def vm(box: Box, request: pytest.FixtureRequest) -> Vm:
    return make(box, request.node.name.partition("[")[0][:60])


def test_every_layer_is_archived_and_the_chain_opens_as_it_lies(bench: Bench, box: Box, vm: Vm) -> None:
    truth = [box.content(disk).read_bytes() for disk in box.disks(vm)]
    at = {
        (snapshot.description, disk_id): box.content_at(snapshot, box.world.disks[disk_id]).read_bytes()
        for snapshot in vm.snapshots
        for disk_id in snapshot.images
    }
    result = bench.create(vm)
    assert (result.kind, result.method, result.warnings) == ("full", "temporary snapshot", [])
    bench.assert_clean()
    manifest = bench.manifest(result.archive)
    assert manifest.mode == "chain"
    assert [s.description for s in manifest.snapshots] == ["one", "two", "three"]
    assert [len(disk.layers) for disk in manifest.disks] == [4, 2, 1]
    assert [layer.description for layer in manifest.disks[0].layers] == ["one", "two", "three", ""]
    assert [layer.format for layer in manifest.disks[1].layers] == ["raw", "cow"]
    root = bench.unpack(result.archive)
    for disk, whole in zip(manifest.disks, truth, strict=True):
        assert guest_bytes(root / disk.layers[-1].path) == whole
        for layer in disk.layers[:-1]:
            assert guest_bytes(root / layer.path) == at[layer.description, disk.id]


def test_others_see_the_snapshots_meanwhile(
    bench: Bench, box: Box, vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two unfinished transfers of a disk the engine shows nobody the snapshots of its VM."""
    seen: list[int] = []
    start = transfers.start

    def watched(engine: EngineCore, wanted: transfers.Wanted) -> Transfer:
        made = start(engine, wanted)
        with bench.engine() as other:
            seen.append(len(read_snapshots(other, vm.id)))
        return made

    monkeypatch.setattr(transfers, "start", watched)
    bench.create(vm)
    written(box, box.disks(vm)[0], 6, "fifth")
    box.snapshot(vm, "four")
    bench.create(vm)
    assert len(seen) >= 8
    bench.assert_clean()


def test_the_second_backup_reads_only_what_is_new_or_was_on_top(bench: Bench, box: Box, vm: Vm) -> None:
    first = bench.create(vm)
    disks = box.disks(vm)
    box.snapshot(vm, "four")
    written(box, disks[0], 6, "fifth")
    second = bench.create(vm)
    assert second.kind == "incremental"
    manifest = bench.manifest(second.archive)
    reused = [[layer.reused_from for layer in disk.layers] for disk in manifest.disks]
    old = first.archive
    assert reused == [[old, old, old, None, None], [old, None, None], [None, None]]
    for outcome, disk in zip(second.disks, manifest.disks, strict=True):
        read = sum(layer.size for layer in disk.layers if layer.reused_from is None)
        assert outcome.stats.bytes_read == read
        stored = sum(layer.size for layer in disk.layers if layer.reused_from is not None)
        assert outcome.stats.bytes_reused + outcome.stats.bytes_zero == stored
    truth = [box.content(disk).read_bytes() for disk in disks]
    bench.borg("delete", f"{bench.repo}::{first.archive}")
    bench.borg("compact", bench.repo)
    bench.borg("check", "--verify-data", bench.repo)
    root = bench.unpack(second.archive)
    for disk, whole in zip(manifest.disks, truth, strict=True):
        assert guest_bytes(root / disk.layers[-1].path) == whole
    bench.assert_clean()


def test_full_reads_everything_again(bench: Bench, vm: Vm) -> None:
    bench.create(vm)
    again = bench.create(vm, full=True)
    assert (again.kind, again.reason) == ("full", "a full backup was asked for")
    layers = [x for disk in bench.manifest(again.archive).disks for x in disk.layers]
    assert {x.reused_from for x in layers} == {None}
    assert sum(o.stats.bytes_reused for o in again.disks) == 0


def test_samples_of_reused_layers_are_read_and_compared(bench: Bench, box: Box, vm: Vm) -> None:
    bench.create(vm)
    result = bench.create(vm, sampling=Sampling.parse("all"))
    assert result.kind == "incremental"
    assert [o.mismatches for o in result.disks] == [0, 0, 0]
    assert result.disks[0].sampled >= 3
    assert result.disks[1].sampled >= 1
    assert result.disks[2].sampled == 0
    bench.assert_clean()


def test_a_layer_that_changed_behind_our_back_is_read_whole_and_told_loudly(
    bench: Bench, box: Box, vm: Vm
) -> None:
    bench.create(vm)
    disk = box.disks(vm)[0]
    box.stop_vm(vm)
    base = disk.layers[0].path
    blocks = base.stat().st_blocks
    with base.open("r+b") as file:  # the same size, other bytes: no fact of the engine tells it
        data = file.read()
        place = data.index(b"firstfirst")
        file.seek(place)
        file.write(b"FIRST")
    assert base.stat().st_blocks == blocks
    result = bench.create(vm, sampling=Sampling.parse("all"))
    assert result.disks[0].mismatches == 1
    assert any("A LAYER CHANGED" in text for text in result.warnings)
    assert any("A LAYER CHANGED" in text for text in bench.told.warnings)
    manifest = bench.manifest(result.archive)
    assert {x.reused_from for x in manifest.disks[0].layers} == {None}
    assert manifest.disks[1].layers[0].reused_from is not None
    root = bench.unpack(result.archive)
    assert b"FIRSTfirst" in (root / manifest.disks[0].layers[0].path).read_bytes()
    after = bench.create(vm, QUICK)
    assert after.kind == "full"
    assert "found changed" in str(after.reason)


def test_full_every_counts_for_chains_too(bench: Bench, vm: Vm) -> None:
    bench.create(vm)
    assert bench.create(vm, full_every=timedelta(days=1)).kind == "incremental"
    overdue = bench.create(vm, full_every=timedelta(0))
    assert overdue.kind == "full"
    assert "last full read is older" in str(overdue.reason)
    assert overdue.warnings == []
