"""One read, several repositories: equal archives, each on its own base; who fails is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from fan import MIB, assert_equal, beside, bytes_read, make, second, together
from harness import BIN, PASSPHRASE, Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm


def eventually(what: str, seen: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_three_repositories_take_one_read_and_then_what_changed(box: Box, desk: Desk) -> None:
    vm = make(box, "threefold")
    desks = [desk, second(desk, "blake"), second(desk, "offsite", served=True)]
    first = together(vm, desks)
    alone = desk.run("estimate", "--json", f"{second(desk, 'empty').repo}::{vm.name}").ok().json
    assert bytes_read(first) == sum(disk["to_read"] for disk in alone["disks"])
    assert [s["error"] for s in first["stored"]] == [None] * 3
    assert_equal(first, desks, vm)
    box.fill(box.disks(vm)[0], 20 * MIB, 64 << 10, seed=9)
    later = together(vm, desks, "--sample", "0")
    assert later["kind"] == "incremental"
    assert bytes_read(later) == 64 << 10
    assert_equal(later, desks, vm)
    for one in desks:
        run = one.manifest(later["archive"])["run"]
        assert run["base"]["name"] == first["archive"]
        one.borg("delete", f"{one.repo}::{first['archive']}")
        one.assert_archived(later["archive"], vm)
    assert len(box.world.checkpoints[vm.id]) == 1
    desk.assert_clean()


def test_the_oldest_checkpoint_counts_and_each_repository_keeps_its_own_base(box: Box, desk: Desk) -> None:
    vm = make(box, "apart")
    other = second(desk, "other")
    old = other.create(vm)
    box.fill(box.disks(vm)[0], 20 * MIB, 64 << 10, seed=5)
    new = desk.create(vm)
    box.fill(box.disks(vm)[0], 24 * MIB, 64 << 10, seed=6)
    made = together(vm, [desk, other], "--sample", "all")
    assert made["kind"] == "incremental"
    sampled = sum(disk["sampled"] for disk in made["disks"])
    assert sampled > 0
    assert bytes_read(made) == 128 << 10
    assert_equal(made, [desk, other], vm)
    assert desk.manifest(made["archive"])["run"]["base"]["name"] == new["archive"]
    assert other.manifest(made["archive"])["run"]["base"]["name"] == old["archive"]
    desk.assert_clean()


def test_a_new_repository_makes_a_full_read(box: Box, desk: Desk) -> None:
    vm = make(box, "grown")
    other = second(desk, "other")
    together(vm, [desk, other])
    third = second(desk, "third")
    made = together(vm, [desk, other, third])
    assert made["kind"] == "full"
    assert "first backup" in made["reason"]
    assert bytes_read(made) >= 20 * MIB
    assert_equal(made, [desk, other, third], vm)
    assert {s["repository"]: s["bytes_new"] for s in made["stored"]}[desk.repo] == 0


def test_a_bitmap_that_lies_is_caught_with_every_repositorys_own_ids(box: Box, desk: Desk) -> None:
    vm = make(box, "liar")
    desks = [desk, second(desk, "other")]
    together(vm, desks)
    disk = box.disks(vm)[0]
    box.inject.lying_bitmap(disk)
    box.write(disk, 5 * MIB, b"unseen" * 1000)
    made = together(vm, desks, "--sample", "all", code=1)
    assert any("CHANGE TRACKING IS WRONG" in warning for warning in made["warnings"])
    assert_equal(made, desks, vm)


def test_a_repository_that_is_full_is_left_behind(box: Box, desk: Desk) -> None:
    vm = make(box, "quota")
    other = second(desk, "small")
    desk.borg("config", other.repo, "storage_quota", "10M")
    made = together(vm, [desk, other], code=1)
    assert any(other.repo in warning for warning in made["warnings"])
    assert_equal(made, [desk], vm)
    assert other.archives() == []
    other.borg("check", other.repo)
    assert desk.manifest(made["archive"])["warnings"] == made["warnings"]
    desk.assert_clean()


def test_one_that_cannot_be_opened_is_left_behind(box: Box, desk: Desk) -> None:
    vm = make(box, "nowhere")
    made = together(vm, [desk, beside(desk, str(desk.root / "nothing"))], code=1)
    assert_equal(made, [desk], vm)
    desk.assert_clean()


class TrackedObject:
    """A create under way as a process that can be looked into."""

    def __init__(self, desk: Desk, vm: Vm, desks: list[Desk], *options: str) -> None:
        words = [f"{one.repo}::{vm.name}" for one in desks]
        self.process = subprocess.Popen(
            desk.command("create", "--json", *options, *words),
            env=desk.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def children(self) -> list[int]:
        """The processes of the repositories, in the order of the command line."""
        tasks = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [
            int(task) for task in tasks if b"workers.process" in Path(f"/proc/{task}/cmdline").read_bytes()
        ]

    def storing(self) -> bool:
        """Whether all repositories are open and one disk is on its way."""
        assert self.process.poll() is None, self.process.communicate()
        return len(self.children()) >= 2 and self.shared() > 0

    def shared(self) -> int:
        """Bytes of the shared memory that are in use."""
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                if "memfd:borg-ovirt" in os.readlink(descriptor):
                    return os.stat(descriptor).st_blocks * 512
        return 0


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_repository_that_stalls_is_left_behind(box: Box, desk: Desk) -> None:
    vm = make(box, "stalled", data=14 * MIB)
    other = second(desk, "slow")
    ours = TrackedObject(desk, vm, [desk, other], "--repo-stall", "3s", "--rate-limit", "8MiB")
    eventually("disks are stored", ours.storing)
    stopped = ours.children()[1]
    os.kill(stopped, signal.SIGSTOP)
    out, err = ours.process.communicate(timeout=120)
    assert ours.process.returncode == 1, err
    assert "more than 3 s" in err
    assert gone(stopped)
    (made,) = json.loads(out)["vms"]
    assert [s["archive"] is None for s in made["stored"]] == [False, True]
    assert_equal(made, [desk], vm)
    assert other.archives() == []
    after = together(vm, [desk, other])
    assert_equal(after, [desk, other], vm)
    desk.assert_clean()


def test_a_killed_parent_leaves_no_child_no_lock_and_no_archive(box: Box, desk: Desk) -> None:
    vm = make(box, "killed", data=14 * MIB)
    other = second(desk, "other")
    ours = TrackedObject(desk, vm, [desk, other], "--rate-limit", "4MiB")
    eventually("disks are stored", ours.storing)
    children = ours.children()
    ours.process.kill()
    ours.process.communicate()
    eventually("the children end", lambda: all(gone(child) for child in children))
    for one in (desk, other):
        assert not list(Path(one.repo).glob("lock.*"))
        assert one.archives() == []
    made = together(vm, [desk, other])
    assert_equal(made, [desk, other], vm)
    desk.assert_clean()


def test_no_secret_shows_in_process_lists(box: Box, desk: Desk) -> None:
    vm = make(box, "quiet", data=14 * MIB)
    other = second(desk, "other")
    config = desk.root / "config.yaml"
    (desk.root / "phrase").write_text(desk.env.pop("BORG_PASSPHRASE") + "\n")
    config.write_text(
        "repositories:\n"
        f"  here: {{location: {desk.repo}, passphrase_file: {desk.root / 'phrase'}}}\n"
        f"  there: {{location: {other.repo}, passphrase_file: {desk.root / 'phrase'}}}\n"
    )
    names = [beside(desk, "here"), beside(desk, "there")]
    ours = TrackedObject(desk, vm, names, "--config", str(config), "--rate-limit", "8MiB")
    eventually("disks are stored", ours.storing)
    children = ours.children()
    assert len(children) == 2
    for child in children:
        shown = Path(f"/proc/{child}/cmdline").read_bytes() + Path(f"/proc/{child}/environ").read_bytes()
        assert b"workers.process" in shown
        assert PASSPHRASE.encode() not in shown
    out, err = ours.process.communicate(timeout=120)
    assert ours.process.returncode == 0, err
    desk.env["BORG_PASSPHRASE"] = PASSPHRASE
    assert_equal(json.loads(out)["vms"][0], [desk, other], vm)


def test_ctrl_c_ends_all_in_order(box: Box, desk: Desk) -> None:
    vm = make(box, "interrupted", data=14 * MIB)
    other = second(desk, "other")
    ours = TrackedObject(desk, vm, [desk, other], "--rate-limit", "4MiB")
    eventually("disks are stored", ours.storing)
    children = ours.children()
    ours.process.send_signal(signal.SIGINT)
    _, err = ours.process.communicate(timeout=120)
    assert ours.process.returncode == 130, err
    assert all(gone(child) for child in children)
    assert desk.archives() == other.archives() == []
    desk.assert_clean()


def test_ctrl_c_does_not_wait_for_a_lock(box: Box, desk: Desk) -> None:
    vm = make(box, "impatient")
    other = second(desk, "other")
    held = desk.root / "held"
    holder = subprocess.Popen(
        [str(BIN / "borg"), "with-lock", other.repo, "sh", "-c", f"touch {held}; exec cat"],
        env=desk.env,
        stdin=subprocess.PIPE,
    )
    with holder:
        eventually("the lock is held", held.exists)
        ours = TrackedObject(desk, vm, [desk, other], "--lock-wait", "200")
        eventually("both wait", lambda: len(ours.children()) == 2)
        eventually("one is open", lambda: list(Path(desk.repo).glob("lock.exclusive/*")))
        children = ours.children()
        ours.process.send_signal(signal.SIGINT)
        _, err = ours.process.communicate(timeout=30)
        assert ours.process.returncode == 130, err
        assert all(gone(child) for child in children)
        assert holder.stdin is not None
        holder.stdin.close()
    made = together(vm, [desk, other])
    assert_equal(made, [desk, other], vm)


def test_memory_does_not_grow_with_the_disk(box: Box, desk: Desk) -> None:
    """The slower repository holds the read back: it is stopped and let run again."""
    vm = box.make_vm("broad", [DiskSpec(192 * MIB)], running=True)
    box.fill(box.disks(vm)[0], 0, 160 * MIB, seed=1)
    other = second(desk, "other")
    ours = TrackedObject(desk, vm, [desk, other])
    eventually("the disk is stored", ours.storing)
    slow, quick = ours.children()
    os.kill(slow, signal.SIGSTOP)
    eventually("the memory is full", lambda: ours.shared() == 32 * MIB)
    peaks = {child: anonymous(child) for child in (slow, quick, ours.process.pid)}
    before = dict(peaks)
    os.kill(slow, signal.SIGCONT)
    while ours.process.poll() is None:
        assert ours.shared() <= 32 * MIB
        for pid, peak in peaks.items():
            peaks[pid] = max(peak, anonymous(pid))
        time.sleep(0.02)
    out, err = ours.process.communicate()
    assert ours.process.returncode == 0, err
    (made,) = json.loads(out)["vms"]
    assert bytes_read(made) == 160 * MIB
    desk.assert_archived(made["archive"], vm)
    other.assert_archived(made["archive"], vm)
    for pid, peak in peaks.items():
        assert peak - before[pid] < 96 * MIB, (before, peaks)


def anonymous(pid: int) -> int:
    """Bytes of memory that are a process's own."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    return 0
