"""Marks archives that our retention must never remove, and takes the mark away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class HoldResult:
    """The archives that were meant, and those whose mark changed."""

    archives: list[str]
    changed: list[str]


def hold(repository: Repository, names: Sequence[str], *, held: bool, dry_run: bool = False) -> HoldResult:
    """Hold (or release) archives; a VM stands for its latest archive."""
    infos = {info.name: info for info in (find_archive(repository, name) for name in names)}
    changed = [name for name, info in infos.items() if info.comment.held != held]
    if not dry_run and changed:
        (repository.hold if held else repository.release)(changed)
    return HoldResult(list(infos), changed)
