"""Months of nights that are proven, reported and told: three faults are planted, and each is found in time.

A chunk that is lost, a change map that lies, a VM that never succeeds. The long form, of SOAK_NIGHTS (60) and
twelve VMs, is run by `make soak`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ahead import Later
from harness import Desk, Run
from listeners import Hook, web_hook
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

DAY = 86400
SMALL = 8 * MIB


class LaterDesk(Desk):
    """A desk whose commands run at the time of the night that it is."""

    later: Later
    seconds: Counter[str]
    """What each command took, all its runs together."""

    def run(self, *arguments: str, **env: str) -> Run:
        began = time.monotonic()
        code, out, err = self.later.run("borg-ovirt", arguments, {**self.env, **env})
        self.seconds[arguments[0]] += time.monotonic() - began  # type: ignore[assignment]
        assert "Traceback" not in err, err
        return Run(code, out, err)


@dataclass
class Watch:
    """A site, its nights, and on which night each fault was planted and was told."""

    box: Box
    desk: LaterDesk
    hook: Hook
    vms: list[Vm]
    every: int
    """Nights between two proofs of an archive."""
    night: int = 0
    planted: dict[str, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    archives: dict[str, list[str]] = field(default_factory=dict)
    lost: str = ""

    def pass_one(self, plant: set[str]) -> None:
        """A day of work, and the night after it."""
        for number, vm in enumerate(self.vms[1:]):
            self.box.fill(self.box.disks(vm)[0], 4 * MIB, MIB, seed=1000 * self.night + number)
        if "lie" in plant:
            self.planted["lie"] = self.night
            disk = self.box.disks(self.vms[1])[0]
            self.box.inject.lying_bitmap(disk)
            self.box.write(disk, 512, b"unseen" * 1000)
        said = len(self.hook.got)
        made = self.desk.run("create", "--json").ok(2)  # one never succeeds
        for vm in made.json["vms"]:
            assert (vm["archive"] is None) == (vm["vm"] == self.vms[0].name), vm["error"]
            if vm["archive"]:
                self.archives.setdefault(vm["vm"], []).append(vm["archive"])
        if "lost" in plant:
            self.lose()
        self.desk.run("verify", "--json").ok(0, 1, 37)
        self.desk.run("prune").ok(0, 1)
        page = self.desk.root / "report.html"
        report = self.desk.run("report", "--json", "--html", str(page)).ok(1)
        self.look(report, self.hook.got[said:])
        assert self.box.clean() == []
        spent = ", ".join(f"{name} {span:.0f} s" for name, span in self.desk.seconds.items())
        print(f"night {self.night}: {len(report.json['vms'])} VMs; so far {spent}", flush=True)
        self.night += 1
        self.desk.later.seconds += DAY
        self.box.shift(days=1)

    def lose(self) -> None:
        """A chunk of an older archive that no newer one holds: nothing but a proof of that one can tell."""
        self.planted["lost"] = self.night
        self.lost, newer = self.archives[self.vms[2].name][-2:]
        own = set(self.chunks(self.lost)) - set(self.chunks(newer))
        self.desk.borg("debug", "delete-obj", self.desk.repo, own.pop())

    def chunks(self, archive: str) -> list[str]:
        dump = self.desk.root / "dump"
        dump.unlink(missing_ok=True)
        self.desk.borg("debug", "dump-archive", f"{self.desk.repo}::{archive}", str(dump))
        items = json.loads(dump.read_text())["_items"]
        (disk,) = (item for item in items if item["path"].startswith("disks/"))
        return [chunk[0].strip("\x7f") for chunk in disk["chunks"]]

    def look(self, report: Run, messages: list[dict[str, Any]]) -> None:
        """What people were told this night, and what the report shows."""
        assert [m["title"].split()[1] for m in messages] == ["create", "verify", "prune"]
        texts = "\n".join(message["message"] for message in messages)
        signs = {
            "never": f"{self.vms[0].name}: failed: ",
            "lie": rf"{self.vms[1].name}: .*THE CHANGE TRACKING IS WRONG",
            "lost": f"{self.lost} failed its proof",
        }
        for fault, sign in signs.items():
            if fault in self.planted and re.search(sign, texts):
                self.told.setdefault(fault, self.night)
        shown = {"never": "no backup", "lost": f"{self.lost} failed its proof" if self.lost else "?"}
        for fault, sign in shown.items():
            if sign in report.out:
                self.shown.setdefault(fault, self.night)

    def verify_all(self) -> None:
        """In the end every VM but the one that never succeeded has an archive of what its disk held."""
        lines = {line["vm"]: line for line in self.desk.run("vms", "--json").ok(1).json["vms"]}
        assert lines.pop(self.vms[0].name)["verdict"] == "no backup"
        assert {line["verdict"] for line in lines.values()} == {"ok"}
        for vm in self.vms[1:]:
            self.desk.assert_archived(self.archives[vm.name][-1], vm)
        self.desk.borg("check", "--repository-only", self.desk.repo)


@contextmanager
def site(box: Box, root: Path, count: int, every: int) -> Iterator[Watch]:
    desk = LaterDesk(box, root)
    desk.later, desk.seconds = Later(), Counter()
    with web_hook() as hook:
        vms = [box.make_vm(f"vm{n:02}", [DiskSpec(SMALL)], running=n % 2 == 1) for n in range(count)]
        for number, vm in enumerate(vms):
            box.fill(box.disks(vm)[0], 0, 2 * MIB, seed=number)
        box.disks(vms[0])[0].layers[-1].path.unlink()
        config = {
            "repositories": {"local": {"location": desk.repo}},
            "policy": {
                "max_age": "26h",
                "max_proof_age": f"{every + 1}d",
                "verify": {"level": "data", "every": f"{every}d"},
            },
            "retention": {"daily": 2 * every},
            "notify": [{"url": hook.url, "when": ["always"]}],
        }
        path = desk.root / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        desk.env["BORG_OVIRT_CONFIG"] = str(path)
        try:
            yield Watch(box, desk, hook, vms, every, planted={"never": 0})
        finally:
            desk.later.close()


def nights(box: Box, root: Path, count: int, length: int, every: int, plans: dict[int, set[str]]) -> Watch:
    began = time.monotonic()
    with site(box, root, count, every) as watch:
        for night in range(length):
            watch.pass_one(plans.get(night, set()))
        watch.verify_all()
    took = time.monotonic() - began
    print(f"{length} nights, {count} VMs, {took:.0f} s; planted {watch.planted}, told {watch.told}, ", end="")
    print(f"shown {watch.shown}; {len(watch.hook.got)} messages, {len(watch.desk.archives())} archives left")
    assert set(watch.told) == {"never", "lie", "lost"}
    assert watch.told["never"] == watch.shown["never"] == 0
    assert watch.told["lie"] == watch.planted["lie"]
    assert watch.told["lost"] - watch.planted["lost"] <= every
    assert watch.shown["lost"] == watch.told["lost"]
    return watch


def test_three_nights(box: Box, tmp_path: Path) -> None:
    nights(box, tmp_path, 3, 3, 1, {1: {"lie", "lost"}})


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_two_months(box: Box, tmp_path: Path) -> None:
    length = int(os.environ.get("SOAK_NIGHTS") or 60)
    nights(box, tmp_path, 12, length, 7, {length // 3: {"lost"}, length // 2: {"lie"}})
