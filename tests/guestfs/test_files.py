"""Single files out of real file systems, through libguestfs: run by `make guestfs`, which needs guestfish."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box.start(tmp_path_factory.mktemp("box")) as started:
        yield started


@pytest.mark.parametrize("mode", ["image", "chain"])
def test_files_are_listed_and_copied(box: Box, tmp_path: Path, mode: str) -> None:
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / "hello").write_text("from the archive\n")
    image = tmp_path / "ext4"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(image), "16M"], check=True)
    vm = box.make_vm(f"files-{mode}", [DiskSpec(16 * MIB, alias="root", content=[(0, image.read_bytes())])])
    box.stop_vm(vm)
    desk = Desk(box, tmp_path / "desk")
    archive = f"{desk.repo}::{desk.create(vm, '--mode', mode)['archive']}"
    assert "/dev/sda: ext4" in desk.run("files", archive).ok().out
    listed = desk.run("files", f"{archive}:/etc", "--mount", "/dev/sda").ok().out
    assert "hello" in listed
    out = tmp_path / "out"
    copied = desk.run("files", f"{archive}:/etc/hello", "--mount", "/dev/sda", "--to", str(out)).ok()
    assert copied.out == f"{out}/hello\n"
    assert (out / "hello").read_text() == "from the archive\n"
    again = desk.run("files", f"{archive}:/etc/hello", "--mount", "/dev/sda", "--to", str(out))
    assert again.code == 40
    nothing = desk.run("files", f"{archive}:/etc/nothing", "--mount", "/dev/sda", "--to", str(out))
    assert nothing.code == 41
    desk.assert_clean()
