"""What a report says in words of one VM: its retention, and why it is not protected. Pure."""

from __future__ import annotations

from datetime import timedelta

from borg_ovirt.config.schema import Retention
from borg_ovirt.jobs.health.age import Limits
from borg_ovirt.jobs.health.vms import Protection
from borg_ovirt.units import format_duration


def span(time: timedelta | None) -> str:
    """How long, as people say it; empty for None."""
    if time is None:
        return ""
    told = format_duration(max(time.total_seconds(), 0))
    return told.removesuffix("00h") if "d" in told else told


def retention(rules: Retention) -> str:
    """Which archives stay."""
    if rules.keeps_everything:
        return "everything"
    told = [f"all within {span(rules.within)}"] if rules.within else []
    if rules.last:
        told.append(f"the last {rules.last}")
    counts = ("hourly", "daily", "weekly", "monthly", "yearly")
    told += [f"{count} {word}" for word in counts if (count := getattr(rules, word))]
    return ", ".join(told)


def why(line: Protection, limits: Limits, *, excluded: bool) -> str | None:
    """Why a VM is not protected, or not as its policy asks; None if it is, or need not be."""
    if line.verdict == "no backup":
        return "it is selected and has no archive"
    if line.verdict == "damaged":
        return f"none of its {line.archives} archives can be restored whole"
    if line.verdict == "old":
        age = f"is {span(line.age)} old" if line.age is not None else "bears no time that can be believed"
        return f"its last archive {age}, and may be {span(limits.max_age)}"
    if line.verdict == "unproven":
        ago = f"its last proof was {span(line.proof_age)} ago"
        last = ago if line.proof_age is not None else "none of its archives was proven"
        return f"{last}, and one is asked for every {span(limits.max_proof_age)}"
    if line.verdict == "unselected":
        return "it has archives, and the configuration neither selects nor excludes it any more"
    if line.verdict == "no max_age":
        return "nothing says how old its last archive may be (policy.max_age)"
    if line.verdict == "-" and line.status == "gone":
        return "the engine has it no more"
    if line.verdict == "-":
        return "the configuration excludes it" if excluded else "the configuration does not select it"
    return None
