"""Rollbacks that are under way, written down until they are through: a dead one is told by the next run."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from borg_ovirt.pipe.file_target import sync

_FOLDER = "rollbacks"


@dataclass(frozen=True)
class Unfinished:
    """A VM whose disks are somewhere between two archives."""

    engine: str
    """The engine's own id."""
    vm_id: str
    vm: str
    repository: str
    archive: str
    """Where it was to go."""
    before: str | None
    """The archive of what it was before; None where none was made."""

    def told(self) -> str:
        """In words: what it is, and what can be done."""
        undo = (
            f", or undo it with `borg-ovirt rollback {self.repository}::{self.before}`" if self.before else ""
        )
        return (
            f"the disks of VM {self.vm} are half-way to archive {self.archive}: a rollback was interrupted. "
            f"Finish it with `borg-ovirt rollback {self.repository}::{self.archive}`{undo}"
        )


def unfinished(state: Path, engine: str | None = None) -> list[Unfinished]:
    """What was begun and not ended (in one engine, or in all); a file that makes no sense is none."""
    found = []
    for path in sorted((state / _FOLDER).glob("*.json")):
        try:
            one = Unfinished(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if engine in (None, one.engine):
            found.append(one)
    return found


def begin(state: Path, what: Unfinished) -> None:
    """Write it down, on the disk when this returns."""
    path = _path(state, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(what)))
    sync(part)
    os.replace(part, path)
    sync(path.parent)


def end(state: Path, what: Unfinished) -> None:
    """All of it is done."""
    _path(state, what).unlink(missing_ok=True)


def _path(state: Path, what: Unfinished) -> Path:
    return state / _FOLDER / f"{what.engine}-{what.vm_id}.json".replace("/", "_")
