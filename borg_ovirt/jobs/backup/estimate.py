"""How much the next backup of a VM would read: asked of the engine's extents alone, nothing is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from borg_ovirt.blocks import CELL
from borg_ovirt.errors import CheckpointLost, VmNotSuitable
from borg_ovirt.jobs.backup.base import Choice, choose_base, needed_checkpoints, series_cell
from borg_ovirt.jobs.backup.checkpoints import describe, drop_unneeded
from borg_ovirt.jobs.backup.create import CreateOptions, base_query, lay_out
from borg_ovirt.jobs.backup.disks import choose_disks, listing
from borg_ovirt.ovirt.capture.capture import capture
from borg_ovirt.ovirt.facts.vm import find_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository


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
    disks: list[DiskEstimate]

    @property
    def to_read(self) -> int:
        """Bytes that would move."""
        return sum(disk.to_read for disk in self.disks)


def estimate(
    repository: Repository,
    engine: Engine,
    vm_name: str,
    options: CreateOptions,
    journal: Journal,
    progress: Progress,
) -> Estimate:
    """Start a backup, look at the extents, end it again with nothing left in the engine."""
    vm = find_vm(engine, vm_name)
    chosen, skipped = choose_disks(vm, options.rules)
    if not chosen:
        raise VmNotSuitable(f"VM {vm.name} has no disk that can be backed up: {listing(skipped)}.")
    choice = choose_base(repository, base_query(engine, vm.id, options, datetime.now(timezone.utc)))
    needed = needed_checkpoints(repository, vm.id)

    def measure(choice: Choice) -> Estimate:
        with capture(
            engine,
            vm,
            chosen,
            journal=journal,
            description=describe([repository.id]),
            from_checkpoint=choice.base.checkpoint if choice.base else None,
            freeze="never",
            api=options.backup_api,
            log=progress.step,
        ) as captured:
            cell = series_cell(repository, vm.id) or options.cell or CELL
            works = [lay_out(disk, cell, choice) for disk in captured.disks]
        disks = []
        for work in works:
            counts = work.plan.count_bytes()
            kind = "incremental" if work.base else "full"
            facts = work.disk.facts
            disks.append(
                DiskEstimate(
                    alias=facts.alias or facts.id,
                    size=facts.size,
                    kind=kind,
                    reason=work.reason,
                    to_read=work.plan.bytes_to_fetch,
                    zero=counts.zero,
                    reused=counts.reuse,
                )
            )
        base = choice.base.name if choice.base else None
        return Estimate(vm.name, base, choice.reason, disks)

    try:
        try:
            return measure(choice)
        except CheckpointLost as lost:
            return measure(Choice(None, lost.message, fallback=True))
    finally:
        for warning in drop_unneeded(engine, vm.id, {repository.id}, needed):
            progress.warn(warning)
