"""How much the next backup of a VM would read: asked of the engine's extents alone, nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone

from borg_ovirt.blocks import CELL
from borg_ovirt.errors import CheckpointLost
from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.begin import base_query, capture, choose, without_use
from borg_ovirt.jobs.backup.checkpoints import describe, drop_unneeded
from borg_ovirt.jobs.backup.items import DiskItems, Items
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.jobs.backup.stores import Store
from borg_ovirt.ovirt.facts.storage import domain_names
from borg_ovirt.ovirt.facts.vm import find_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.sample import Sampling
from borg_ovirt.progress import Progress


@dataclass(frozen=True)
class DiskEstimate:
    """What one disk would cost. Sizes in bytes."""

    alias: str
    size: int
    kind: str
    reason: str | None
    to_read: int
    zero: int
    reused: int


@dataclass(frozen=True)
class Estimate:
    """What the next backup of a VM would cost, apart from its sample of unchanged cells."""

    vm_name: str
    base: str | None
    reason: str | None
    """Why all of it would be read, if it would; a disk among others has its own."""
    disks: list[DiskEstimate]

    @property
    def to_read(self) -> int:
        """Bytes that would move."""
        return sum(disk.to_read for disk in self.disks)


def estimate(
    store: Store,
    engine: Engine,
    vm_name: str,
    options: CreateOptions,
    journal: Journal,
    progress: Progress,
) -> Estimate:
    """Start a backup, look at the extents, end it again with nothing left in the engine."""
    options = replace(options, freeze="never", sampling=Sampling(0, 0))
    vm = find_vm(engine, vm_name)
    chosen, _ = choose(vm, options)
    query = base_query(engine, vm.id, options, datetime.now(timezone.utc))
    choice = without_use(store.choose(query), chosen, options)
    domains = domain_names(engine)
    needed = store.needed(vm.id, engine.identity)

    def measure(choice: Choice) -> Estimate:
        with capture(
            engine,
            vm,
            chosen,
            choice,
            options,
            journal=journal,
            description=describe(store.ids),
            log=progress.step,
        ) as captured:
            cell = choice.cell or options.cell or CELL
            items = Items(captured, domains, cell, options.sampling, options.readers)
            items.lay_out(choice)
            items.measure()
        base = choice.base.name if choice.base else None
        disks = [_measured(disk) for disk in items.disks]
        reason = choice.reason or next((disk.reason for disk in disks if disk.reason), None)
        full = all(disk.kind == "full" for disk in disks)
        return Estimate(captured.vm.name, base, reason if full else None, disks)

    try:
        try:
            return measure(choice)
        except CheckpointLost as lost:
            return measure(Choice(None, lost.message, fallback=True, cell=choice.cell))
    finally:
        if options.mode == "image":
            for warning in drop_unneeded(engine, vm, store.ids, needed):
                progress.warn(warning)


def _measured(disk: DiskItems) -> DiskEstimate:
    plans = [item.plan for item in disk.items]
    counts = [plan.count_bytes() for plan in plans]
    reasons = [item.reason for item in disk.items if item.reason]
    return DiskEstimate(
        alias=disk.name,
        size=disk.facts.size,
        kind="incremental" if disk.reuses else "full",
        reason=None if disk.reuses else next(iter(reasons), None),
        to_read=sum(plan.bytes_to_fetch for plan in plans),
        zero=sum(count.zero for count in counts),
        reused=sum(count.reuse for count in counts),
    )
