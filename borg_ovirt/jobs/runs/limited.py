"""One VM's backup within limits: room on its storage domains, places for readers, bytes per second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from borg_ovirt import waits
from borg_ovirt.config.schema import Limits
from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult, create
from borg_ovirt.jobs.backup.stores import Store, Stored
from borg_ovirt.jobs.backup.storing import Storing
from borg_ovirt.jobs.runs.guard import EVERY, Guard
from borg_ovirt.jobs.runs.slots import places
from borg_ovirt.ovirt.facts.vm import VmFacts, read_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.ports import Source
from borg_ovirt.pipe.watched import Alarm, Bucket, WatchedSource
from borg_ovirt.progress import Progress


@dataclass
class Bounds:
    """What the backups of a run share: limits, the bucket of their rate, the directory of their places."""

    limits: Limits
    state: Path
    guard_every: float = EVERY

    def __post_init__(self) -> None:
        self.bucket = Bucket(self.limits.rate_limit) if self.limits.rate_limit else None


def back_up_limited(
    store: Store,
    engine: Engine,
    vm_id: str,
    options: CreateOptions,
    bounds: Bounds,
    journal: Journal,
    progress: Progress,
    storing: Storing,
) -> Iterator[CreateResult]:
    """Back up one VM: a result for each time that it has to be read, which is once but for the grids.

    What was made stands when a later read is interrupted. Raises `DomainFull` when there is too little room
    before, or not enough any more meanwhile.
    """
    vm = read_vm(engine, vm_id)
    with _within(bounds, engine, vm, options, progress, storing) as limited:
        stores = store.by_grid(vm.id, options.mode, engine.identity)
        if len(stores) > 1:
            progress.step(
                f"{vm.name}: read {len(stores)} times: the repositories hold it in chunks of different sizes"
            )
        made: list[CreateResult] = []
        missed: list[tuple[Store, BorgOvirtError]] = []
        for part in stores:
            if made:  # its disks are locked until the engine is through with the read before
                made[-1].warnings += made[-1].wait_for_merge()
                made[-1].wait_for_merge = list
            try:
                made.append(create(part, engine, vm_id, limited, journal, progress, storing))
            except BorgOvirtError as error:
                missed.append((part, error))
            else:
                yield made[-1]
        if not made:
            raise missed[-1][1]
        for part, why in missed:
            _miss(made[0], part, why)


def _miss(result: CreateResult, part: Store, error: BorgOvirtError) -> None:
    """These repositories have no archive of a backup that others have."""
    for location in part.locations:
        result.stored.append(Stored(location, None, error=str(error)))
        result.warnings.append(f"repository {location} has no archive of this backup: {error}")


@contextmanager
def _within(
    bounds: Bounds,
    engine: Engine,
    vm: VmFacts,
    options: CreateOptions,
    progress: Progress,
    storing: Storing,
) -> Iterator[CreateOptions]:
    """The options as the limits let them be."""
    domains = {disk.storage_domain for disk in vm.disks if disk.storage_domain}
    guard = Guard(engine, bounds.limits.min_free, every=bounds.guard_every)
    alarm = Alarm()

    def through(source: Source) -> Source:
        return WatchedSource(source, bounds.bucket, alarm)

    @contextmanager
    def waiting(name: str) -> Iterator[None]:
        progress.step(f"waiting for a place to read at {name.replace('-', ' ', 1)}")
        with storing.aside(), waits.wait("waiting for a place to read"):  # who has it may be behind this one
            yield

    narrow = _narrow(vm, domains, bounds.limits)
    with (
        guard.watching(domains, alarm),
        places(bounds.state / "places", narrow, options.readers, waiting=waiting) as readers,
    ):
        yield replace(options, readers=readers, through=through)


def _narrow(vm: VmFacts, domains: set[str], limits: Limits) -> dict[str, int]:
    """Where only so many may read at a time. Which host serves a VM that is down only the engine knows."""
    found = {}
    if limits.readers_per_domain:
        found.update({f"domain-{domain}": limits.readers_per_domain for domain in domains})
    if limits.readers_per_host:
        found[f"host-{vm.host_id or 'any'}"] = limits.readers_per_host
    return found
