"""Decides which archives stay: Borg's keep rules, for each series on its own. Nothing is touched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from borg_ovirt.errors import UsageError
from borg_ovirt.repository.series import Series

if TYPE_CHECKING:
    from borg_ovirt.repository.catalogue import ArchiveInfo


@dataclass(frozen=True)
class KeepRules:
    """How many archives to keep of each kind of period, the newest of each; -1 keeps all, 0 is no rule."""

    within: timedelta | None = None
    """Everything younger than this."""
    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < -1:
                raise UsageError(f"keep-{field.name} is {value}: give a number, 0, or -1 for all.")

    @property
    def empty(self) -> bool:
        """No rule at all, under which everything would go."""
        return not any(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Verdict:
    """What becomes of one archive, and why it stays."""

    archive: ArchiveInfo
    keep: bool
    rule: str
    """The rule that keeps it, as `daily #3`; empty if none does."""


class _Dated(NamedTuple):
    """An archive as Borg's own rules see it: they ask for nothing else."""

    id: str
    ts: datetime


_PERIODS = {
    "last": "secondly",
    "hourly": "hourly",
    "daily": "daily",
    "weekly": "weekly",
    "monthly": "monthly",
    "yearly": "yearly",
}
"""Our rules and Borg's, from short to long: what a shorter rule keeps is not counted by a longer one."""


def decide(
    series: Series, rules: KeepRules, *, now: datetime, damaged: Collection[str] = ()
) -> list[Verdict]:
    """Judge the archives of one series, the newest first.

    Days and weeks begin at local midnight, as with `borg prune`. The newest archive that can be restored
    stays whatever the rules say, and the newest of those whose change tracking was right. `damaged` names
    archives that cannot be restored whole: no rule counts them, and one that is newer than all that can be
    restored stays, for what is left of it. Held archives stay, and count like any other: a hold never changes
    what becomes of the rest. One that bears a time later than now, and that nothing else dates, stays.
    """
    if rules.empty:
        raise UsageError(
            "No keep rule is given: everything would go.", "Give at least one, as --keep-daily 7."
        )
    newest_first = series.newest_first
    whole = [a for a in newest_first if a.name not in damaged]
    counted = [a for a in whole if a.name not in series.adrift]
    kept: dict[str, str] = {}
    if rules.within:
        young = [a for a in counted if series.times[a.name] > now - rules.within]
        kept.update((a.name, f"within #{number}") for number, a in enumerate(young, 1))
    kept = _keep_by_period(series, counted, rules, kept)
    good = next((a for a in whole if not a.comment.marked), None)
    for archive, why in ((good, "newest good"), (next(iter(whole), None), "newest")):
        if archive:
            kept.setdefault(archive.name, why)
    for archive in newest_first:
        if archive.name not in damaged:
            break
        kept.setdefault(archive.name, "damaged, and nothing newer is whole")
    for archive in newest_first:
        if archive.comment.held_at(now):
            kept.setdefault(archive.name, "held")
        elif archive.name in series.adrift:
            kept.setdefault(archive.name, "later than now")
    return [Verdict(a, a.name in kept, kept.get(a.name, "")) for a in newest_first]


def _keep_by_period(
    series: Series, counted: Sequence[ArchiveInfo], rules: KeepRules, kept: dict[str, str]
) -> dict[str, str]:
    """Keep the newest archive of each period, by Borg's own rules.

    Where there are fewer periods than asked for, Borg keeps the oldest archive too, so that a long rule has
    something to start from while the history is still short.
    """
    from borg.helpers import prune_split  # Borg takes a while to import

    dated = [_Dated(a.name, series.times[a.name]) for a in counted]
    because: dict[str, tuple[str, int] | None] = dict.fromkeys(kept)
    for rule, period in _PERIODS.items():
        before = set(because)
        prune_split(dated, period, getattr(rules, rule), because)
        for name, found in because.items():
            if name not in before and found:
                kept[name] = f"{found[0].replace(period, rule)} #{found[1]}"
    return kept
