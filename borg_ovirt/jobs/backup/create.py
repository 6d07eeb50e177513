"""Back up one VM: one instant of all its disks, read where it changed, stored as one complete archive.

The order is the promise. The repository is open and the OVF fetched before the engine locks anything; the
transfer of every disk runs and its extents are known before the first chunk is stored (frozen layers are
opened one after the other); the archive is committed only when every item is complete and every transfer is
finished. Anything else leaves no archive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone

from borg_ovirt.blocks import CELL
from borg_ovirt.errors import CheckpointLost
from borg_ovirt.jobs.backup import wording
from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.begin import base_query, capture, choose, without_use
from borg_ovirt.jobs.backup.checkpoints import describe, drop_lost, drop_unneeded, prove
from borg_ovirt.jobs.backup.disks import choose_disks
from borg_ovirt.jobs.backup.items import DiskItems, Items
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.jobs.backup.record import DiskOutcome, RunFacts, manifest
from borg_ovirt.jobs.backup.stores import Archive, Store, Stored
from borg_ovirt.jobs.backup.storing import ARCHIVE, ROOM, Storing
from borg_ovirt.jobs.backup.way import expected_read
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.facts.settings import SettingsFacts, read_settings
from borg_ovirt.ovirt.facts.storage import domain_names
from borg_ovirt.ovirt.facts.vm import fetch_ovf, find_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.fetch import BUFFERS, Buffers
from borg_ovirt.progress import Progress
from borg_ovirt.repository import layout
from borg_ovirt.waits import wait

__all__ = ["CreateOptions", "CreateResult", "create"]


@dataclass
class CreateResult:
    """What one backup did."""

    vm_id: str
    vm_name: str
    archive: str
    mode: str
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
    wait_for_merge: Callable[[], list[str]]
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
    storing: Storing | None = None,
) -> CreateResult:
    """Make one archive of one VM in an open repository, or the same in several.

    `storing`: who stores, where several backups are under way; the store is a `SharedStore` then.
    """
    started = datetime.now(timezone.utc)
    vm = find_vm(engine, vm_name)
    chosen, skipped = choose(vm, options)
    ovf = fetch_ovf(engine, vm.id)
    settings = read_settings(engine, vm)
    with wait("looking for what to build on"):
        choice = without_use(store.choose(base_query(engine, vm.id, options, started)), chosen, options)
    domains = domain_names(engine)
    job = _Job(
        store,
        engine,
        vm,
        chosen,
        skipped,
        ovf,
        settings,
        domains,
        options,
        journal,
        progress,
        started,
        storing or Storing(),
    )
    needed = store.needed(vm.id, engine.identity)
    try:
        try:
            return job.run(choice)
        except CheckpointLost as lost:
            progress.warn(f"{vm.name}: {lost.message} A full backup is made instead.")
            if choice.base and choice.base.checkpoint:
                needed.discard(choice.base.checkpoint)
                drop_lost(engine, vm, store.ids, needed)
            return job.run(Choice(None, lost.message, fallback=True, cell=choice.cell))
    except BaseException:
        # While a backup that could not be ended is open the engine removes no checkpoint of the VM.
        if options.mode == "image" and not journal.holds("backup", vm.id):
            for warning in drop_unneeded(engine, vm, store.ids, needed):
                progress.warn(warning)
        raise


@dataclass
class _Job:
    """One backup under way: what the steps of the story share."""

    store: Store
    engine: Engine
    vm: VmFacts
    chosen: list[DiskFacts]
    skipped: list[layout.SkippedDisk]
    ovf: bytes
    settings: SettingsFacts
    domains: dict[str, tuple[str, str]]
    """Storage domain id -> name and storage type."""
    options: CreateOptions
    journal: Journal
    progress: Progress
    started: datetime
    storing: Storing
    warnings: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Losses that stand in the archive and are no warning."""

    def run(self, choice: Choice) -> CreateResult:
        """Capture one instant, store it, commit."""
        options, self.warnings, self.expected = self.options, [], []
        for damage in choice.damage:
            self.progress.step(f"{self.vm.name}: {damage}")
        plan = f"incremental since {choice.base.name}" if choice.base else f"full ({choice.reason})"
        self.progress.detail(f"{self.vm.name}: {plan}")
        with (
            self.storing.in_line(large=self._large(choice)) as begun,
            capture(
                self.engine,
                self.vm,
                self.chosen,
                choice,
                options,
                journal=self.journal,
                description=describe(self.store.ids),
                log=self.progress.step,
            ) as captured,
        ):
            cell = choice.cell or options.cell or CELL
            items = Items(captured, self.domains, cell, options.sampling, options.readers, options.through)
            skipped = self._left_out(captured)
            for loss, expected in wording.losses(captured.vm, skipped, options):
                if expected:
                    self.expected.append(loss)
                    self.progress.detail(f"{loss} (expected)")
                else:
                    self._warn(loss)
            for note in wording.notes(captured.vm):
                self.progress.detail(note)
            with wait("asking which blocks are to be read"):
                items.lay_out(choice)
            self._tell(items, choice)
            with self._read_ahead(items) as held:
                if held:  # the VM is let go of before its turn comes
                    captured.finish()
                return self.storing.do(
                    lambda: self._keep(items, captured, choice, skipped, held=held, begun=begun),
                    ARCHIVE,
                )

    def _large(self, choice: Choice) -> bool:
        """It will hardly fit into memory; of frozen layers nobody knows before."""
        expected = expected_read(choice, self.chosen)
        return self.options.mode == "chain" or (expected or 0) > ROOM

    @contextmanager
    def _read_ahead(self, items: Items) -> Iterator[bool]:
        """Where others store meanwhile: look into the disks; hold what is to be stored if it is little."""
        size = None
        try:
            if self.storing.shared:
                with (
                    wait("reading what is new"),
                    self.storing.buffers(items.cell, self._buffer_count(items)) as buffers,
                ):
                    self._check(items, buffers)
                    wanted = items.size_held()
                    if wanted is not None and self.storing.hold(wanted):
                        size = wanted
                        items.read_ahead(buffers)
            yield size is not None
        finally:
            self.storing.release(size or 0)

    def _buffer_count(self, items: Items) -> int:
        return max(self.options.readers, BUFFERS // items.cell)

    def _keep(
        self,
        items: Items,
        captured: Capture,
        choice: Choice,
        skipped: list[layout.SkippedDisk],
        *,
        held: bool,
        begun: Callable[[], None],
    ) -> CreateResult:
        """It is its turn: the one archive that is made now."""
        begun()
        name = layout.archive_name(self.vm.name, captured.instant, self.store.all_names())
        with (
            nullcontext() if held else self.storing.streaming(items.seconds_left),
            self.store.writer(name, started=captured.instant) as archive,
        ):
            archive.add_file(layout.OVF, self.ovf)
            buffers = Buffers(items.cell, self._buffer_count(items))
            if not self.storing.shared:
                with wait("comparing a sample"):
                    self._check(items, buffers)
            done = [(disk, self._store(items, disk, archive, buffers)) for disk in items.disks]
            if not held:
                captured.finish()
            return self._commit(archive, captured, choice, done, skipped, items.cell)

    def _left_out(self, captured: Capture) -> list[layout.SkippedDisk]:
        """The disks that were skipped, hold nothing that can be read, or came when it was too late."""
        came = {disk.id for disk in captured.vm.disks} - {disk.id for disk in self.vm.disks}
        chosen, skipped = choose_disks(captured.vm, self.options.rules) if came else ([], [])
        late = [(d, "it was attached while the backup began") for d in chosen if d.id in came]
        more = (
            layout.SkippedDisk(id=disk.id, alias=disk.alias, reason=reason, size=disk.size)
            for disk, reason in [*captured.left_out, *late]
        )
        return [*self.skipped, *(disk for disk in skipped if disk.id in came), *more]

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.progress.warn(text)

    def _tell(self, items: Items, choice: Choice) -> None:
        """Say what is read. Under `--strict` each step back to a full read is a warning."""
        if self.options.mode == "chain":
            for line in wording.layers(self.vm, items.disks):
                self.progress.detail(line)
        if not self.options.strict:
            return
        if choice.fallback:
            self._warn(f"VM {self.vm.name} is read in full: {choice.reason}")
        if choice.base:
            for text in wording.steps_back(self.vm, items.disks):
                self._warn(text)

    def _tell_heat(self, stored: list[Stored]) -> None:
        """A VM that changes as it never did may be in the hands of somebody who encrypts it."""
        heat = next((one.heat for one in stored if one.heat), None)
        if heat is not None and "changes" in self.options.expect:
            self.progress.detail(f"VM {self.vm.name}: {heat} (expected)")
        elif heat is not None:
            self._warn(f"VM {self.vm.name}: {heat}")

    def _warn_of_lost_repositories(self) -> None:
        """A repository that was given up keeps nothing of this backup; the others are no worse for it."""
        for loss in self.store.losses():
            self._warn(loss)

    def _check(self, items: Items, buffers: Buffers) -> None:
        """Nothing of the disks is stored yet: is what would be reused what they hold?"""
        for disk in items.disks:
            items.check(disk, buffers)
            if disk.mismatches:
                self._warn(wording.alarm(self.vm, disk))

    def _store(self, items: Items, disk: DiskItems, archive: Archive, buffers: Buffers) -> DiskOutcome:
        """Bring one disk into the archive."""
        stats = items.store(disk, archive, buffers, self.progress)
        top = disk.items[-1].layer.facts
        reasons = [item.reason for item in disk.items if item.reason]
        return DiskOutcome(
            facts=disk.facts,
            size=top.capacity if top else disk.items[-1].plan.size,
            kind_asked=disk.kind_asked,
            kind="incremental" if disk.reuses else "full",
            reason=None if disk.reuses else next(iter(reasons), None),
            method=disk.disk.method,
            stats=stats,
            sampled=disk.sampled,
            mismatches=disk.mismatches,
            sampling=str(self.options.sampling) if disk.kind_asked == "incremental" else "",
        )

    def _commit(
        self,
        archive: Archive,
        captured: Capture,
        choice: Choice,
        done: list[tuple[DiskItems, DiskOutcome]],
        skipped: list[layout.SkippedDisk],
        cell: int,
    ) -> CreateResult:
        """Write the manifest and make the archive visible: from here on it can be restored."""
        self._warn_of_lost_repositories()
        ended = datetime.now(timezone.utc)
        outcomes = [outcome for _, outcome in done]
        kind = "incremental" if any(o.kind == "incremental" for o in outcomes) else "full"
        reason = choice.reason or next((o.reason for o in outcomes if o.reason), None)
        facts = RunFacts(
            mode=self.options.mode,
            started=self.started,
            ended=ended,
            kind_asked="full" if self.options.full else "incremental",
            kind=kind,
            reason=reason if kind == "full" else None,
            base=choice.base.record if choice.base and kind == "incremental" else None,
            cell=cell,
            consistency_asked=self.options.freeze,
            warnings=(*self.warnings, *self.expected),
            settings=self.settings,
        )
        with wait(f"{self.vm.name}: committing the archive"):
            archive.commit(manifest(captured, done, skipped, self.domains, facts))
        self._warn_of_lost_repositories()
        stored = self.store.stored()
        self._tell_heat(stored)
        return CreateResult(
            vm_id=self.vm.id,
            vm_name=self.vm.name,
            archive=archive.name,
            mode=self.options.mode,
            kind=kind,
            reason=facts.reason,
            method=captured.method,
            consistency=captured.consistency,
            disks=outcomes,
            skipped=skipped,
            warnings=self.warnings,
            started=self.started,
            ended=ended,
            wait_for_merge=self._ending(captured) if self.options.wait else list,
            stored=stored,
        )

    def _ending(self, captured: Capture) -> Callable[[], list[str]]:
        """What the engine still does when the archive is there."""
        engine, vm, opened = self.engine, self.vm, list(self.store.ids)
        ours = captured.to_checkpoint
        needed = {ours, *self.store.still_needed()} if ours else set()
        proof = prove(captured)

        def wait_for_merge() -> list[str]:
            warnings = list(captured.wait_merge())
            if needed and not captured.failed:  # else the checkpoint before it is the one to go on from
                warnings += drop_unneeded(engine, vm, opened, needed, proof)
            return warnings

        return wait_for_merge
