"""One VM's backup within limits: room on its storage domains, places for readers, bytes per second."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from borg_ovirt.config.schema import Limits
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult, create
from borg_ovirt.jobs.backup.stores import SingleStore, Store
from borg_ovirt.jobs.runs.guard import EVERY, Guard
from borg_ovirt.jobs.runs.slots import places
from borg_ovirt.ovirt.facts.vm import VmFacts, read_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.ports import Source
from borg_ovirt.pipe.watched import Alarm, Bucket, WatchedSource
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository


@dataclass
class Bounds:
    """What the backups of a run share: limits, the bucket of their rate, the directory of their places."""

    limits: Limits
    state: Path
    rate: float | None = None
    """Bytes per second of this process."""
    guard_every: float = EVERY

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.rate) if self.rate else None


def back_up_limited(
    into: Repository | Store,
    engine: Engine,
    vm_id: str,
    options: CreateOptions,
    bounds: Bounds,
    journal: Journal,
    progress: Progress,
) -> CreateResult:
    """Back up one VM. `DomainFull` when there is too little room before, or not enough any more meanwhile."""
    vm = read_vm(engine, vm_id)
    domains = {disk.storage_domain for disk in vm.disks if disk.storage_domain}
    guard = Guard(engine, bounds.limits.min_free, every=bounds.guard_every)
    alarm = Alarm()

    def through(source: Source) -> Source:
        return WatchedSource(source, bounds.bucket, alarm)

    def waiting(name: str) -> None:
        progress.step(f"waiting for a place to read at {name.replace('-', ' ', 1)}")

    narrow = _narrow(vm, domains, bounds.limits)
    with (
        guard.watching(domains, alarm),
        places(bounds.state / "places", narrow, options.readers, told=waiting) as readers,
    ):
        limited = replace(options, readers=readers, through=through)
        store = SingleStore(into) if isinstance(into, Repository) else into
        return create(store, engine, vm_id, limited, journal, progress)


def _narrow(vm: VmFacts, domains: set[str], limits: Limits) -> dict[str, int]:
    """Where only so many may read at a time. Which host serves a VM that is down only the engine knows."""
    found = {}
    if limits.readers_per_domain:
        found.update({f"domain-{domain}": limits.readers_per_domain for domain in domains})
    if limits.readers_per_host:
        found[f"host-{vm.host_id or 'any'}"] = limits.readers_per_host
    return found
