"""Who holds the lock of a repository, as Borg leaves it there: for messages."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from borg import platform

from borg_ovirt import sign
from borg_ovirt.units import format_duration


def holder(repository: str) -> str | None:
    """Host, process, what it runs and since when; None where nothing tells, as over `borg serve`."""
    with suppress(OSError, ValueError):
        for held in sorted(Path(repository, "lock.exclusive").iterdir()):
            host, _, process = held.name.rpartition(".")
            pid = int(process.partition("-")[0])
            since = format_duration(max(time.time() - held.stat().st_mtime, 0.0))
            program = _program(pid) if host == platform.get_process_id()[0] else ""
            doing = f", {text}" if program and (text := sign.read(pid)) else ""
            return f"{host.partition('@')[0]}, process {pid}{program}{doing}, for {since}"
    return None


def _program(pid: int) -> str:
    """Name and subcommand alone: arguments may hold what is nobody's business."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    names = [os.path.basename(word) for word in words[:3] if word and not word.startswith("-")]
    if names and names[0].startswith("python"):
        names = names[1:]
    return f" ({' '.join(names[:2])})" if names and "/" not in names[0] else ""
