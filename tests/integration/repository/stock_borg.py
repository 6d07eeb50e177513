"""The stock `borg` command in a home of its own, and archives made by us for it to judge."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import zygote

from borg_ovirt.blocks import KiB
from borg_ovirt.repository.layout import (
    OVF,
    ArchiveComment,
    DiskRecord,
    Manifest,
    RunRecord,
    VmRecord,
    disk_path,
)
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.repository.writer import ArchiveWriter

BORG = Path(sys.executable).with_name("borg")
PASSPHRASE = "correct horse battery staple"
CELL = 64 * KiB
NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
VM = "11111111-1111-4111-8111-111111111111"
SYSTEM = "aaaaaaaa-0000-4000-8000-000000000001"
DATA = "aaaaaaaa-0000-4000-8000-000000000002"
OVF_BYTES = b"<?xml version='1.0'?>\n<ovf:Envelope>\xc3\xa4</ovf:Envelope>"


Done = subprocess.CompletedProcess[bytes]


@dataclass
class Stock:
    """A repository at a location; the command looks at its path, which is quicker than served."""

    location: str
    path: Path
    home: Path

    def run(
        self, *args: str, cwd: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run `borg`; its environment is that of the test."""
        done = Done(args, *zygote.run_bytes("borg", args, os.environ, cwd))
        if check and done.returncode != 0:
            raise AssertionError(f"borg {args} -> {done.returncode}: {done.stderr.decode()}")
        return done

    def json(self, *args: str) -> Any:
        return json.loads(self.run(*args).stdout)

    def init(self, encryption: str, *more: str) -> None:
        self.run("init", "--encryption", encryption, *more, str(self.path))

    def names(self) -> list[str]:
        return [
            a["name"]
            for a in self.json("list", "--json", "--consider-checkpoints", str(self.path))["archives"]
        ]

    def check(self) -> None:
        """Read every byte of the repository and of all archives."""
        self.run("check", "--verify-data", str(self.path))

    def content(self, archive: str, path: str) -> bytes:
        return self.run("extract", "--stdout", f"{self.path}::{archive}", path).stdout

    def segments(self) -> set[str]:
        return {str(p) for p in (self.path / "data").rglob("*") if p.is_file()}


MakeRepository = Callable[..., Stock]


def image(seed: int, cells: int, *, tail: int = 0, zeros: float = 0.3) -> bytes:
    """A disk made from a seed: random cells, text-like cells and zero cells, and perhaps a short tail."""
    dice = random.Random(seed)
    parts = []
    for _ in range(cells):
        roll = dice.random()
        if roll < zeros:
            parts.append(bytes(CELL))
        elif roll < zeros + 0.3:
            parts.append(dice.randbytes(CELL))
        else:
            parts.append((dice.randbytes(64) * (CELL // 64))[:CELL])
    return b"".join(parts) + dice.randbytes(tail)


def manifest(
    images: Mapping[str, bytes], *, cell: int = CELL, vm: str = VM, name: str = "web 01", **run: Any
) -> Manifest:
    """A manifest that fits these disks."""
    disks = tuple(
        DiskRecord(
            id=id_,
            alias=f"disk{n}",
            size=len(data),
            format="cow",
            sparse=True,
            cell=cell,
            path=disk_path(id_),
        )
        for n, (id_, data) in enumerate(images.items())
    )
    facts = {
        "tool_version": "0.1.0",
        "host": "backup.example",
        "engine": "engine.example",
        "kind": "full",
        "way": "live backup",
        "consistency_asked": "auto",
        "consistency": "frozen",
        "cell": cell,
        "started": NOON,
        "ended": NOON,
    }
    return Manifest(mode="image", vm=VmRecord(id=vm, name=name), disks=disks, run=RunRecord(**(facts | run)))


def comment(**facts: Any) -> ArchiveComment:
    defaults = {"vm_id": VM, "vm_name": "web 01", "mode": "image", "engine": "engine.example", "kind": "full"}
    return ArchiveComment(**(defaults | facts))


def store_disk(writer: ArchiveWriter, id_: str, data: bytes, base: ArchiveReader | None = None) -> None:
    """Store a disk as the bridge would: prepare on threads, store in order, refer to what the base has."""
    sink = writer.disk(disk_path(id_), len(data), CELL)
    old = list(base.disk(disk_path(id_)).chunks) if base else []
    cells = [memoryview(data)[at : at + CELL] for at in range(0, len(data), CELL)]
    with ThreadPoolExecutor(3) as pool:
        prepared = [pool.submit(sink.prepare, cell) for cell in cells]
        for index, future in enumerate(prepared):
            cell = future.result()
            if index < len(old) and old[index].id == cell.id:
                sink.reuse(old[index])
            elif cell.id == sink.zero_id:
                sink.zero(cell.size)
            else:
                sink.store(cell)
    sink.close()


def back_up(
    repository: Repository,
    name: str,
    images: Mapping[str, bytes],
    *,
    base: str | None = None,
    started: datetime = NOON,
    **facts: Any,
) -> str:
    """Make an archive of ours of these disks; returns its id."""
    reader = repository.archive(base) if base else None
    with repository.writer(name, started=started) as writer:
        writer.add_file(OVF, OVF_BYTES)
        for id_, data in images.items():
            store_disk(writer, id_, data, reader)
        return writer.commit(comment(**facts), manifest(images, vm=facts.get("vm_id", VM)))


def fresh_home(monkeypatch: Any, home: Path) -> None:
    """No BORG_* variable of the outside, and caches, keys and security facts below `home`."""
    for name in list(os.environ):
        if name.startswith("BORG_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BORG_BASE_DIR", str(home))
    monkeypatch.setenv("BORG_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes")
    monkeypatch.setenv("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")


def serve_locally(monkeypatch: Any, folder: Path, *serve_options: str) -> None:
    """Let ssh:// locations be served by a `borg serve` on this machine."""
    script = folder / "rsh"
    script.write_text(f'#!/bin/sh\nshift\nexec "$@" {" ".join(serve_options)}\n')
    script.chmod(0o755)
    monkeypatch.setenv("BORG_RSH", str(script))
    monkeypatch.setenv("BORG_REMOTE_PATH", str(BORG))
