"""Looks for VMs that were backed up and are selected no more: their history ended in silence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from borg_ovirt.config.schema import Config
from borg_ovirt.jobs.health.finding import Finding, ok, warn
from borg_ovirt.jobs.selection import fleet
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.repository.open import Repository

_SHOWN = 5


@dataclass
class Unselected:
    """The VMs of the engine that the configuration neither selects nor excludes."""

    config: Config
    engine: tuple[str, str] | None = None
    """Its id and host; None until it was asked."""
    names: dict[str, str] = field(default_factory=dict)
    """VM id -> name."""

    def ask(self, engine: Engine) -> None:
        """Learn them from the engine."""
        self.names = {m.id: m.name for m in fleet(engine, self.config) if not (m.selected or m.excluded)}
        self.engine = engine.identity

    def look(self, about: str, repository: Repository) -> Iterator[Finding]:
        """Which of them a repository holds archives of."""
        if self.engine is None:
            return
        series = [s for s in repository.series() if s.is_of(*self.engine)]
        if not series:
            return
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
