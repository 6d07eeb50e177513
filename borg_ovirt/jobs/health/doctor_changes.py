"""Looks for VMs that changed as never before: somebody may be encrypting them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from borg_ovirt.jobs.archives.heat import heats
from borg_ovirt.jobs.health.finding import Finding, warn
from borg_ovirt.repository.open import Repository

_LATELY = timedelta(days=7)


def look_at_changes(about: str, repository: Repository) -> Iterator[Finding]:
    """A finding for each VM with an unusual archive of the last days."""
    since = datetime.now(timezone.utc) - _LATELY
    for series in repository.series():
        told = [(name, words) for name, words in heats(series).items() if series.times[name] >= since]
        if told:
            name, words = told[-1]
            yield warn(
                about,
                f"VM {series.vm_name}, archive {name}: {words}",
                "Look at the VM; if somebody encrypts it, hold an older archive (`borg-ovirt hold`).",
            )
