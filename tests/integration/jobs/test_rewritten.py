"""Stock borg has cut an archive of ours into other chunks: it still restores, and is no base any more."""

from __future__ import annotations

import json

import pytest
from chainbench import guest_bytes
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

CUTS = {
    "coarser": "fixed,2097152",
    "finer": "fixed,262144",
    "by content": "buzhash,10,16,13,4095",
    "shifted": "fixed,1048576,4096",
}


def make(box: Box, name: str) -> Vm:
    """Data, zeros between it, and a layer that a snapshot froze."""
    vm = box.make_vm(name, [DiskSpec(12 * MIB, alias="root")])
    (disk,) = box.disks(vm)
    for place in (0, 1, 4, 5, 9):
        box.fill(disk, place * MIB + 512, MIB - 1024, seed=place)
    box.snapshot(vm, "below")
    box.fill(disk, 10 * MIB, 64 << 10, seed=50)
    return vm


def again(box: Box, desk: Desk, vm: Vm, mode: str) -> None:
    """The next backup is a full one, plainly, and right; the one after it goes on from there."""
    (disk,) = box.disks(vm)
    box.fill(disk, 7 * MIB, 64 << 10, seed=60)
    made = desk.create(vm, "--mode", mode, "--sample", "0")
    assert made["kind"] == "full"
    assert "the last archive is not on the grid" in made["reason"] or mode == "chain"
    assert made["warnings"] == []
    if mode == "image":
        desk.assert_archived(made["archive"], vm)
    else:
        root = desk.root / made["archive"]
        root.mkdir()
        desk.borg("extract", f"{desk.repo}::{made['archive']}", cwd=root)
        (record,) = desk.manifest(made["archive"])["disks"]
        same = guest_bytes(root / record["layers"][-1]["path"]) == box.content(disk).read_bytes()
        assert same
    assert desk.create(vm, "--mode", mode)["kind"] == "incremental"


@pytest.mark.thin(2)
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("mode", ["image", "chain"])
def test_an_archive_cut_anew_is_no_base(box: Box, desk: Desk, mode: str, cut: str) -> None:
    vm = make(box, f"cut-{mode}-{cut}")
    first = desk.create(vm, "--mode", mode, "--chunk-size", "1MiB")["archive"]
    desk.borg("recreate", "--chunker-params", CUTS[cut], f"{desk.repo}::{first}")
    if mode == "image":
        desk.assert_archived(first, vm)
    run = desk.run("estimate", "--json", "--mode", mode, f"{desk.repo}::{vm.name}").ok()
    assert run.json["disks"][0]["kind"] == "full"
    assert "the last archive is not on the grid" in run.json["reason"]
    told = desk.run("estimate", "--mode", mode, f"{desk.repo}::{vm.name}").ok()
    assert "full (the last archive is not on the grid" in told.out
    again(box, desk, vm, mode)
    if mode == "image":
        told = desk.run("diff", f"{desk.repo}::{first}", desk.archives()[-1])
        assert told.code == 2
        assert "root of" in told.err
        assert "one is not on the grid of the other" in told.err
    desk.assert_clean()


@pytest.mark.parametrize("mode", ["image", "chain"])
def test_an_archive_that_went_through_tar_is_no_base(box: Box, desk: Desk, mode: str) -> None:
    vm = make(box, f"tar-{mode}")
    first = desk.create(vm, "--mode", mode, "--chunk-size", "1MiB")["archive"]
    comment = json.loads(desk.borg("info", "--json", f"{desk.repo}::{first}"))["archives"][0]["comment"]
    tar = str(desk.root / "archive.tar")
    desk.borg("export-tar", f"{desk.repo}::{first}", tar)
    desk.borg("import-tar", f"{desk.repo}::bare", tar)
    refused = desk.run("info", f"{desk.repo}::bare")
    assert refused.code == 34
    assert "import-tar" in refused.err  # it drops comments: that may be why nobody knows it
    desk.borg("delete", f"{desk.repo}::{first}")
    desk.borg("import-tar", "--comment", comment, f"{desk.repo}::{first}", tar)
    again(box, desk, vm, mode)
    desk.assert_clean()


def test_a_new_comment_alone_changes_nothing(box: Box, desk: Desk) -> None:
    vm = make(box, "commented")
    first = desk.create(vm, "--chunk-size", "1MiB")["archive"]
    desk.borg("recreate", "--compression", "zlib,1", "--recompress", "always", f"{desk.repo}::{first}")
    assert desk.create(vm)["kind"] == "incremental"
