"""Borg's own check of a repository, a part each night, and what came of it: kept on this machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class Checked:
    """The last check of a repository by this machine."""

    time: datetime
    sound: bool
    seconds: int
    """How long it was given."""


def check(repository: Repository, span: timedelta, state: Path) -> Checked:
    """Check for so long, and keep the result."""
    seconds = max(int(span.total_seconds()), 1)
    found = Checked(datetime.now(timezone.utc), repository.check(seconds), seconds)
    path = _path(state, repository.id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({**asdict(found), "time": found.time.isoformat()}) + "\n")
    os.replace(draft, path)
    return found


def last_check(repository_id: str, state: Path) -> Checked | None:
    """What the last one found; None if there was none, or none that can be read."""
    try:
        told = json.loads(_path(state, repository_id).read_text())
        return Checked(datetime.fromisoformat(told["time"]), bool(told["sound"]), int(told["seconds"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _path(state: Path, repository_id: str) -> Path:
    return state / "checks" / f"{repository_id}.json"
