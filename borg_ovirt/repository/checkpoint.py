"""Checkpoints, as Borg's: what was stored of an unfinished archive is kept, and need not be sent again.

Every so often what there is of the disks is committed as `NAME.checkpoint`, in part files as stock Borg makes
them (`PATH.borg_part_1`, ...). Nobody takes that for an archive: it has no manifest, no file under its own
name, and a comment that is no archive's. The archive itself takes its place in one transaction; what an
interrupted run left goes when that VM has an archive. Until then its chunks are known, by their ids.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from borg_ovirt.errors import RepositoryDamaged, RepositoryError
from borg_ovirt.repository.borg_archive import BorgArchive
from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.layout import TOOL
from borg_ovirt.repository.names import is_checkpoint_name
from borg_ovirt.repository.packed import PackedChunks

_log = logging.getLogger(__name__)
INTERVAL = 1800.0
"""Seconds between two checkpoints, as with `borg create`."""


@dataclass(frozen=True)
class Rhythm:
    """Whose checkpoints are made, and how often: every so many seconds, 0 for never."""

    vm_id: str
    interval: float = INTERVAL


class Checkpoint:
    """What is kept of one archive that is under way."""

    def __init__(self, session: Session, archive: BorgArchive, rhythm: Rhythm) -> None:
        self._session = session
        self._of = archive
        self._rhythm = rhythm
        self._made: BorgArchive | None = None
        self._kept: dict[str, int] = {}
        """Path -> how many of its chunks stand in part files."""
        self._parts: dict[str, int] = {}
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next."""
        interval = self._rhythm.interval
        return bool(interval) and time.monotonic() - self._last >= interval

    def keep(self, files: Mapping[str, PackedChunks], cell: int) -> None:
        """Commit what there is of these files; the checkpoint before it goes with the same commit."""
        made = self._made = self._made or self._of.unfinished()
        for path, chunks in files.items():
            fresh = chunks[self._kept.get(path, 0) :]
            if fresh:
                number = self._parts[path] = self._parts.get(path, 0) + 1
                made.add_item(f"{path}.borg_part_{number}", fresh.total(), fresh, part=number)
                self._kept[path] = len(chunks)
        comment = json.dumps({"checkpoint_by": TOOL, "vm_id": self._rhythm.vm_id})
        made.save_again(comment, (TOOL, "create"), cell, self._of.stats)
        self._last = time.monotonic()
        _log.info("checkpoint of %s: what is stored so far need not be sent again", self._of.name)

    def withdraw(self) -> None:
        """The archive itself takes its place with the next commit."""
        if self._made is not None:
            self._made.withdraw()


def forget_checkpoints(session: Session, vm_id: str) -> None:
    """Remove what interrupted runs left of a VM that has an archive now, or leave it to the next archive."""
    names = []
    for name in filter(is_checkpoint_name, session.names()):
        with suppress(RepositoryDamaged):
            (facts,) = session.facts([session.entry(name)])
            if _vm_of(facts.comment) == vm_id:
                names.append(name)
    if not names:
        return
    try:
        session.delete(names)
    except RepositoryError as error:
        _log.warning("The checkpoints %s could not be removed: %s", ", ".join(names), error.message)


def _vm_of(comment: str) -> str | None:
    """Whose checkpoint it is; None where it is not one of ours."""
    with suppress(ValueError, RecursionError):
        facts = json.loads(comment)
        if isinstance(facts, dict) and facts.get("checkpoint_by") == TOOL:
            return str(facts.get("vm_id"))
    return None
