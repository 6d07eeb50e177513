"""What one repository tells of itself and of the VMs in it, read in one go while it is open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.health.doctor_repository import LookedAt, look_at_repository
from borg_ovirt.jobs.health.vms import History, history
from borg_ovirt.jobs.report.growth import growth
from borg_ovirt.jobs.report.model import RepositoryReport
from borg_ovirt.repository.borg_usage import Usage
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.series import Series


@dataclass(frozen=True)
class Held:
    """One repository, read."""

    report: RepositoryReport
    history: History = field(default_factory=lambda: History([], {}))
    usage: Usage | None = None
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    """Of the newest whole archive of each series, by its name; those that can be read."""


@dataclass(frozen=True)
class Looks:
    """How closely to look."""

    check: bool = True
    """Whether the newest archives can be restored whole."""
    sizes: bool = True
    """Count what is unique and what is shared: reads the lists of all chunks."""


def read(name: str, where: str, looked_at: LookedAt, looks: Looks, state: Path, now: datetime) -> Held:
    """Read a repository; one that cannot be opened is told of, and the others are read all the same."""
    report = RepositoryReport(name, where)
    try:
        with looked_at.opener() as opened:
            return _read(report, opened, looked_at, looks, state, now)
    except BorgOvirtError as error:
        return Held(replace(report, error=str(error)))


def _read(
    report: RepositoryReport,
    repository: Repository,
    looked_at: LookedAt,
    looks: Looks,
    state: Path,
    now: datetime,
) -> Held:
    held = history(repository, check=looks.check)
    usage = repository.usage() if looks.sizes else None
    space = repository.space()
    archives = repository.archives()
    totals = [info.comment.figures.total for info in archives if info.comment.figures]
    opened = replace(looked_at, opener=lambda: nullcontext(repository))
    return Held(
        replace(
            report,
            location=repository.location,
            archives=len(archives),
            stored=usage.stored if usage else totals[-1] if totals else None,
            original=usage.original if usage else None,
            taken=space.taken if space else None,
            free=space.free if space else None,
            growth=growth(archives, space, now),
            findings=list(look_at_repository(report.name, opened, state)),
        ),
        held,
        usage,
        {name: manifest for s in held.series for name, manifest in _manifest(repository, s, held)},
    )


def _manifest(repository: Repository, series: Series, held: History) -> list[tuple[str, Manifest]]:
    whole = (info.name for info in series.newest_first if info.name not in held.damaged)
    name = next(whole, series.newest.name)
    try:
        return [(name, repository.archive(name).manifest)]
    except BorgOvirtError:  # it is damaged, and told of as that
        return []
