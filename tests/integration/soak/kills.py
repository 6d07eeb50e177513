"""Nine kinds of job that are killed at a random moment, and what has to be true after each kill."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

from guest import MIB, Guest
from harness import Desk
from model import hash_of
from ovirtbox.box import Box, DiskSpec
from soaking import COUNTS


class Kills:
    """One VM of images, one of chains, two repositories; a seed that decides on everything."""

    def __init__(self, box: Box, desk: Desk, seed: int) -> None:
        self.box, self.desk, self.seed = box, desk, seed
        self.chance = random.Random(seed)
        self.second = str(desk.root / "second")
        desk.borg("init", "-e", "none", self.second)
        self.image = Guest(box, f"kill{seed}", self.chance)
        self.chain = Guest(box, f"chain{seed}", self.chance, running=False)
        self.chain.snapshot()
        self.chain.write()
        self.guests = {self.image.vm.name: self.image, self.chain.vm.name: self.chain}
        self.archives: dict[str, dict[str, Guest]] = {desk.repo: {}, self.second: {}}
        """Repository -> archive -> of whom it is."""
        self.lengths: dict[str, float] = {}
        """Kind -> seconds that it takes when nobody kills it."""
        self.count = 0
        self.hits = 0
        self.told: list[str] = []
        self.create(self.image, [desk.repo, self.second])
        self.create(self.chain, [desk.repo], "--mode", "chain")
        self.kinds: list[Callable[[], None]] = [
            self.full,
            self.incremental,
            self.chains,
            self.two_repositories,
            self.extract_image,
            self.extract_chain,
            self.extract_over,
            self.prune,
            self.cleanup,
        ]

    # -- what is killed ----------------------------------------------------------------------------------

    def full(self) -> None:
        self._backup(self.image, [self.desk.repo], "--full")

    def incremental(self) -> None:
        self._backup(self.image, [self.desk.repo])

    def chains(self) -> None:
        self._backup(self.chain, [self.desk.repo], "--mode", "chain")

    def two_repositories(self) -> None:
        self._backup(self.image, [self.desk.repo, self.second])

    def extract_image(self) -> None:
        self._extract(self.image)

    def extract_chain(self) -> None:
        self._extract(self.chain)

    def extract_over(self) -> None:
        """A disk that is written over is not as before; the next try makes it whole."""
        target = self.box.make_vm(f"over{self.count}", [DiskSpec(40 * MIB)], running=False)
        archive = self._newest(self.image)
        disk_id, size = self._a_disk(self.image, archive)
        victim = self.box.disks(target)[0]
        words = ["extract", "--disk", disk_id, "--yes", "--over"]
        self.killed("extract_over", *words, victim.id, f"{self.desk.repo}::{archive}")
        self.heal()
        if victim.id not in self.box.world.disks:  # the engine removes a disk whose upload is cancelled
            victim = self.box.add_disk(target, DiskSpec(40 * MIB))
        self.desk.run(*words, victim.id, f"{self.desk.repo}::{archive}").ok()
        expected = self.image.model.archives[archive][disk_id]
        self._assert_disk(victim.id, expected, size)
        self.box.remove_vm(target)

    def prune(self) -> None:
        for _ in range(2):
            self.create(self.image, [self.desk.repo])
        words = ["prune", "--keep-last", "2", "--compact", "--no-engine", self.desk.repo]
        self.killed("prune", *words)
        self.desk.run(*words).ok()
        self._forget_what_is_gone()

    def cleanup(self) -> None:
        """Of what a killed backup or restore left."""
        if self.chance.random() < 0.5:
            self.killed("incremental", "create", f"{self.desk.repo}::{self.image.vm.name}")
        else:
            name = f"{self.desk.repo}::{self._newest(self.image)}"
            self.killed("extract_image", "extract", "--name", f"new{self.count}", name)
        self.killed("cleanup", "cleanup")
        self.heal()
        self._take_away(f"new{self.count}")
        self._adopt(self.image, [self.desk.repo])

    # -- and how -------------------------------------------------------------------------------------------

    def _backup(self, guest: Guest, repos: list[str], *options: str) -> None:
        guest.write()
        guest.write_little()
        words = [f"{repo}::{guest.vm.name}" for repo in repos]
        kind = "-".join(["create", str(len(repos)), *options])
        self.killed(kind, "create", *options, *words)
        self._adopt(guest, repos)
        guest.write_little()
        self.create(guest, repos, *options)

    def _extract(self, guest: Guest) -> None:
        name, archive = f"new{self.count}", self._newest(guest)
        words = ["extract", "--name", name, f"{self.desk.repo}::{archive}"]
        self.killed(f"extract {guest.vm.name}", *words)
        self.heal()
        if not self._take_away(name, guest, archive):
            self.desk.run(*words).ok(0, 1)
            assert self._take_away(name, guest, archive)

    def killed(self, kind: str, *words: str) -> None:
        """Run our command and kill it, all of it or its first process alone, if it does not end before."""
        if self.chance.random() < 0.5:
            self.box.inject.latency(self.chance.choice([0.02, 0.1]), "*/imagetransfers*")
        began = time.monotonic()
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            self.desk.command(*words), env=self.desk.env, stdout=quiet, stderr=quiet, start_new_session=True
        )
        moment = self.chance.uniform(0.2, self.lengths.get(kind, 6.0))
        try:
            process.wait(moment)
            self.lengths[kind] = max(time.monotonic() - began, 1.0)
            self.told.append(f"{kind} ended after {self.lengths[kind]:.1f} s")
        except subprocess.TimeoutExpired:
            if self.chance.random() < 0.7:
                os.killpg(process.pid, signal.SIGKILL)
            else:  # its workers notice by themselves
                process.kill()
            process.wait()
            self._wait_for_the_rest(process.pid)
            self.told.append(f"{kind} killed after {moment:.1f} s")
            self.hits += 1
        self.box.inject.clear()

    @staticmethod
    def _wait_for_the_rest(group: int) -> None:
        """What a worker still commits is an archive, too."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
        raise AssertionError("a worker outlives its run")

    def heal(self) -> None:
        """As `cleanup` does, when nothing that was asked for can be under way any more."""
        self.desk.run("cleanup").ok(0, 1)
        self.desk.a_day_later()

    def create(self, guest: Guest, repos: list[str], *options: str) -> None:
        words = [f"{repo}::{guest.vm.name}" for repo in repos]
        made = self.desk.run("create", "--json", "--lock-wait", "60", *options, *words).ok(0, 1).vm
        guest.model.archived(made["archive"])
        for repo in repos:
            self.archives[repo][made["archive"]] = guest
            guest.model.compare(made["archive"], repo, self.desk.env)

    def _list(self, repo: str) -> list[str]:
        return [a["name"] for a in json.loads(self.desk.borg("list", "--json", repo))["archives"]]

    def _adopt(self, guest: Guest, repos: list[str]) -> None:
        """What was committed before the kill is an archive like any other: of what the disks hold still."""
        for repo in repos:
            for name in self._list(repo):
                if name not in self.archives[repo] and ".checkpoint" not in name:
                    guest.model.archived(name)
                    self.archives[repo][name] = guest
                    guest.model.compare(name, repo, self.desk.env)

    def _forget_what_is_gone(self) -> None:
        for repo, known in self.archives.items():
            left = set(self._list(repo))
            for guest in self.guests.values():
                mine = [name for name, whose in known.items() if whose is guest]
                assert not mine or mine[-1] in left, f"the newest archive of {guest.vm.name} is gone"
            self.archives[repo] = {name: whose for name, whose in known.items() if name in left}

    def _newest(self, guest: Guest) -> str:
        return [name for name, whose in self.archives[self.desk.repo].items() if whose is guest][-1]

    def _a_disk(self, guest: Guest, archive: str) -> tuple[str, int]:
        disk_id, (size, _) = self.chance.choice(sorted(guest.model.archives[archive].items()))
        return disk_id, size

    def _take_away(self, name: str, guest: Guest | None = None, archive: str = "") -> bool:
        """A VM that was restored whole before the kill; false if there is none."""
        found = [vm for vm in self.box.world.vms.values() if vm.name == name]
        for vm in found:
            if guest is not None:
                self._assert_vm(vm.id, guest, archive)
            self.box.as_found()
            self.box.remove_vm(vm)
        return bool(found)

    def _assert_vm(self, vm_id: str, guest: Guest, archive: str) -> None:
        vm = self.box.world.vms[vm_id]
        found = {disk.alias: disk for disk in self.box.disks(vm)}
        aliases = {disk.id: disk.alias for disk in guest.disks}
        expected = guest.model.archives[archive]
        assert len(found) == len(expected), f"disks of {vm.name}"
        for disk_id, content in expected.items():
            self._assert_disk(found[aliases[disk_id]].id, content, content[0])

    def _assert_disk(self, disk_id: str, expected: tuple[int, str], size: int) -> None:
        """As QEMU reads it; a larger disk reads as zeros behind the archived one."""
        disk = self.box.world.disks[disk_id]
        path = self.desk.root / "image"
        data = self.box.read(disk, 0, disk.virtual_size)
        assert not data[size:].strip(b"\0")
        path.write_bytes(data[:size])
        assert hash_of(path) == expected, f"disk {disk.alias}"

    # -- a turn --------------------------------------------------------------------------------------------

    def _let_time_pass(self) -> None:
        """A request that was on its way when its run was killed is looked for until minutes have passed."""
        left = self.image.journals(self.desk.root)
        for path in left:
            records = [json.loads(line) for line in path.read_text().splitlines()]
            aged = [r | {"at": r["at"] - 1000} if r["op"] == "intend" else r for r in records]
            path.write_text("".join(json.dumps(record) + "\n" for record in aged))
        if left:
            self.heal()

    def turn(self, kind: Callable[[], None]) -> None:
        disks = set(self.box.world.disks)
        began, hits = time.monotonic(), self.hits
        kind()
        COUNTS[f"kills: {kind.__name__}"] += self.hits - hits
        print(f"SOAK_SEED={self.seed}: {self.told[-1]}, {time.monotonic() - began:.0f} s", flush=True)
        self._let_time_pass()
        assert self.box.clean() == [], "the engine is as it was found"
        assert set(self.box.world.disks) == disks, "and so are its disks"
        left = {path.name: path.read_text() for path in self.image.journals(self.desk.root)}
        assert left == {}, "nothing is open in a journal"
        for repo, known in self.archives.items():
            self.desk.borg("check", repo)
            assert set(self._list(repo)) == set(known), "no archive more, no archive less"
            name = self.chance.choice(sorted(known))
            compared = known[name].model.compare(name, repo, self.desk.env)
            COUNTS["MiB of archives compared with the model"] += compared >> 20
        self.count += 1
        if self.count % 9 == 0:
            words = ["prune", "--keep-last", "3", "--compact", "--no-engine", self.desk.repo, self.second]
            self.desk.run(*words).ok()
            self._forget_what_is_gone()
