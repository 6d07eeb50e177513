"""Decides which archives stay: Borg's keep rules, for each VM and mode on its own. Nothing is touched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, tzinfo
from itertools import groupby
from typing import TYPE_CHECKING

from borg_ovirt.errors import UsageError

if TYPE_CHECKING:
    from borg_ovirt.repository.catalogue import ArchiveInfo


@dataclass(frozen=True)
class KeepRules:
    """How many archives to keep of each kind of period, the newest of each; -1 keeps all, 0 is no rule."""

    within: timedelta | None = None
    """Everything younger than this."""
    last: int = 0
    minutely: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    quarterly: int = 0
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


def decide(
    archives: Iterable[ArchiveInfo],
    rules: KeepRules,
    *,
    now: datetime,
    zone: tzinfo | None = None,
    damaged: Collection[str] = (),
    gone: Collection[str] = (),
    gone_rules: KeepRules | None = None,
) -> list[Verdict]:
    """Judge archives of ours, by VM, mode and age, the newest first.

    Days and weeks begin in `zone` (default: local time), as with `borg prune`. Of each VM and mode the newest
    good archive stays whatever the rules say; `damaged` names archives that are not good. Held archives stay,
    and count like any other: a hold never changes what becomes of the rest. VMs with ids in `gone` follow
    `gone_rules`, and keep everything where there are none.
    """
    if rules.empty or (gone_rules is not None and gone_rules.empty):
        raise UsageError(
            "No keep rule is given: everything would go.", "Give at least one, as --keep-daily 7."
        )
    verdicts: list[Verdict] = []
    ordered = sorted(archives, key=lambda a: (_series(a), a.time, a.name), reverse=True)
    for (vm_id, _), group in groupby(ordered, key=_series):
        series = list(group)
        chosen = gone_rules if vm_id in gone else rules
        if chosen is None:
            verdicts += [Verdict(archive, True, "VM is gone") for archive in series]
        else:
            verdicts += _judge(series, chosen, now, zone, damaged)
    return sorted(verdicts, key=lambda v: (v.archive.comment.vm_name, _series(v.archive)))


def _series(archive: ArchiveInfo) -> tuple[str, str]:
    return archive.comment.vm_id, archive.comment.mode


def _judge(
    series: list[ArchiveInfo],
    rules: KeepRules,
    now: datetime,
    zone: tzinfo | None,
    damaged: Collection[str],
) -> list[Verdict]:
    """Judge the archives of one VM and mode, newest first."""
    kept: dict[str, str] = {}
    if rules.within:
        young = [a for a in series if a.time > now - rules.within]
        kept.update((a.name, f"within #{number}") for number, a in enumerate(young, 1))
    for rule, period in _PERIODS.items():
        periods = [period(archive.time.astimezone(zone)) for archive in series]
        _keep_one_of_each(list(zip(series, periods, strict=True)), rule, getattr(rules, rule), kept)
    good = next((a for a in series if a.name not in damaged and not a.comment.marked), None)
    intact = next((a for a in series if a.name not in damaged), None)
    for archive, why in ((good, "newest good"), (intact, "newest")):
        if archive:
            kept.setdefault(archive.name, why)
    for archive in series:
        if archive.comment.held:
            kept.setdefault(archive.name, "held")
    return [Verdict(a, a.name in kept, kept.get(a.name, "")) for a in series]


def _keep_one_of_each(
    series: list[tuple[ArchiveInfo, str]], rule: str, count: int, kept: dict[str, str]
) -> None:
    """Keep the newest archive of each of `count` periods, leaving out those that an earlier rule keeps.

    Where there are fewer periods than that, the oldest archive stays too, so that a long rule has something
    to start from while the history is still short.
    """
    number = 0
    current = None
    for archive, period in series:
        if number == count:
            return
        if period != current:
            current = period
            if archive.name not in kept:
                number += 1
                kept[archive.name] = f"{rule} #{number}"
    oldest = series[-1][0].name
    if number < count and oldest not in kept:
        kept[oldest] = f"{rule}[oldest] #{number + 1}"


_PERIODS: dict[str, Callable[[datetime], str]] = {
    "last": lambda t: f"{t:%Y-%m-%d %H:%M:%S}",
    "minutely": lambda t: f"{t:%Y-%m-%d %H:%M}",
    "hourly": lambda t: f"{t:%Y-%m-%d %H}",
    "daily": lambda t: f"{t:%Y-%m-%d}",
    "weekly": lambda t: f"{t:%G-%V}",
    "monthly": lambda t: f"{t:%Y-%m}",
    "quarterly": lambda t: f"{t:%Y} {(t.month - 1) // 3}",
    "yearly": lambda t: f"{t:%Y}",
}
"""From short to long: an archive that a shorter rule keeps is not counted by a longer one."""
