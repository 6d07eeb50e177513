"""Which archives of one VM and mode stay, and by which rule. Pure.

The rules are Borg's: each takes the newest archive of each of its periods, in local time, and leaves alone
what an earlier rule keeps, so that the rules reach back one behind the other. A rule that finds fewer periods
than it may keep keeps the oldest archive instead, which grows into the missing ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from borg_ovirt.config.schema import Retention
from borg_ovirt.repository.catalogue import ArchiveInfo

_PERIODS: tuple[tuple[str, Callable[[datetime], tuple[int, ...]]], ...] = (
    ("hourly", lambda t: (t.year, t.month, t.day, t.hour)),
    ("daily", lambda t: (t.year, t.month, t.day)),
    ("weekly", lambda t: tuple(t.isocalendar()[:2])),
    ("monthly", lambda t: (t.year, t.month)),
    ("yearly", lambda t: (t.year,)),
)


@dataclass(frozen=True)
class Verdict:
    """What happens to one archive. `rule` says why it stays; None: it goes."""

    info: ArchiveInfo
    rule: str | None

    @property
    def kept(self) -> bool:
        return self.rule is not None


def judge(archives: Sequence[ArchiveInfo], rules: Retention, now: datetime) -> list[Verdict]:
    """Judge the archives of one series, newest first. Without rules everything stays."""
    newest_first = sorted(archives, key=lambda a: (a.time, a.name), reverse=True)
    if rules.keeps_everything:
        return [Verdict(info, "no rule is written") for info in newest_first]
    reasons: dict[str, str] = {}
    if rules.within is not None:
        for info in newest_first:
            if info.time > now - rules.within:
                reasons[info.name] = "within"
    for number, info in enumerate(newest_first[: rules.last], 1):
        reasons.setdefault(info.name, f"last #{number}")
    for name, period in _PERIODS:
        _keep_periods(newest_first, name, getattr(rules, name), period, reasons)
    if newest_first:
        reasons.setdefault(newest_first[0].name, "the newest")
    for info in newest_first:
        if info.comment.held:
            reasons[info.name] = "held"
    return [Verdict(info, reasons.get(info.name)) for info in newest_first]


def _keep_periods(
    newest_first: Sequence[ArchiveInfo],
    name: str,
    count: int,
    period: Callable[[datetime], tuple[int, ...]],
    reasons: dict[str, str],
) -> None:
    """Keep the newest archive of each period until `count` are kept by this rule."""
    kept, last = 0, None
    for info in newest_first:
        if kept == count:
            return
        this = period(info.time.astimezone())
        if this == last:
            continue
        last = this
        if info.name not in reasons:
            kept += 1
            reasons[info.name] = f"{name} #{kept}"
    if kept < count and newest_first and newest_first[-1].name not in reasons:
        reasons[newest_first[-1].name] = f"{name}, the oldest"


def judge_gone(archives: Sequence[ArchiveInfo], rules: Retention, now: datetime) -> list[Verdict]:
    """Judge the archives of a VM that the engine no longer has."""
    newest_first = sorted(archives, key=lambda a: (a.time, a.name), reverse=True)
    if rules.gone_vms == "prune":
        return judge(archives, rules, now)
    if isinstance(rules.gone_vms, timedelta) and newest_first[0].time <= now - rules.gone_vms:
        return [Verdict(info, "held" if info.comment.held else None) for info in newest_first]
    return [Verdict(info, "the VM is gone") for info in newest_first]
