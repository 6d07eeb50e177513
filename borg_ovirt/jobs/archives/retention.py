"""The configuration's retention, applied to one series of archives. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from borg_ovirt.config.schema import Retention
from borg_ovirt.repository.retention import KeepRules, Verdict, decide
from borg_ovirt.repository.series import Series


def apply_rules(
    series: Series, rules: Retention, now: datetime, *, gone: bool = False, damaged: Collection[str] = ()
) -> list[Verdict]:
    """What becomes of each archive, newest first. Without rules everything stays.

    `gone`: the engine no longer has the VM, so `gone_vms` decides.
    """
    if gone and rules.gone_vms != "prune":
        return _of_gone_vm(series, rules, now)
    if rules.keeps_everything:
        return [Verdict(info, True, "no rule is written") for info in series.newest_first]
    return decide(series, _keep_rules(rules), now=now, damaged=damaged)


def _of_gone_vm(series: Series, rules: Retention, now: datetime) -> list[Verdict]:
    """All stays, or all goes once the newest archive is old enough."""
    last = series.times[series.newest.name]
    if isinstance(rules.gone_vms, timedelta) and last <= now - rules.gone_vms:
        return [
            Verdict(a, a.comment.held_at(now), "held" if a.comment.held_at(now) else "")
            if a.name not in series.adrift
            else Verdict(a, True, "later than now")
            for a in series.newest_first
        ]
    return [Verdict(info, True, "VM is gone") for info in series.newest_first]


def _keep_rules(rules: Retention) -> KeepRules:
    return KeepRules(
        within=rules.within,
        last=rules.last,
        hourly=rules.hourly,
        daily=rules.daily,
        weekly=rules.weekly,
        monthly=rules.monthly,
        yearly=rules.yearly,
    )
