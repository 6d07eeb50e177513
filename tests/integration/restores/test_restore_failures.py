"""A restore that fails, is interrupted or killed: nothing is left, or it is told, and the next goes on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chainbench import Bench
from harness import Desk
from ovirtbox.box import Box
from ovirtbox.model import Vm
from restored import make

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import BorgOvirtError, ConfigError, RepositoryError, RestoreFailed
from borg_ovirt.ovirt.tracked.cleanup import heal
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.repository.reader import DiskContent


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    return make(box, "fragile")


def objects(box: Box) -> tuple[set[str], set[str]]:
    return set(box.world.vms), set(box.world.disks)


# -- into files ------------------------------------------------------------------------------------------


class RotAt:
    """The archive fails at the nth item that is read."""

    def __init__(self, nth: int, error: BaseException) -> None:
        self.left, self.error = nth, error
        self.real = DiskContent.fetch

    def __call__(self, content: DiskContent, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        self.left -= 1
        if self.left == 0:
            raise self.error
        yield from self.real(content, chunks)


@pytest.mark.thin(4)
@pytest.mark.parametrize("form", ["raw", "qcow2"])
@pytest.mark.parametrize("exists", [False, True], ids=["new", "existing"])
@pytest.mark.parametrize("error", [RepositoryError("rotten"), KeyboardInterrupt()], ids=["rot", "Ctrl-C"])
def test_files_that_fail_leave_nothing_and_the_next_try_goes_on(
    bench: Bench, vm: Vm, monkeypatch: pytest.MonkeyPatch, form: str, exists: bool, error: BaseException
) -> None:
    archive = bench.create(vm).archive
    directory = bench.root / "deep" / "out"
    if exists:
        directory.mkdir(parents=True)
        (directory / "mine").write_text("stays")
    layers = sum(len(disk.layers) for disk in bench.manifest(archive).disks)
    headers = sum(x.format == "cow" for disk in bench.manifest(archive).disks for x in disk.layers)
    rot = RotAt(headers + layers, error)
    with monkeypatch.context() as patch:
        patch.setattr(DiskContent, "fetch", lambda content, chunks: rot(content, chunks))
        with pytest.raises(type(error)):
            bench.extract(archive, directory=directory, form=form)
    if exists:
        assert [path.name for path in directory.iterdir()] == ["mine"]
    else:
        assert not (bench.root / "deep").exists()
    result = bench.extract(archive, directory=directory, form=form)
    assert all(Path(path).exists() for path, _ in result.files)


@pytest.mark.parametrize("nth", [1, 2, 4])
def test_names_that_cannot_be_given_are_taken_back(
    bench: Bench, vm: Vm, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    archive = bench.create(vm).archive
    real, calls = os.rename, []

    def rename(old: Any, new: Any) -> None:
        calls.append(new)
        if len(calls) == nth:
            raise OSError(errno.EIO, "Input/output error")
        real(old, new)

    monkeypatch.setattr("borg_ovirt.jobs.restore.into_files.os.rename", rename)
    with pytest.raises(RestoreFailed, match=r"Cannot write into .*Input/output error"):
        bench.extract(archive, directory=bench.root / "out")
    assert len(calls) == nth
    assert not (bench.root / "out").exists()


def test_what_came_meanwhile_is_not_overwritten(
    bench: Bench, vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = bench.create(vm).archive
    out = bench.root / "out"
    real = DiskContent.fetch

    def fetch(content: DiskContent, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        if out.exists():
            (out / "vm.ovf").write_text("somebody else's")
        return real(content, chunks)

    monkeypatch.setattr(DiskContent, "fetch", fetch)
    with pytest.raises(RestoreFailed, match="came to be meanwhile"):
        bench.extract(archive, directory=out)
    assert [path.name for path in out.iterdir()] == ["vm.ovf"]
    assert (out / "vm.ovf").read_text() == "somebody else's"


def test_what_a_killed_one_left_is_in_nobodys_way(bench: Bench, vm: Vm) -> None:
    archive = bench.create(vm).archive
    left = bench.root / "out" / ".borg-ovirt-killed"
    (left / "disks").mkdir(parents=True)
    plan = bench.extract(archive, directory=left.parent, dry_run=True).plan
    assert any(".borg-ovirt-killed was left" in line for line in plan.lines())
    bench.extract(archive, directory=left.parent)


# -- into oVirt ------------------------------------------------------------------------------------------


class Command:
    """Our command as a process that gets signals."""

    def __init__(self, desk: Desk, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "borg_ovirt", *arguments],
            env=desk.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def when(self, condition: Callable[[], bool], number: int) -> tuple[int, str]:
        """Send the signal once that is so; exit status and output."""
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=120)
        return self.process.returncode, out


@pytest.mark.thin(2)
@pytest.mark.parametrize("mode", ["image", "chain"])
@pytest.mark.parametrize("what", ["disks", "vms"])
def test_ctrl_c_while_something_is_being_made_leaves_nothing(
    box: Box, desk: Desk, vm: Vm, mode: str, what: str
) -> None:
    """The engine carries the request out after we have gone away from it."""
    archive = desk.create(vm, "--mode", mode)["archive"]
    before, seen = objects(box), box.inject.hits["latency"]
    box.inject.latency(1.0, f"/{what}", "POST", times=1)
    command = Command(desk, "extract", "--name", "copy", f"{desk.repo}::{archive}")
    code, out = command.when(lambda: box.inject.hits["latency"] > seen, signal.SIGINT)
    assert code == 130, out
    assert "removing" in out
    box.wait(lambda: objects(box) == before, "everything to go")
    desk.assert_clean()


@pytest.mark.thin(1)
@pytest.mark.parametrize("mode", ["image", "chain"])
def test_delete_protection_is_the_last_step(box: Box, desk: Desk, vm: Vm, mode: str) -> None:
    vm.delete_protected = True
    try:
        archive = desk.create(vm, "--mode", mode)["archive"]
    finally:
        vm.delete_protected = False
    before = objects(box)
    place = f"{desk.repo}::{archive}"
    box.inject.status("GET", "/vms/*/diskattachments", 400)
    desk.run("extract", "--name", "copy", place).ok(16)
    box.wait(lambda: objects(box) == before, "everything to go")
    desk.assert_clean()
    box.inject.latency(0.5, "/vms/*/diskattachments", "GET")
    command = Command(desk, "extract", "--name", "copy", place)
    command.when(lambda: len(box.world.vms) > len(before[0]), signal.SIGKILL)
    box.inject.clear()
    desk.run("cleanup").ok()
    box.wait(lambda: objects(box) == before, "everything to go")
    box.inject.status("PUT", "/vms/*", 409, detail="[no]")
    told = desk.run("extract", "--name", "bare", place).ok(1)
    assert "VM bare is restored, but not protected from deletion" in told.err
    desk.run("extract", "--name", "copy", place).ok()
    for name, protected in (("bare", False), ("copy", True)):
        made = box.vm(name)
        assert made.delete_protected is protected
        made.delete_protected = False
        box.remove_vm(made)
    box.as_found()
    desk.assert_clean()


def test_a_full_state_directory_stops_no_unwinding(
    bench: Bench, box: Box, vm: Vm, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = bench.create(vm).archive
    before = objects(box)
    real, full = Journal.write, []

    def write(journal: Journal, record: dict[str, Any]) -> None:
        if record["op"] == "intend" and record["kind"] == "transfer":
            full.append(True)
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(journal, record)

    monkeypatch.setattr(Journal, "write", write)
    with pytest.raises(ConfigError, match=r"state directory .* cannot be written: No space left"):
        bench.extract(archive, name="copy")
    assert objects(box) == before
    assert bench.told.warnings == []
    monkeypatch.setattr(Journal, "write", real)
    assert box.clean() == []


def test_one_that_cannot_be_removed_stops_no_other(bench: Bench, box: Box, vm: Vm) -> None:
    archive = bench.create(vm).archive
    before = objects(box)
    box.inject.status("POST", "/imagetransfers", 400)
    box.inject.status("DELETE", "/vms/*", 403)
    with pytest.raises(BorgOvirtError):
        bench.extract(archive, name="copy")
    assert len(objects(box)[0]) == len(before[0]) + 1
    assert any("VM copy could not be removed" in text for text in bench.told.warnings)
    box.inject.clear()
    with bench.engine() as engine:
        heal(engine, bench.state)
    box.wait(lambda: objects(box) == before, "everything to go")
    bench.assert_clean()


def test_a_disk_that_vanishes_is_no_obstacle_for_cleanup(bench: Bench, box: Box, vm: Vm) -> None:
    archive = bench.create(vm).archive
    before = objects(box)
    box.inject.status("POST", "/imagetransfers", 400)
    box.inject.status("DELETE", "*", 403, times=99)
    with pytest.raises(BorgOvirtError):
        bench.extract(archive, name="copy")
    box.inject.clear()
    copy = box.vm("copy")
    for disk in box.disks(copy):
        box.inject.status("GET", f"/disks/{disk.id}", 404, times=1)
    told: list[str] = []
    with bench.engine() as engine:
        heal(engine, bench.state, told.append)
    assert not [text for text in told if "could not" in text]
    box.wait(lambda: objects(box) == before, "everything to go")
    bench.assert_clean()
