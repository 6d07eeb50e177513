"""The configuration's retention, applied to the archives of one VM and mode. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from borg_ovirt.config.schema import Retention
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.retention import KeepRules, Verdict, decide


def judge(archives: Sequence[ArchiveInfo], rules: Retention, now: datetime) -> list[Verdict]:
    """Judge the archives of one series, newest first. Without rules everything stays."""
    if rules.keeps_everything:
        return [Verdict(info, True, "no rule is written") for info in _newest_first(archives)]
    return decide(archives, _keep_rules(rules), now=now)


def judge_gone(archives: Sequence[ArchiveInfo], rules: Retention, now: datetime) -> list[Verdict]:
    """Judge the archives of a VM that the engine no longer has."""
    newest_first = _newest_first(archives)
    if rules.gone_vms == "prune":
        return judge(archives, rules, now)
    if isinstance(rules.gone_vms, timedelta) and newest_first[0].time <= now - rules.gone_vms:
        return [
            Verdict(info, info.comment.held, "held" if info.comment.held else "") for info in newest_first
        ]
    return [Verdict(info, True, "VM is gone") for info in newest_first]


def _newest_first(archives: Sequence[ArchiveInfo]) -> list[ArchiveInfo]:
    return sorted(archives, key=lambda info: (info.time, info.name), reverse=True)


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
