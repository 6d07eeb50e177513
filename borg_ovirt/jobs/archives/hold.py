"""Marks archives that our retention must never remove: by whom, why, until when; takes the mark away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import HoldRecord
from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class HoldResult:
    """The archives that were meant, and those whose mark changed."""

    archives: list[str]
    changed: list[str]
    infos: list[ArchiveInfo] = field(default_factory=list, repr=False)
    """Of those that changed, as they were before."""


def hold(
    repository: Repository,
    names: Sequence[str],
    why: HoldRecord | None,
    *,
    anew: bool = False,
    dry_run: bool = False,
) -> HoldResult:
    """Hold archives for that reason, or release them (None); a VM stands for its latest archive.

    One that is held already keeps its reason and its end, unless this one is to hold `anew`.
    """
    infos = {info.name: info for info in (find_archive(repository, name) for name in names)}
    changed = [name for name, info in infos.items() if _changes(info, why, anew)]
    if not dry_run and changed:
        if why is not None:
            repository.hold(changed, why)
        else:
            repository.release(changed)
    return HoldResult(list(infos), changed, [infos[name] for name in changed])


def _changes(info: ArchiveInfo, why: HoldRecord | None, anew: bool) -> bool:
    if why is None:
        return info.comment.held
    return anew or not info.comment.held_at(why.since)


def in_words(hold: HoldRecord | None) -> str:
    """What `list` and `info` say of a hold."""
    if hold is None:
        return "held"
    words = ["held"]
    words += [f"until {hold.until:%Y-%m-%d}"] if hold.until else []
    words += [f"by {hold.by}"] if hold.by else []
    return " ".join(words) + (f": {hold.reason}" if hold.reason else "")
