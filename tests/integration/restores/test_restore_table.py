"""Every kind of archive to every destination: what comes back, what a dry run says, what damage stops."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Disk, Vm
from restored import lose, make

MODES = ["image", "chain"]
DESTINATIONS = {
    "a VM": ["--name", "copy"],
    "one disk": ["--disk", "root"],
    "over a disk": ["--disk", "root", "--yes", "--over", "VICTIM"],
    "files": ["--to", "DIR"],
    "one file": ["--to", "DIR", "--disk", "root"],
    "qcow2 files": ["--to", "DIR", "--format", "qcow2"],
}


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return make(box, "tabled")


def desk_with(box: Box, root: Path, vm: Vm) -> tuple[Desk, dict[str, str]]:
    desk = Desk(box, root)
    return desk, {mode: desk.create(vm, "--mode", mode)["archive"] for mode in MODES}


@pytest.fixture(scope="module")
def sound(box: Box, vm: Vm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, dict[str, str]]:
    return desk_with(box, tmp_path_factory.mktemp("sound"), vm)


@pytest.fixture(scope="module")
def damaged(box: Box, vm: Vm, tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, dict[str, str]]:
    desk, archives = desk_with(box, tmp_path_factory.mktemp("damaged"), vm)
    root = next(disk for disk in box.disks(vm) if disk.alias == "root")
    for archive in archives.values():
        lose(desk, archive, root.id)
    return desk, archives


@pytest.fixture
def victim(box: Box) -> Iterator[Disk]:
    disk = box.add_disk(None, DiskSpec(12 * MIB, alias="victim"))
    box.fill(disk, 0, 12 * MIB, seed=99)
    yield disk
    box.delete_disk(disk)


def words(destination: str, directory: Path, victim: Disk) -> list[str]:
    known = {"DIR": str(directory), "VICTIM": victim.id}
    return [known.get(word, word) for word in DESTINATIONS[destination]]


class Before:
    """What a restore might touch."""

    def __init__(self, box: Box, victim: Disk, directory: Path) -> None:
        self.box, self.victim, self.directory = box, victim, directory
        self.found = self._look()

    def _look(self) -> tuple[object, ...]:
        world = self.box.world
        return set(world.disks), set(world.vms), self.box.sha(self.victim), self.directory.exists()

    def check(self) -> None:
        assert self._look() == self.found


def as_raw(path: Path) -> bytes:
    """What QEMU reads of an image or of a chain."""
    form = "qcow2" if path.read_bytes()[:4] == b"QFI\xfb" else "raw"
    out = path.with_name(path.name + ".out")
    subprocess.run(["qemu-img", "convert", "-f", form, "-O", "raw", str(path), str(out)], check=True)
    data = out.read_bytes()
    out.unlink()
    return data


@pytest.mark.thin(4)
@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_it_comes_back(
    box: Box,
    vm: Vm,
    sound: tuple[Desk, dict[str, str]],
    victim: Disk,
    tmp_path: Path,
    mode: str,
    destination: str,
) -> None:
    desk, archives = sound
    place = f"{desk.repo}::{archives[mode]}"
    truth = {disk.alias: box.content(disk).read_bytes() for disk in box.disks(vm)}
    arguments = words(destination, tmp_path / "out", victim)
    before, disks = Before(box, victim, tmp_path / "out"), set(box.world.disks)
    planned = desk.run("extract", "--dry-run", *arguments, place).ok().out
    assert planned.strip()
    before.check()
    desk.run("extract", *arguments, place).ok()
    if destination == "a VM":
        copy = box.vm("copy")
        assert {d.alias: box.content(d).read_bytes() for d in box.disks(copy)} == truth
        box.remove_vm(copy)
    elif destination == "one disk":
        (made,) = set(box.world.disks) - disks
        assert box.content(box.world.disks[made]).read_bytes() == truth["root"]
        box.delete_disk(box.world.disks[made])
    elif destination == "over a disk":
        data = box.content(victim).read_bytes()
        assert data == truth["root"].ljust(len(data), b"\0")
    else:
        names = {d.id: d.alias for d in box.disks(vm) if d.alias == "root" or destination != "one file"}
        for disk_id, alias in names.items():
            lies = mode == "chain" and destination != "qcow2 files"
            layers = desk.manifest(archives[mode])["disks"]
            top = next(d["layers"][-1]["path"] for d in layers if d["id"] == disk_id) if lies else ""
            form = "qcow2" if destination == "qcow2 files" else "raw"
            data = as_raw(tmp_path / "out" / (top or f"{disk_id}.{form}"))
            assert data == truth[alias], alias
        assert (tmp_path / "out" / "vm.ovf").read_bytes().startswith(b"<?xml")
        assert not list((tmp_path / "out").glob(".*"))
    desk.assert_clean()


@pytest.mark.thin(10)
@pytest.mark.parametrize("dry", [True, False], ids=["dry", "real"])
@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_damage_stops_it_before_anything_is_touched(
    box: Box,
    vm: Vm,
    damaged: tuple[Desk, dict[str, str]],
    victim: Disk,
    tmp_path: Path,
    mode: str,
    destination: str,
    dry: bool,
) -> None:
    desk, archives = damaged
    before = Before(box, victim, tmp_path / "out")
    arguments = [*words(destination, tmp_path / "out", victim), *(["--dry-run"] if dry else [])]
    told = desk.run("extract", *arguments, f"{desk.repo}::{archives[mode]}").ok(40)
    assert "disk root is damaged: the repository lost chunks of it" in told.out + told.err
    assert "--disk data restores what is" in told.out + told.err
    before.check()
    desk.assert_clean()


@pytest.mark.parametrize("mode", MODES)
def test_what_is_whole_of_a_damaged_archive_comes_back(
    box: Box, vm: Vm, damaged: tuple[Desk, dict[str, str]], tmp_path: Path, mode: str
) -> None:
    desk, archives = damaged
    out = tmp_path / "out"
    desk.run(
        "extract", "--to", str(out), "--format", "qcow2", "--disk", "data", f"{desk.repo}::{archives[mode]}"
    ).ok()
    data = next(disk for disk in box.disks(vm) if disk.alias == "data")
    assert as_raw(out / f"{data.id}.qcow2") == box.content(data).read_bytes()


@pytest.mark.parametrize("what", ["root", "manifest.json"])
def test_a_damaged_latest_names_the_newest_that_is_whole(box: Box, desk: Desk, vm: Vm, what: str) -> None:
    whole = desk.create(vm)["archive"]
    root = next(disk for disk in box.disks(vm) if disk.alias == "root")
    box.fill(root, 8 * MIB, MIB, seed=200 + len(what))
    latest = desk.create(vm)["archive"]
    lose(desk, latest, root.id if what == "root" else what, -1)  # what only this archive has
    for arguments in (["--dry-run"], []):
        told = desk.run("extract", "--name", "x", *arguments, f"{desk.repo}::{vm.name}").ok(40)
        assert f"The newest archive of this VM that is whole is {whole}." in told.out + told.err
    assert not any(vm.name == "x" for vm in box.world.vms.values())


def test_without_the_configuration_the_disks_can_be_saved(
    box: Box, desk: Desk, vm: Vm, tmp_path: Path
) -> None:
    archive = desk.create(vm)["archive"]
    lose(desk, archive, "vm.ovf")
    told = desk.run("extract", "--name", "x", f"{desk.repo}::{archive}").ok(40).err
    assert "the repository lost chunks of vm.ovf" in told
    assert "No other archive of this VM is whole. --disk root --disk data restores what is." in told
    out = tmp_path / "out"
    desk.run("extract", "--to", str(out), f"{desk.repo}::{archive}").ok(40)
    assert not out.exists()
    desk.run("extract", "--to", str(out), "--disk", "root", "--disk", "data", f"{desk.repo}::{archive}").ok()
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".raw", ".raw", ".txt"]
    text = (out / "README.txt").read_text()
    names = {f"{disk.id}.raw": disk.alias for disk in box.disks(vm)}
    assert all(f"  {name}   {alias}, " in text for name, alias in names.items())
    assert "disks/" not in text


CONTRADICTIONS = [
    ("--to DIR --yes", "--yes makes no sense with --to"),
    ("--to DIR --no-proof", "--no-proof makes no sense with --to"),
    ("--to DIR --writers 2", "--writers makes no sense with --to"),
    ("--to DIR --keep", "--keep makes no sense with --to"),
    ("--format qcow2", "--format goes with --to"),
    ("--format raw", "--format goes with --to"),
    ("--yes", "--yes goes with --over"),
    ("--over x", "--over goes with exactly one --disk"),
    ("--over x --disk root --start", "--start makes no sense with --over"),
    ("--over x --disk root --storage-domain lun", "--storage-domain makes no sense with --over"),
    ("--disk root --start", "--start is for a VM"),
    ("--disk root --cluster x", "--cluster is for a VM"),
]


@pytest.mark.parametrize(("arguments", "why"), CONTRADICTIONS)
def test_options_without_meaning_are_refused(
    sound: tuple[Desk, dict[str, str]], tmp_path: Path, arguments: str, why: str
) -> None:
    desk, archives = sound
    given = [word.replace("DIR", str(tmp_path / "out")) for word in arguments.split()]
    assert why in desk.run("extract", *given, f"{desk.repo}::{archives['chain']}").ok(2).err
