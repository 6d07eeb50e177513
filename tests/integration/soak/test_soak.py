"""Random nights and random kills: whatever happens, every archive holds what the disks held.

The seed is printed and can be replayed: `SOAK_SEED=123 pytest -m soak -k nights`. `make soak` runs the long
form, of SOAK_MINUTES in all.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

import pytest
from guest import Guest
from harness import Desk
from kills import Kills
from ovirtbox.box import Box
from soaking import COUNTS, Span, seconds, seed

CUTS = ("fixed,2097152", "fixed,65536", "buzhash,10,16,13,4095", "fixed,1048576,4096")


class Nights:
    """One VM, two repositories, and a seed that decides on everything."""

    def __init__(self, box: Box, desk: Desk, seed: int) -> None:
        self.box, self.desk, self.seed = box, desk, seed
        self.chance = random.Random(seed)
        self.guest = Guest(box, f"soak{seed}", self.chance)
        self.model = self.guest.model
        self.repos = [desk.repo, str(desk.root / "second")]
        desk.borg("init", "-e", "none", self.repos[1])
        self.held: dict[str, list[str]] = {repo: [] for repo in self.repos}
        """Repository -> its archives that are whole, oldest first."""
        self.damaged: set[tuple[str, str]] = set()
        self.told: list[str] = []
        self.compared = 0

    # -- what may happen to a repository -----------------------------------------------------------------

    def delete(self) -> None:
        """Stock borg takes one out of the middle."""
        repo = self.chance.choice(self.repos)
        if len(self.held[repo]) > 1:
            victim = self.held[repo].pop(self.chance.randrange(len(self.held[repo])))
            self.desk.borg("delete", f"{repo}::{victim}")
            self.desk.borg("compact", "--threshold", "0", repo)

    def rename(self) -> None:
        repo = self.chance.choice(self.repos)
        if self.held[repo]:
            place = self.chance.randrange(len(self.held[repo]))
            old, new = self.held[repo][place], f"renamed-{self.chance.randrange(1 << 30)}"
            self.desk.borg("rename", f"{repo}::{old}", new)
            self.held[repo][place] = new
            self.model.archives[new] = self.model.archives[old]
            if (repo, old) in self.damaged:
                self.damaged.add((repo, new))

    def recreate(self) -> None:
        """Stock borg cuts the newest one anew."""
        repo = self.chance.choice(self.repos)
        if self.held[repo]:
            cut = self.chance.choice(CUTS)
            self.desk.borg("recreate", "--chunker-params", cut, f"{repo}::{self.held[repo][-1]}")

    def damage(self) -> None:
        """A chunk of the newest one is lost; sometimes `borg check --repair` puts zeros in its place."""
        repo = self.chance.choice(self.repos)
        if len(self.held[repo]) < 2:
            return
        newest = self.held[repo][-1]
        dump = self.desk.root / "dump.json"
        dump.unlink(missing_ok=True)
        self.desk.borg("debug", "dump-archive", f"{repo}::{newest}", str(dump))
        items = [i for i in json.loads(dump.read_text())["_items"] if i["path"].startswith("disks/")]
        chunks = [chunk[0] for item in items for chunk in item.get("chunks", ())]
        if not chunks:
            return
        lost = self.chance.choice(chunks).lstrip("\x7f")
        self.desk.borg("debug", "delete-obj", repo, lost)
        for name in self.held[repo]:
            dump.unlink(missing_ok=True)
            self.desk.borg("debug", "dump-archive", f"{repo}::{name}", str(dump))
            if lost in dump.read_text():
                self.damaged.add((repo, name))
        if self.chance.random() < 0.5:
            self.desk.borg("check", "--repair", repo)

    def prune(self) -> None:
        """Our own: what is newest and whole stays, whatever the rule."""
        repo = self.chance.choice(self.repos)
        whole = [name for name in self.held[repo] if (repo, name) not in self.damaged]
        keep = str(self.chance.randint(1, 3))
        self.desk.run("prune", "--keep-last", keep, "--no-engine", "--compact", repo).ok(0, 1)
        left = self._archives(repo)
        assert not whole or whole[-1] in left, "the newest archive that can be restored was removed"
        self.held[repo] = [name for name in self.held[repo] if name in left]

    def _archives(self, repo: str) -> set[str]:
        return {a["name"] for a in json.loads(self.desk.borg("list", "--json", repo))["archives"]}

    # -- the nights ------------------------------------------------------------------------------------

    def night(self) -> None:
        self.told += self.guest.live(self.chance.randint(1, 6))
        what: list[Callable[[], None]] = [self.delete, self.rename, self.recreate, self.damage, self.prune]
        for step in self.chance.choices(what, [3, 2, 1, 1, 3], k=self.chance.choice([0, 0, 1, 2])):
            self.told.append(step.__name__)
            step()
        options = ["--mode", self.chance.choice(["image", "image", "image", "chain"])]
        if self.chance.random() < 0.15:
            options.append("--full")
        if self.chance.random() < 0.4:
            options += ["--backup-api", "live"]
        repos = self.chance.choice([self.repos[:1]] * 4 + [self.repos[1:], self.repos, self.repos])
        words = [f"{repo}::{self.guest.vm.name}" for repo in repos]
        self.told.append(f"create {' '.join(options)} into {len(repos)}")
        made = self.desk.run("create", "--json", *options, *words).ok(0, 1).vm
        self.told[-1] += f" -> {made['kind']}"
        self.model.archived(made["archive"])
        for repo in repos:
            self.held[repo].append(made["archive"])
            # What this backup stored again may have made older archives whole.
            others = [n for n in self.held[repo][:-1] if (repo, n) not in self.damaged]
            for name in [made["archive"], *self.chance.sample(others, min(1, len(others)))]:
                self.compared += self.model.compare(name, repo, self.desk.env)
        assert self.box.clean() == []
        assert not self.guest.journals(self.desk.root)

    def run(self, span: Span, most: int = 1 << 30) -> None:
        began = time.monotonic()
        try:
            while span.another() and span.turns <= most:
                self.night()
            for repo in self.repos:
                if not any(where == repo for where, _ in self.damaged):
                    self.desk.borg("check", "--verify-data", repo)
                for name in self.held[repo]:
                    if (repo, name) not in self.damaged:
                        self.compared += self.model.compare(name, repo, self.desk.env)
        finally:
            nights = [word for word in self.told if word.startswith("create")]
            short = sum("incremental" in night for night in nights)
            print(
                f"SOAK_SEED={self.seed}: {len(nights)} nights, {short} incremental, "
                f"{self.compared >> 20} MiB compared, {time.monotonic() - began:.0f} s"
            )
            print(" / ".join(self.told[-60:]))
            COUNTS["random nights"] += len(nights)
            COUNTS["of them incremental"] += short
            COUNTS["MiB of archives compared with the model"] += self.compared >> 20


def test_a_few_random_nights(box: Box, desk: Desk) -> None:
    desk.env["BORG_CHECK_I_KNOW_WHAT_I_AM_DOING"] = "YES"
    Nights(box, desk, seed()).run(Span(60), 3)
    desk.assert_clean()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_random_nights(box: Box, desk: Desk) -> None:
    desk.env["BORG_CHECK_I_KNOW_WHAT_I_AM_DOING"] = "YES"
    Nights(box, desk, seed()).run(Span(seconds("nights")))
    desk.assert_clean()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_kills_at_random_moments(box: Box, desk: Desk) -> None:
    """Nine kinds of job in turn: healed by the next run, the engine as found, the repository sound."""
    kills = Kills(box, desk, seed())
    span = Span(seconds("kills"))
    try:
        while span.another():
            for kind in kills.kinds:
                if span.turns > 1 and span.over:
                    break
                kills.turn(kind)
        for repo in kills.archives:
            desk.borg("check", "--verify-data", repo)
    finally:
        last = ", ".join(kills.told[-9:])
        print(f"SOAK_SEED={kills.seed}: {kills.count} turns, {kills.hits} kills; the last: {last}")
    desk.assert_clean()
