"""What is tried in each cluster, each under its name; one that cannot be tried says why."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from borg_ovirt.jobs.selftest.known import KnownDisk
from borg_ovirt.jobs.selftest.place import TestPlace
from borg_ovirt.ovirt.facts.vm import vm_status
from live.stage import Failed, Stage

HYBRID = (4, 7)


class NotTried(Exception):
    """It cannot be tried here."""


@dataclass
class Trial:
    """One cluster: a VM of ours in it, and what its disk holds by now."""

    stage: Stage
    place: TestPlace
    name: str = ""
    vm_id: str = ""
    disk_id: str = ""
    known: KnownDisk = field(default_factory=lambda: KnownDisk.of("live"))
    rounds: int = 0

    def all(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """The tries in their order: each may build on those before, and makes what it needs without them."""
        yield "selftest (VM down, the engine's own way)", self.selftest
        yield "VM down, cold backup, then what changed", self.cold
        yield "VM up, hybrid backup, then what changed", self.hybrid
        yield "VM up, live backup, then what changed", self.live
        yield "VM up, chain, then what changed", self.chain_up
        yield "VM down, chain of a snapshot, then again", self.chain
        yield "a kill, and the healing", self.kill
        yield "restore beside", self.beside
        yield "restore as the original", self.original
        yield "the documented role", self.role

    # -- backups -----------------------------------------------------------------------------------------

    def selftest(self) -> str:
        place = ("--cluster", self.place.cluster.id, "--storage-domain", self.place.domain.id)
        told = self.stage.run("selftest", "--json", *place, codes=(0, 1))
        steps = {step["what"]: step["note"] for step in json.loads(told)["steps"]}
        return f"{steps['full backup']}; {steps['incremental backup']}"

    def cold(self) -> str:
        self._vm()
        return self._twice(self._change_down, "--backup-api", "live", way="cold")

    def hybrid(self) -> str:
        if self.place.cluster.level < HYBRID:
            raise NotTried("the engine makes such backups from level 4.7 on")
        self._up()
        return self._twice(self._change_up, way="hybrid", config=self.stage.always_hybrid)

    def live(self) -> str:
        self._up()
        return self._twice(self._change_up, "--backup-api", "live", way="live")

    def chain_up(self) -> str:
        """By a snapshot of the running VM, merged again; the latest state of each is what was written."""
        self._up()
        told = []
        for number in range(2):
            if number:
                self._change_up()
            one = self.stage.create(self.name, "--mode", "chain")
            self.stage.compare_flattened(one["archive"], self.known)
            told.append(one["kind"])
        return ", then ".join(told)

    def chain(self) -> str:
        stage = self.stage
        self._down()
        stage.snapshot(self.vm_id)
        self._change_down()
        first = stage.create(self.name, "--mode", "chain")
        second = stage.create(self.name, "--mode", "chain")
        stage.run(
            "extract", "--name", f"{self.name}-chain", f"{stage.repo}::{second['archive']}", codes=(0, 1)
        )
        stage.compare(stage.adopt(f"{self.name}-chain"), self.known)
        return f"{first['kind']}, then {second['kind']}; restored with its snapshot, the same"

    def kill(self) -> str:
        """The run dies while it reads; `cleanup` ends what it left, and the next run goes on as ever."""
        self._vm()
        stage, before = self.stage, self._busy()
        words = stage.command("create", "--full", f"{stage.repo}::{self.name}")
        with subprocess.Popen(
            words, env=stage.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while self._busy() == before and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
        if process.returncode != -signal.SIGKILL:
            raise Failed("the run ended before it could be killed while it read")
        stage.borg("break-lock", stage.repo)
        deadline = time.monotonic() + 600
        while (
            json.loads(stage.run("cleanup", "--json", codes=(0, 1)))["left"] and time.monotonic() < deadline
        ):
            time.sleep(5)
        left = json.loads(stage.run("cleanup", "--json", "--dry-run", codes=(0, 1)))["found"]
        if ours := [line["what"] for line in left if line["journalled"]]:
            raise Failed(f"cleanup leaves {', '.join(ours)}")
        told = stage.create(self.name)
        stage.compare_archive(told["archive"], self.disk_id, self.known)
        return f"killed while it read; healed; the next run was {told['kind']}"

    # -- restores ----------------------------------------------------------------------------------------

    def beside(self) -> str:
        self._down()
        stage, name = self.stage, f"{self.name}-beside"
        archive = stage.create(self.name)["archive"]
        stage.run("extract", "--name", name, f"{stage.repo}::{archive}", codes=(0, 1))
        stage.compare(stage.adopt(name), self.known)
        return "every byte is the same"

    def original(self) -> str:
        stage = self.stage
        self._down()
        archive = stage.create(self.name)["archive"]
        stage.remove(self.vm_id)
        stage.run("extract", f"{stage.repo}::{archive}", codes=(0, 1))
        if stage.adopt(self.name) != self.disk_id:
            raise Failed("the disk came back under another id")
        stage.compare(self.disk_id, self.known)
        return "under its old ids, every byte is the same"

    def role(self) -> str:
        """The user is given: no engine makes one over its API."""
        stage, role = self.stage, self.stage.settings.role
        if role is None:
            raise NotTried("LIVE_ROLE_USER names no user with that role, and the API makes none")
        self._vm()
        env = {"BORG_OVIRT_USERNAME": role[0], "BORG_OVIRT_PASSWORD_FILE": str(role[1])}
        found = json.loads(stage.run("doctor", "--rights", "--json", codes=(0, 1, 2), **env))["findings"]
        missing = [line["text"] for line in found if line["about"] == "right" and line["status"] != "ok"]
        if missing:
            raise Failed("; ".join(missing))
        stage.run("create", f"{stage.repo}::{self.name}", codes=(0, 1), **env)
        return "each right proven, and a backup made"

    # -- steps -------------------------------------------------------------------------------------------

    def _vm(self) -> None:
        if not self.vm_id:
            self.name, self.vm_id, self.disk_id = self.stage.make_vm(self.place, self.known)

    def _twice(self, change: Callable[[], None], *options: str, way: str, config: str | None = None) -> str:
        """A full backup, some changes, another backup: each archive is what was written.

        `config` is another configuration file for both.
        """
        told = []
        for number in range(2):
            if number:
                change()
            one = self.stage.create(self.name, *options, *(() if number else ("--full",)), config=config)
            if way not in one["way"]:
                raise Failed(f"it was a {one['way']}, not {way}")
            self.stage.compare_archive(one["archive"], self.disk_id, self.known)
            told.append(f"{one['kind']} ({one['way']})")
        if not told[1].startswith("incremental"):
            raise Failed(f"the second read everything: {one['reason']}")
        return ", then ".join(told)

    def _up(self) -> None:
        self._vm()
        if vm_status(self.stage.engine, self.vm_id) != "up":
            self.stage.start(self.vm_id, self.name)

    def _next(self) -> KnownDisk:
        self.rounds += 1
        return self.known.changed(f"round {self.rounds}")

    def _change_down(self) -> None:
        new = self._next()
        self.stage.write(self.disk_id, new, self.known.differing(new))
        self.known = new

    def _change_up(self) -> None:
        new = self._next()
        self.stage.change_running(self.name, self.vm_id, self.disk_id, self.known, new)
        self.known = new

    def _down(self) -> None:
        self._vm()
        if vm_status(self.stage.engine, self.vm_id) != "down":
            self.stage.stop(self.vm_id)

    def _busy(self) -> set[str]:
        """The transfers of our disk."""
        found = self.stage.engine.call("list the transfers", lambda s: s.image_transfers_service().list())
        ours = [t for t in found or () if t.image is not None and t.image.id == self.disk_id]
        return {t.id for t in ours if str(t.phase) == "transferring"}
