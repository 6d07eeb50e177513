"""What a report tells. Sizes in bytes, times in UTC; None is what nobody could tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from borg_ovirt.jobs.health.finding import Finding
from borg_ovirt.jobs.health.vms import Protection


@dataclass(frozen=True)
class NightPoint:
    """One archive, as the charts show it."""

    archive: str
    time: datetime
    kind: str
    changed: float | None
    """Share of its data that was new; None for the first, and for those without figures."""
    added: int | None
    heat: str | None


@dataclass(frozen=True)
class HeldArchive:
    """An archive that `prune` does not touch."""

    archive: str
    by: str
    reason: str
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True)
class VmReport:
    """One VM in one repository."""

    protection: Protection
    why: str | None
    """Why it is not protected, or not as its policy asks."""
    max_age: timedelta | None
    max_proof_age: timedelta | None
    unique: int | None
    """What only its archives need, compressed."""
    shared: int | None
    nights: list[NightPoint]
    """Those of the last weeks, oldest first."""
    oldest: datetime | None
    """Time of its oldest archive."""
    retention: str
    holds: list[HeldArchive]
    warnings: list[str]
    """What is unusual, damaged, failed or left out: somebody should look at it."""
    notes: list[str]
    """What else the run that made its last archive warned of, expected or not."""

    @property
    def grade(self) -> str:
        """`bad`: not protected as it should be. `warn`: look at it. `good`. `none`: not to be backed up."""
        if self.protection.failed:
            return "bad"
        if self.warnings or self.protection.verdict == "no max_age":
            return "warn"
        return "none" if self.protection.verdict == "-" else "good"


@dataclass(frozen=True)
class Growth:
    """How a repository grows, by what its archives tell."""

    points: list[tuple[datetime, int]]
    """What it held after the last archive of each day."""
    per_day: float | None
    """Bytes a day, over the last weeks; None where too few days tell."""
    full_in: timedelta | None
    """Until its file system is full at that pace; None where that is unknown or never."""
    forecast: str
    """The same in words, or why there is none."""


@dataclass(frozen=True)
class RepositoryReport:
    """One repository."""

    name: str
    location: str
    error: str | None = None
    """Why it could not be opened; then nothing else is known."""
    archives: int = 0
    stored: int | None = None
    """All chunks, compressed, each counted once."""
    original: int | None = None
    """All files of all archives, as they would be extracted."""
    taken: int | None = None
    """On its file system."""
    free: int | None = None
    growth: Growth | None = None
    findings: list[Finding] = field(default_factory=list)
    """What `doctor` says of it: encryption, copy of the key, append-only, checks, proofs."""

    @property
    def ratio(self) -> float | None:
        """How many times smaller it is than what it holds."""
        return self.original / self.stored if self.original and self.stored else None


@dataclass(frozen=True)
class Report:
    """How everything stood at one moment."""

    time: datetime
    version: str
    host: str
    engine: str | None
    """Host of the engine; None where it was not asked."""
    engine_error: str | None
    """Why it did not answer."""
    vms: list[VmReport]
    """The least protected first."""
    repositories: list[RepositoryReport]

    @property
    def failed(self) -> bool:
        """Whether somebody has to do something."""
        return (
            self.engine_error is not None
            or any(vm.grade == "bad" for vm in self.vms)
            or any(r.error or any(f.status == "failure" for f in r.findings) for r in self.repositories)
        )
