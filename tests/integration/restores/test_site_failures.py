"""A site of which not all comes back: each VM fails for itself, a rerun goes on, Ctrl-C leaves nothing."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from harness import Desk
from ovirtbox.box import MIB, Box, DiskSpec
from restored import lose

NAMES = ("one", "two", "three")


@pytest.fixture
def lost_site(box: Box, desk: Desk) -> Iterator[dict[str, str]]:
    """Three VMs that are in archives only; their archives."""
    archives = {}
    for number, name in enumerate(NAMES):
        vm = box.make_vm(name, [DiskSpec(8 * MIB)], running=False)
        box.fill(box.disks(vm)[0], 0, 4 * MIB, seed=number + 50)
        archives[name] = desk.create(vm)["archive"]
    for vm in list(box.world.vms.values()):
        box.remove_vm(vm)
    yield archives
    box.inject.clear()
    for vm in list(box.world.vms.values()):
        box.remove_vm(vm)


def test_one_that_fails_holds_up_no_other_and_a_rerun_goes_on(
    box: Box, desk: Desk, lost_site: dict[str, str]
) -> None:
    lose(desk, lost_site["three"], "disks/")
    box.inject.status("POST", "/vms", 409, detail="[no]")
    ran = desk.run("extract", "--all", "--json", desk.repo).ok(16, 40)
    told = ran.json
    assert set(told["failed"]) == {"three", *(name for name in ("one", "two") if name not in there(box))}
    assert "is damaged" in told["failed"]["three"]
    assert len(told["restored"]) == len(there(box)) == 1
    desk.assert_clean()
    again = desk.run("extract", "--all", desk.repo).ok(40)
    assert there(box) == {"one", "two"}
    assert "1 VMs restored, 1 skipped, 1 failed" in again.out
    narrowed = desk.run("extract", "--all", "--vm", "o*", "--max-age", "1h", desk.repo).ok()
    assert "0 VMs restored, 1 skipped" in narrowed.out
    desk.assert_clean()


def there(box: Box) -> set[str]:
    return {vm.name for vm in box.world.vms.values()}


def test_ctrl_c_leaves_nothing(box: Box, desk: Desk, lost_site: dict[str, str]) -> None:
    disks = set(box.world.disks)
    box.inject.latency(1.0, "/imagetransfers", "POST", times=2)
    process = subprocess.Popen(
        desk.command("extract", "--all", desk.repo),
        env=desk.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(box.world.disks) < len(disks) + 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    box.wait(lambda: set(box.world.disks) == disks and not box.world.vms, "everything to go")
    desk.assert_clean()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--all", "REPO::x"], "name REPO alone"),
        (["--all", "--name", "x", "REPO"], "--name is for one VM"),
        (["--all", "--disk", "x", "REPO"], "--disk is for one VM"),
        (["--vm", "x", "REPO::x"], "--vm and --max-age go with --all"),
        (["REPO"], "names a repository but nothing in it"),
        (["--attach", "x", "REPO::x"], "--attach goes with --disk"),
        (["--network", "x", "REPO::x"], "x is not OLD=NEW"),
        (["--disk", "a", "--nics-off", "REPO::x"], "--nics-off is for a VM"),
        (["--to", "d", "--no-tags", "REPO::x"], "--no-tags makes no sense with --to"),
        (["--all", "--vm", "nobody", "REPO"], "holds no archive of such a VM"),
    ],
)
def test_words_that_make_no_sense(desk: Desk, words: list[str], why: str) -> None:
    ran = desk.run("extract", *(word.replace("REPO", desk.repo) for word in words))
    assert ran.code != 0
    assert why in ran.err
