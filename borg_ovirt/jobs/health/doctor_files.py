"""What doctor finds of the files that hold secrets: nobody else may read them, nor write what we believe."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn


def look_at_files(config: Path | None, secrets: Iterable[Path]) -> Iterator[Finding]:
    """The configuration, whose commands and hooks are run, and each file with a secret in it.

    One that cannot be looked at is left to whoever needs it.
    """
    known = [path.expanduser() for path in secrets]
    loose = [path for path in known if _mode(path) & (stat.S_IRWXG | stat.S_IRWXO)]
    for path in loose:
        yield warn("secrets", f"{path} is open to others (mode {_mode(path):04o})", f"chmod 600 {path}")
    if known and not loose:
        yield ok("secrets", f"{', '.join(map(str, known))}: closed to others")
    if config is not None and _mode(config) & (stat.S_IWGRP | stat.S_IWOTH):
        text = f"others may write {config} (mode {_mode(config):04o}): its hooks and commands run as we do"
        yield failed("configuration", text, f"chmod go-w {config}")


def _mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return 0
