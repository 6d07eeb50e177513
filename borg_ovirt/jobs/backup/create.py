"""Back up one VM: one instant of all its disks, read where it changed, stored as one complete archive.

The order is the promise. The repository is open and the OVF fetched before the engine locks anything; every
transfer runs and every disk's extents are known before the first chunk is stored; the archive is committed
only when every disk is complete and every transfer is finished. Anything else leaves no archive.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from borg_ovirt.blocks import CELL
from borg_ovirt.errors import CheckpointLost, VmNotSuitable
from borg_ovirt.jobs.backup.base import BaseQuery, Choice, DiskBase
from borg_ovirt.jobs.backup.checkpoints import describe, drop_unneeded
from borg_ovirt.jobs.backup.disks import DiskRules, choose_disks, listing
from borg_ovirt.jobs.backup.record import (
    DiskOutcome,
    RunFacts,
    disk_record,
    run_record,
    snapshot_records,
    vm_record,
)
from borg_ovirt.jobs.backup.stores import Archive, Store, Stored
from borg_ovirt.ovirt.capture.capture import Capture, CapturedDisk, capture
from borg_ovirt.ovirt.facts.checkpoints import list_checkpoints
from borg_ovirt.ovirt.facts.storage import domain_names
from borg_ovirt.ovirt.facts.vm import DiskFacts, VmFacts, fetch_ovf, find_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.download import download
from borg_ovirt.pipe.fetch import BUFFERS, READERS, Buffers
from borg_ovirt.pipe.plan import Plan, make_plan
from borg_ovirt.pipe.ports import Sink, Source
from borg_ovirt.pipe.sample import Sampling, check_sample, choose_sample
from borg_ovirt.progress import Progress
from borg_ovirt.repository import layout
from borg_ovirt.units import format_size


@dataclass(frozen=True)
class CreateOptions:
    """What a user can say about one backup; sizes in bytes."""

    freeze: str = "auto"
    """`auto`, `require` or `never`."""
    backup_api: str = "auto"
    """`auto` takes what the engine prefers, `live` avoids the snapshot-based hybrid backup."""
    full: bool = False
    full_every: timedelta | None = None
    """Read everything when the last full read is older than this."""
    sampling: Sampling = field(default_factory=Sampling)
    strict: bool = False
    """Skipped disks are refused, and a fallback to a full read is a warning."""
    rules: DiskRules = field(default_factory=DiskRules)
    readers: int = READERS
    cell: int | None = None
    """Size of a grid cell for a VM without archives; a series keeps the grid of its first archive."""
    through: Callable[[Source], Source] | None = None
    """What a run puts between each disk and its readers: a rate limit, an alarm."""


@dataclass
class CreateResult:
    """What one backup did."""

    vm_id: str
    vm_name: str
    archive: str
    kind: str
    """`full` or `incremental`."""
    reason: str | None
    """Why it was a full one."""
    method: str
    consistency: str
    disks: list[DiskOutcome]
    skipped: list[layout.SkippedDisk]
    warnings: list[str]
    started: datetime
    ended: datetime
    settle: Callable[[], list[str]]
    """Waits for what the engine still does (a snapshot merge) and removes checkpoints that nobody needs any
    more; to be called when the repository is closed. Returns warnings."""
    stored: list[Stored] = field(default_factory=list)
    """What became of it in each repository."""


def create(
    store: Store,
    engine: Engine,
    vm_name: str,
    options: CreateOptions,
    journal: Journal,
    progress: Progress,
) -> CreateResult:
    """Make one archive of one VM in an open repository, or the same in several."""
    started = datetime.now(timezone.utc)
    vm = find_vm(engine, vm_name)
    chosen, skipped = choose_disks(vm, options.rules)
    if not chosen:
        raise VmNotSuitable(
            f"VM {vm.name} has no disk that can be backed up: {listing(skipped) or 'it has no disks'}."
        )
    ovf = fetch_ovf(engine, vm.id)
    choice = store.choose(base_query(engine, vm.id, options, started))
    domains = domain_names(engine)
    job = _Job(store, engine, vm, chosen, skipped, ovf, domains, options, journal, progress, started)
    needed = store.needed(vm.id)
    try:
        try:
            return job.run(choice)
        except CheckpointLost as lost:
            progress.warn(f"{vm.name}: {lost.message} A full backup is made instead.")
            return job.run(Choice(None, lost.message, fallback=True))
    except BaseException:
        for warning in drop_unneeded(engine, vm.id, store.ids, needed):
            progress.warn(warning)
        raise


def base_query(engine: Engine, vm_id: str, options: CreateOptions, now: datetime) -> BaseQuery:
    """What decides on the base: the engine's checkpoints, and what was asked for."""
    checkpoints = {held.id: held.state for held in list_checkpoints(engine, vm_id)}
    return BaseQuery(vm_id, checkpoints, options.full, options.full_every, now)


@dataclass
class Work:
    """One disk between its plan and the archive."""

    disk: CapturedDisk
    plan: Plan
    base: DiskBase | None
    reason: str | None
    """Why the disk is read whole; None for an incremental read."""

    @property
    def name(self) -> str:
        return self.disk.facts.alias or self.disk.facts.id


def lay_out(disk: CapturedDisk, cell: int, choice: Choice) -> Work:
    """Fetch one disk's extents and lay them on the grid."""
    base, reason = None, disk.mode_reason or choice.reason
    if choice.base and disk.incremental:
        base, reason = choice.base.disk(disk.facts.id, disk.facts.size, cell)
    return Work(disk, _plan(disk, cell, base), base, reason)


def _plan(disk: CapturedDisk, cell: int, base: DiskBase | None) -> Plan:
    extents = disk.source.extents("dirty" if base else "zero")
    longer = disk.facts.format == "raw"  # on block storage the volume is longer than the disk in it
    name = f"disk {disk.facts.alias or disk.facts.id}"
    return make_plan(disk.facts.size, cell, extents, base, longer_export=longer, name=name)


@dataclass
class _Job:
    """One backup under way: what the steps of the story share."""

    store: Store
    engine: Engine
    vm: VmFacts
    chosen: list[DiskFacts]
    skipped: list[layout.SkippedDisk]
    ovf: bytes
    domains: dict[str, tuple[str, str]]
    """Storage domain id -> name and storage type."""
    options: CreateOptions
    journal: Journal
    progress: Progress
    started: datetime
    warnings: list[str] = field(default_factory=list)

    def run(self, choice: Choice) -> CreateResult:
        """Capture one instant, store it, commit."""
        base = choice.base
        cell = self.store.series_cell(self.vm.id) or self.options.cell or CELL
        plan = f"incremental since {base.name}" if base else f"full ({choice.reason})"
        self.progress.step(f"{self.vm.name}: {plan}")
        self.warnings = self._known_losses()
        with capture(
            self.engine,
            self.vm,
            self.chosen,
            journal=self.journal,
            description=describe(self.store.ids),
            from_checkpoint=base.checkpoint if base else None,
            freeze=self.options.freeze,
            api=self.options.backup_api,
            log=self.progress.step,
        ) as captured:
            works = [lay_out(disk, cell, choice) for disk in self._disks(captured)]
            self._warn_of_fallbacks(works, choice)
            name = layout.archive_name(self.vm.name, captured.instant, self.store.all_names())
            with self.store.writer(name, started=captured.instant) as archive:
                archive.add_file(layout.OVF, self.ovf)
                buffers = Buffers(cell, max(self.options.readers, BUFFERS // cell))
                outcomes = [self._store(archive, work, buffers) for work in works]
                captured.finish()
                return self._commit(archive, captured, choice, outcomes, cell)

    def _disks(self, captured: Capture) -> list[CapturedDisk]:
        if self.options.through is None:
            return captured.disks
        watched: Any = self.options.through
        return [replace(disk, source=watched(disk.source)) for disk in captured.disks]

    def _known_losses(self) -> list[str]:
        """What no backup of this VM can hold, and what this one leaves out."""
        warnings = [
            f"{lost} of VM {self.vm.name} cannot be backed up over REST" for lost in self.vm.lost_state
        ]
        for disk in self.skipped:
            if not disk.expected:
                warnings.append(
                    f"disk {disk.alias or disk.id} of VM {self.vm.name} is skipped: {disk.reason}"
                )
        for warning in warnings:
            self.progress.warn(warning)
        return warnings

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.progress.warn(text)

    def _warn_of_losses(self) -> None:
        """A repository that was given up keeps nothing of this backup; the others are no worse for it."""
        for loss in self.store.losses():
            self._warn(loss)

    def _warn_of_fallbacks(self, works: list[Work], choice: Choice) -> None:
        """A raw disk is full by nature; any other full read is a step back, which `--strict` wants told."""
        if not self.options.strict:
            return
        if choice.fallback:
            self._warn(f"VM {self.vm.name} is read in full: {choice.reason}")
        for work in works:
            if choice.base and work.base is None and work.disk.facts.format != "raw":
                self._warn(f"disk {work.name} of VM {self.vm.name} is read in full: {work.reason}")

    def _store(self, archive: Archive, work: Work, buffers: Buffers) -> DiskOutcome:
        """Bring one disk into the archive."""
        facts = work.disk.facts
        sink = archive.disk(facts.id, facts.size, work.plan.cell)
        sampled, wrong = self._trust_but_sample(work, sink, buffers)
        asked = "incremental" if work.base or work.disk.incremental else "full"
        if wrong:
            work.reason = f"its change tracking is wrong: {wrong} cells differ from the base"
            self._warn(
                f"DISK {work.name} OF VM {self.vm.name}: THE CHANGE TRACKING IS WRONG. {wrong} cells that "
                "count as unchanged differ from the last archive. The disk is read in full now; older "
                "incremental archives of this VM may hold stale data."
            )
            work.base = None
            work.plan = _plan(work.disk, work.plan.cell, None)
        with self.progress.disk(work.name, facts.size, work.plan.bytes_to_fetch) as gauge:
            stats = download(
                work.plan,
                work.disk.source,
                sink,
                base=work.base,
                readers=self.options.readers,
                buffers=buffers,
                progress=gauge,
            )
            archive.complete(sink, stats)
        return DiskOutcome(
            facts=facts,
            size=facts.size,
            kind_asked=asked,
            kind="incremental" if work.base else "full",
            reason=work.reason,
            method=work.disk.method,
            stats=stats,
            sampled=sampled,
            mismatches=wrong,
            sampling=str(self.options.sampling) if asked == "incremental" else "",
        )

    def _trust_but_sample(self, work: Work, sink: Sink[Any], buffers: Buffers) -> tuple[int, int]:
        """Read a few of the cells that would be reused: how many were looked at, how many are wrong."""
        if work.base is None:
            return 0, 0
        if work.plan.mismatches:
            return 0, len(work.plan.mismatches)
        cells = choose_sample(work.plan, work.base, self.options.sampling)
        wrong = check_sample(
            work.plan,
            work.base.sampled(cells),
            cells,
            work.disk.source,
            sink,
            readers=self.options.readers,
            buffers=buffers,
        )
        return len(cells), len(wrong)

    def _commit(
        self,
        archive: Archive,
        captured: Capture,
        choice: Choice,
        outcomes: list[DiskOutcome],
        cell: int,
    ) -> CreateResult:
        """Write the manifest and make the archive visible: from here on it can be restored."""
        self._warn_of_losses()
        ended = datetime.now(timezone.utc)
        kind = "incremental" if any(o.kind == "incremental" for o in outcomes) else "full"
        reason = choice.reason or next((o.reason for o in outcomes if o.reason), None)
        base = choice.base.record if choice.base and kind == "incremental" else None
        facts = RunFacts(
            started=self.started,
            ended=ended,
            kind_asked="full" if self.options.full else "incremental",
            kind=kind,
            reason=reason if kind == "full" else None,
            base=base,
            cell=cell,
            consistency_asked=self.options.freeze,
            warnings=tuple(self.warnings),
        )
        manifest = layout.Manifest(
            mode="image",
            vm=vm_record(self.vm),
            disks=tuple(disk_record(outcome, cell, self.domains) for outcome in outcomes),
            snapshots=snapshot_records(self.vm),
            run=run_record(self.engine, captured, facts, sum(o.stats.resumes for o in outcomes)),
            skipped=tuple(self.skipped),
            warnings=facts.warnings,
        )
        archive.commit(manifest)
        self._warn_of_losses()
        read, new = (sum(getattr(o.stats, f"bytes_{what}") for o in outcomes) for what in ("read", "new"))
        self.progress.step(
            f"{self.vm.name}: archive {archive.name}: {format_size(read)} read, {format_size(new)} new"
        )
        needed = {captured.to_checkpoint, *self.store.still_needed()} if captured.to_checkpoint else set()
        return CreateResult(
            vm_id=self.vm.id,
            vm_name=self.vm.name,
            archive=archive.name,
            kind=kind,
            reason=facts.reason,
            method=captured.method,
            consistency=captured.consistency,
            disks=outcomes,
            skipped=self.skipped,
            warnings=self.warnings,
            started=self.started,
            ended=ended,
            settle=_settling(captured, self.engine, self.vm.id, list(self.store.ids), needed),
            stored=self.store.stored(),
        )


def _settling(
    captured: Capture, engine: Engine, vm_id: str, opened: list[str], needed: set[str]
) -> Callable[[], list[str]]:
    def settle() -> list[str]:
        warnings = list(captured.wait_merge())
        if needed:
            warnings += drop_unneeded(engine, vm_id, opened, needed)
        return warnings

    return settle
