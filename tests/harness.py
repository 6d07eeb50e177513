"""A box, a repository, and the two commands as a user types them: ours and stock borg."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zygote
from ovirtbox.box import Box, sha_of
from ovirtbox.model import Disk, Vm

from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.cleanup import heal

BIN = Path(sys.executable).parent
PASSPHRASE = "correct horse"


@dataclass
class Run:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def vm(self) -> dict[str, Any]:
        """What the JSON of a run about one VM says of it."""
        (found,) = self.json["vms"]
        return dict(found)

    @property
    def vms(self) -> dict[str, dict[str, Any]]:
        """The same of many, by name."""
        return {vm["vm"]: vm for vm in self.json["vms"]}

    def ok(self, *codes: int) -> Run:
        assert self.code in (codes or (0,)), f"exit status {self.code}\n{self.out}\n{self.err}"
        return self


class Desk:
    """Where a test works: a box, an encrypted repository, a directory of its own."""

    def __init__(
        self, box: Box, root: Path, mode: str = "repokey", repo: str | None = None, **env: str
    ) -> None:
        root.mkdir(exist_ok=True)
        self.box = box
        self.root = root
        self.repo = repo or str(root / "repo")
        self.env = {
            **os.environ,
            **box.env(),
            "BORG_BASE_DIR": str(root / "borg"),
            "BORG_PASSPHRASE": PASSPHRASE,
            "BORG_OVIRT_STATE_DIR": str(root / "state"),
            "BORG_OVIRT_CONFIG": str(root / "no-config.yaml"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            **env,
        }
        (root / "no-config.yaml").write_text("{}\n")
        self.mode = mode
        self.borg("init", "-e", mode, self.repo)

    def command(self, *arguments: str, **env: str) -> list[str]:
        return [sys.executable, "-m", "borg_ovirt", *arguments]

    def run(self, *arguments: str, **env: str) -> Run:
        """Our command, as a process of its own."""
        code, out, err = zygote.run("borg-ovirt", arguments, {**self.env, **env})
        assert "Traceback" not in err or "--debug" in arguments, err
        return Run(code, out, err)

    def create(self, vm: Vm | str, *options: str, code: int = 0) -> dict[str, Any]:
        """A backup that must end with `code`; what its JSON says of the VM."""
        name = vm if isinstance(vm, str) else vm.name
        return self.run("create", "--json", *options, f"{self.repo}::{name}").ok(code).vm

    def borg(self, *arguments: str, cwd: Path | None = None) -> str:
        """Stock borg; it must succeed."""
        code, out, err = zygote.run("borg", arguments, self.env, cwd)
        assert code == 0, f"borg {arguments}: {code}\n{out}\n{err}"
        return out

    def manifest(self, archive: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.borg("extract", "--stdout", f"{self.repo}::{archive}", "manifest.json")
        )
        return found

    def archived_sha(self, archive: str, disk: Disk) -> str:
        """The hash of a disk's item as stock borg extracts it."""
        (sha,) = self._shas(archive, [disk])
        return sha

    def _shas(self, archive: str, disks: list[Disk]) -> list[str]:
        place = self.root / "extracted"
        place.mkdir()
        items = [f"disks/{disk.id}.raw" for disk in disks]
        self.borg("extract", "--sparse", f"{self.repo}::{archive}", *items, cwd=place)
        shas = []
        for item in items:
            with (place / item).open("rb") as stream:
                shas.append(hashlib.file_digest(stream, "sha256").hexdigest())
        shutil.rmtree(place)
        return shas

    def truth_sha(self, archive: str, disk: Disk) -> str:
        """What the box says the disk held at the instant of that archive's backup."""
        return sha_of(self.box.content_at(self.manifest(archive)["run"]["backup_id"], disk))

    def assert_archived(self, archive: str, vm: Vm) -> None:
        """Every disk of the archive is what the box says it was."""
        manifest = self.manifest(archive)
        held = {disk["id"] for disk in manifest["disks"]}
        disks = [disk for disk in self.box.disks(vm) if disk.id in held]
        for disk, sha in zip(disks, self._shas(archive, disks), strict=True):
            assert sha == sha_of(self.box.content_at(manifest["run"]["backup_id"], disk)), disk.alias

    def archives(self) -> list[str]:
        return [a["name"] for a in json.loads(self.borg("list", "--json", self.repo))["archives"]]

    def assert_clean(self) -> None:
        """The engine is as it was found, and the journal is empty."""
        assert self.box.clean() == []
        assert not list((self.root / "state").glob("*.jsonl"))

    def a_day_later(self) -> list[str]:
        """End what dead commands left, when no request of theirs can be under way any more; what was told."""
        access = EngineAccess(self.box.url, self.box.user, self.box.password, ca_file=self.box.ca_file)
        with Engine(access) as engine:
            return heal(engine, self.root / "state", in_flight=0.0)
