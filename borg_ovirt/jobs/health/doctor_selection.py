"""Looks for VMs whose history is not what the configuration asks: too old, or ended in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from borg_ovirt.config.schema import Config
from borg_ovirt.jobs.health.doctor_proof import look_at_ages
from borg_ovirt.jobs.health.finding import Finding, ok, warn
from borg_ovirt.jobs.selection import Member, fleet
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.repository.open import Repository

_SHOWN = 5


@dataclass
class Unselected:
    """The VMs of the engine that the configuration neither selects nor excludes."""

    config: Config
    engine: tuple[str, str] | None = None
    """Its id and host; None until it was asked."""
    members: list[Member] = field(default_factory=list)
    """Every VM of it."""
    names: dict[str, str] = field(default_factory=dict)
    """VM id -> name, of those."""

    def ask(self, engine: Engine) -> None:
        """Learn them from the engine."""
        self.members = fleet(engine, self.config)
        self.names = {m.id: m.name for m in self.members if not (m.selected or m.excluded)}
        self.engine = engine.identity

    def look(self, about: str, repository: Repository) -> Iterator[Finding]:
        """Which of them a repository holds archives of."""
        if self.engine is None:
            return
        series = [s for s in repository.series() if s.is_of(*self.engine)]
        if not series:
            return
        yield from look_at_ages(about, repository, self.members, self.engine)
        found = sorted({self.names[s.vm_id] for s in series if s.vm_id in self.names})
        if not found:
            yield ok(about, "every VM with archives is selected, excluded or gone")
            return
        names = ", ".join(found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
        yield warn(
            about,
            f"{len(found)} VMs have archives and are selected no more: {names}",
            "Look at their tags and at `vms` in the configuration; `vms.exclude` says that it is meant so.",
        )
