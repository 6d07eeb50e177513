"""Restores whose requests are done though nobody hears of it: found, not made twice, and not left behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pydoc import locate

import pytest
from chainbench import Bench
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Disk, Vm
from restored import make

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.tracked.cleanup import heal

BOTH = [
    ("POST", "/disks", 1),
    ("POST", "/disks", 3),
    ("POST", "/vms", 1),
    ("POST", "/imagetransfers", 1),
    ("POST", "/imagetransfers", 3),
    ("POST", "/imagetransfers/*/finalize", 2),
    ("PUT", "/vms/*/diskattachments/*", 1),
    ("PUT", "/vms/*", 1),
    ("POST", "/vms/*/start", 1),
]
STEPS = [("image", *step) for step in BOTH] + [
    ("chain", *step) for step in [*BOTH, ("POST", "/vms/*/snapshots", 1)]
]
MAKING = [step for step in STEPS if step[1] == "POST" and "finalize" not in step[2] and step[3] == 1]


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    vm = make(box, "unheard")
    box.add_disk(vm, DiskSpec(MIB, active=False, alias="resting"))
    vm.delete_protected = True
    return vm


@pytest.fixture(scope="module")
def archives(
    box: Box, vm: Vm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bench, dict[str, str]]]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("unheard")
        patch.setenv("BORG_BASE_DIR", str(root / "borg"))
        patch.setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
        bench = Bench(box, root)
        # What a request made is there at once, here; a lock that is waited for is somebody's fault.
        bench.patience = replace(bench.patience, unclear=0.3, lock=3.0)
        yield bench, {mode: str(bench.create(vm, mode=mode).archive) for mode in ("image", "chain")}


@pytest.fixture
def victim(box: Box) -> Iterator[Disk]:
    disk = box.add_disk(None, DiskSpec(12 * MIB, alias="victim"))
    box.fill(disk, 0, 12 * MIB, seed=99)
    yield disk
    box.delete_disk(disk)


def restored(bench: Bench, box: Box, vm: Vm, archive: str) -> None:
    """All of it comes back, once."""
    truth = {disk.alias: box.content(disk).read_bytes() for disk in box.disks(vm)}
    vms, disks = set(box.world.vms), set(box.world.disks)
    bench.extract(archive, name="copy", start=True)
    copy = box.vm("copy")
    assert {disk.alias: box.content(disk).read_bytes() for disk in box.disks(copy)} == truth
    assert [a.active for a in copy.attachments] == [a.active for a in vm.attachments]
    assert copy.delete_protected
    assert set(box.world.vms) == {*vms, copy.id}
    assert set(box.world.disks) == {*disks, *(disk.id for disk in box.disks(copy))}
    copy.delete_protected = False
    box.stop_vm(copy)
    box.remove_vm(copy)
    box.as_found()
    bench.assert_clean()


@pytest.mark.thin(10)
@pytest.mark.parametrize(("mode", "method", "path", "nth"), STEPS)
def test_a_lost_answer_costs_nothing(
    box: Box, vm: Vm, archives: tuple[Bench, dict[str, str]], mode: str, method: str, path: str, nth: int
) -> None:
    bench, made = archives
    before = box.inject.hits["lose"]
    box.inject.lose(method, path, nth=nth)
    restored(bench, box, vm, made[mode])
    assert box.inject.hits["lose"] == before + 1


@pytest.mark.thin(4)
@pytest.mark.parametrize(("mode", "method", "path", "nth"), MAKING)
def test_a_page_of_the_proxy_is_no_verdict(
    box: Box, vm: Vm, archives: tuple[Bench, dict[str, str]], mode: str, method: str, path: str, nth: int
) -> None:
    """It says nothing of whether the request was done: once it was, the other times it was not."""
    bench, made = archives
    box.inject.status(method, path, 502, "html", times=2)
    box.inject.garble(method, path, 500, nth=3)
    restored(bench, box, vm, made[mode])


@pytest.mark.parametrize("mode", ["image", "chain"])
@pytest.mark.parametrize("path", ["/imagetransfers/*/cancel", "/disks/*", "/vms/*"])
def test_lost_answers_while_it_is_undone(
    box: Box, archives: tuple[Bench, dict[str, str]], mode: str, path: str
) -> None:
    bench, made = archives
    before, lost = (set(box.world.vms), set(box.world.disks)), box.inject.hits["lose"]
    if path == "/vms/*":
        box.inject.status("GET", "/vms/*/diskattachments", 400)
    else:
        box.inject.status("GET", "/imagetransfers/*", 400, nth=2)
    box.inject.lose("POST" if "transfers" in path else "DELETE", path)
    with pytest.raises(BorgOvirtError):
        bench.extract(made[mode], name="copy")
    box.inject.clear()
    assert box.inject.hits["lose"] == lost + 1
    box.wait(lambda: (set(box.world.vms), set(box.world.disks)) == before, "everything to go")
    bench.assert_clean()


@pytest.mark.parametrize("path", ["/imagetransfers", "/imagetransfers/*/finalize"])
def test_over_a_disk(
    box: Box, vm: Vm, archives: tuple[Bench, dict[str, str]], victim: Disk, path: str
) -> None:
    bench, made = archives
    box.inject.lose("POST", path)
    bench.extract(made["image"], disks=["root"], over=victim.id, yes=True)
    root = next(disk for disk in box.disks(vm) if disk.alias == "root")
    data = box.content(victim).read_bytes()
    assert data == box.content(root).read_bytes().ljust(len(data), b"\0")
    bench.assert_clean()


@pytest.mark.parametrize("killed", [False, True], ids=["failed", "killed"])
def test_a_disk_that_was_there_before_stays(
    box: Box,
    archives: tuple[Bench, dict[str, str]],
    victim: Disk,
    killed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To cancel an upload is to remove its disk, a user's too: its transfer is finalized instead."""
    bench, made = archives
    then = box.sha(victim)
    if killed:
        monkeypatch.setattr("borg_ovirt.ovirt.data.transfer.Transfer.abort", lambda self: None)
    monkeypatch.setattr("borg_ovirt.jobs.restore.fill.upload", _broken)
    with pytest.raises(RuntimeError):
        bench.extract(made["image"], disks=["root"], over=victim.id, yes=True)
    assert any("victim" in text and "--over" in text for text in bench.told.warnings)
    with bench.engine() as engine:
        assert len(heal(engine, bench.state)) == killed
    assert victim.id in box.world.disks
    assert box.sha(victim) == then
    bench.assert_clean()


def _broken(*_: object, **__: object) -> None:
    raise RuntimeError("nothing was written")


PHASES = {"stopping": 0.3, "settling": 0.6}
MOMENTS = {
    "making a disk": ("borg_ovirt.ovirt.make.disks.MadeDisk", "make"),
    "importing": ("borg_ovirt.ovirt.make.machines.MadeVm", "make"),
    "filling": ("borg_ovirt.ovirt.data.transfer.Transfer", "finalize"),
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("mode", ["image", "chain"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_the_engine_is_restarted(
    box: Box,
    vm: Vm,
    archives: tuple[Bench, dict[str, str]],
    mode: str,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers with refusals, with nothing, and then imports without disks: no verdicts."""
    bench, made = archives
    path, name = MOMENTS[moment]
    left, real = [True], getattr(locate(path), name)

    def restarting(made: object) -> None:
        if left:
            left.pop()
            box.inject.restart_engine(0.3, **PHASES)
        real(made)

    monkeypatch.setattr(f"{path}.{name}", restarting)
    restored(bench, box, vm, made[mode])
    assert not left
    box.wait(lambda: all(d.status == "active" for d in box.world.domains.values()), "the domains")
