"""Removes what runs of ours left in the engine, in the right order, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import NOT_YET, heal, leftovers
from borg_ovirt.ovirt.tracked.tagged import Tagged, find_tagged, remove_tagged


@dataclass(frozen=True)
class CleanupLine:
    """One leftover."""

    kind: str
    id: str | None
    what: str
    run: str
    journalled: bool
    """It stands in the journal of a dead run of this machine; else only its description is ours."""


@dataclass(frozen=True)
class CleanupResult:
    """What was found, what was removed, what stays and why."""

    found: list[CleanupLine]
    removed: list[str]
    left: list[str]
    """Ours, or asked for by `tagged`, and still there."""
    unsure: list[str] = field(default_factory=list)
    """Asked for by a run that died a moment ago: it may still come to be."""
    others: list[str] = field(default_factory=list)
    """Nobody here can tell whether a run on another machine is at it, or whose it is."""

    @property
    def is_done(self) -> bool:
        """Nothing of ours is left, and nothing may yet come to be."""
        return not self.left and not self.unsure


def cleanup(
    engine: Engine,
    state: Path,
    now: datetime,
    *,
    tagged: bool = False,
    older_than: timedelta = timedelta(days=1),
    dry_run: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> CleanupResult:
    """Remove what dead runs of this machine left.

    With `tagged` also what bears our tag and is older than `older_than`, though no journal here knows it: it
    may be a living run's on another machine, so that is asked for, never assumed.
    """
    journalled = leftovers(state, engine.instance_id)
    found = [CleanupLine(x.kind, x.id, x.description, x.run_id, True) for x in journalled]
    living = _living(state) | {line.run_id for line in journalled}
    left: list[str] = []
    unsure: list[str] = []
    removed: list[str] = []

    def report(text: str) -> None:
        log(text)
        if text.startswith("could not"):
            left.append(text)
        elif text.startswith(NOT_YET):
            unsure.append(text)

    if not dry_run:
        # First what the journals know: transfers may keep the engine from telling about the rest.
        removed = heal(engine, state, report)
    strangers = find_tagged(engine, living, log)
    found += [CleanupLine(t.kind, t.id, str(t), t.run_id, False) for t in strangers]
    if dry_run:
        return CleanupResult(found, [], [])
    others = []
    for stranger in strangers:
        why = _why_not(stranger, now, tagged, older_than)
        if why:
            others.append(f"{stranger}: {why}")
            continue
        try:
            remove_tagged(engine, stranger)
        except BorgOvirtError as error:
            left.append(f"{stranger}: {error.message}")
        else:
            removed.append(str(stranger))
            log(f"removed the {stranger}")
    return CleanupResult(found, removed, left, unsure, others)


def _why_not(stranger: Tagged, now: datetime, tagged: bool, older_than: timedelta) -> str | None:
    if not stranger.run_id:
        where = "Storage, Disks" if stranger.kind == "scratch disk" else "the VM's snapshots"
        return (
            "the engine left it; whose backup it was cannot be told: remove it in the engine"
            f" ({where}) if it is yours"
        )
    if not tagged:
        return "no journal here knows it; --tagged removes it, if no run on another machine is at it"
    if now - stranger.created < older_than:
        return "it is too young to be sure that its run is dead (--older-than)"
    return None


def _living(state: Path) -> set[str]:
    """The runs whose journals lie here; those that died are healed through them, the others live."""
    return {path.stem for path in state.glob("*.jsonl")} if state.is_dir() else set()
