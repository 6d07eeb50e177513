"""What a run should do and what it may take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path

from borg_ovirt.config.schema import Limits
from borg_ovirt.jobs.backup.create import CreateOptions
from borg_ovirt.jobs.backup.opened import OpenedRepositories
from borg_ovirt.jobs.runs.guard import EVERY
from borg_ovirt.jobs.selection import Member
from borg_ovirt.ovirt.session.engine import Engine


@dataclass(frozen=True)
class RunPlan:
    """The same for one VM and many, one repository and many."""

    run_id: str
    members: Callable[[Engine], Sequence[Member]]
    """The VMs it is about."""
    options: Callable[[Member], CreateOptions]
    repositories: OpenedRepositories
    state: Path
    """Where journals lie, and locks that our processes share."""
    limits: Limits = field(default_factory=Limits)
    until: datetime | None = None
    """No VM is started after this moment."""
    named: bool = False
    """It is about one VM that the command line names: its failure is the run's."""
    selected: Callable[[Engine], Sequence[Member]] | None = None
    """All VMs that runs like this one are about, however it was narrowed; None where nobody asks."""
    guard_every: float = EVERY


def window_end(until: time | None, started: datetime) -> datetime | None:
    """The next moment after `started` (local time) at which the clock shows `until`."""
    if until is None:
        return None
    local = started.astimezone()
    end = local.replace(hour=until.hour, minute=until.minute, second=0, microsecond=0)
    return end if end > local else end + timedelta(days=1)
