"""Back up one VM with its snapshots: every frozen layer of every disk as it lies, what is known referred to.

A temporary snapshot freezes what the VM writes to, so the VM may run. It is merged away again when all
layers were read; the merge is the engine's affair and waited for when the repository is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

from borg_ovirt.blocks import CELL
from borg_ovirt.errors import VmNotSuitable
from borg_ovirt.jobs.backup.base import newest_first
from borg_ovirt.jobs.backup.chain_instant import Instant, frozen
from borg_ovirt.jobs.backup.chain_read import DiskWork, LayerWork, Reading, pick_samples, requests
from borg_ovirt.jobs.backup.chain_record import ChainStory, chain_manifest
from borg_ovirt.jobs.backup.chain_reuse import Earlier, earlier_archive
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult
from borg_ovirt.jobs.backup.disks import choose_disks, listing
from borg_ovirt.jobs.backup.record import DiskOutcome
from borg_ovirt.ovirt.capture.methods import check_suitable
from borg_ovirt.ovirt.data.layers import OpenLayers
from borg_ovirt.ovirt.facts.chain import Chain, read_chain
from borg_ovirt.ovirt.facts.storage import domain_names
from borg_ovirt.ovirt.facts.vm import (
    DiskFacts,
    SnapshotFacts,
    VmFacts,
    fetch_ovf,
    find_vm,
)
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.fetch import BUFFERS, Buffers
from borg_ovirt.progress import Progress
from borg_ovirt.repository import layout
from borg_ovirt.repository.open import Repository
from borg_ovirt.units import format_size


@dataclass(frozen=True)
class ChainOptions(CreateOptions):
    """What a user can say about a backup of snapshot chains besides."""

    snapshot: bool = True
    """Take a temporary snapshot; without one only what is frozen already is read."""
    wait: bool = True
    """Wait until the engine has merged the temporary snapshot away."""


def create_chain(
    repository: Repository,
    engine: Engine,
    vm_name: str,
    options: ChainOptions,
    journal: Journal,
    progress: Progress,
) -> CreateResult:
    """Make one archive of one VM and its snapshots in an open repository."""
    started = datetime.now(timezone.utc)
    vm = find_vm(engine, vm_name)
    check_suitable(vm)
    chosen, skipped = choose_disks(vm, options.rules)
    if not chosen:
        raise VmNotSuitable(
            f"VM {vm.name} has no disk that can be backed up: {listing(skipped) or 'it has no disks'}."
        )
    ovf = fetch_ovf(engine, vm.id)
    earlier = earlier_archive(repository, vm.id, full=options.full)
    job = _Job(repository, engine, vm, chosen, skipped, options, journal, progress, started)
    with frozen(
        engine,
        vm,
        chosen,
        journal=journal,
        snapshot=options.snapshot,
        freeze=options.freeze,
        progress=progress,
    ) as instant:
        return job.run(instant, ovf, earlier)


@dataclass
class _Job:
    """One backup under way: what the steps of the story share."""

    repository: Repository
    engine: Engine
    vm: VmFacts
    chosen: list[DiskFacts]
    skipped: list[layout.SkippedDisk]
    options: ChainOptions
    journal: Journal
    progress: Progress
    started: datetime
    warnings: list[str] = field(default_factory=list)

    def run(self, instant: Instant, ovf: bytes, earlier: Earlier) -> CreateResult:
        """Compose the chains, read what is new of them, commit."""
        cell = self._grid()
        chains = [read_chain(self.engine, disk, self.vm) for disk in self._disks_now()]
        own = instant.temporary(chains)
        snapshots = [s for s in instant.snapshots if s.id != own and s.type == "regular"]
        works = [
            work for chain in chains if (work := self._work(chain, instant, snapshots, earlier, cell)).layers
        ]
        if not works:
            raise VmNotSuitable(
                f"No layer of VM {self.vm.name} is frozen, and it runs.", "Leave out --no-snapshot."
            )
        pick_samples(works, self.options.sampling)
        self._tell(works, snapshots, instant)
        with OpenLayers(self.engine, self.journal, self.progress.warn) as layers:
            opened = [layer for work in works for layer in work.layers if layer.opened]
            layers.open(requests(opened, self.vm.id))
            name = layout.archive_name(self.vm.name, instant.time, self.repository.all_names())
            with self.repository.writer(name, started=instant.time) as archive:
                archive.add_file(layout.OVF, ovf)
                reading = Reading(
                    vm_id=self.vm.id,
                    archive=archive,
                    layers=layers,
                    cell=cell,
                    buffers=Buffers(cell, max(self.options.readers, BUFFERS // cell)),
                    readers=self.options.readers,
                    sampling=self.options.sampling,
                    progress=self.progress,
                    through=self.options.through,
                )
                outcomes = [self._store(reading, work, instant) for work in works]
                layers.finish()
                instant.let_go()
                manifest = self._manifest(works, outcomes, snapshots, earlier, instant, cell)
                archive.commit(layout.comment_of(manifest), manifest)
        read, new = (sum(getattr(o.stats, f"bytes_{what}") for o in outcomes) for what in ("read", "new"))
        self.progress.step(
            f"{self.vm.name}: archive {name}: {format_size(read)} read, {format_size(new)} new"
        )
        return CreateResult(
            vm_id=self.vm.id,
            vm_name=self.vm.name,
            archive=name,
            kind=manifest.run.kind,
            reason=manifest.run.reason,
            method=instant.method,
            consistency=instant.consistency,
            disks=outcomes,
            skipped=self.skipped,
            warnings=self.warnings,
            started=self.started,
            ended=manifest.run.ended,
            settle=instant.wait_gone if self.options.wait else list,
        )

    def _grid(self) -> int:
        """The cell size of the series: its latest archive's, so that every chunk can be referred to again."""
        for info in newest_first(self.repository, self.vm.id, "chain"):
            return self.repository.archive(info.name).manifest.run.cell
        return self.options.cell or CELL

    def _disks_now(self) -> list[DiskFacts]:
        """The chosen disks with the active layers that they have since the snapshot."""
        now = {disk.id: disk for disk in find_vm(self.engine, self.vm.id).disks}
        return [now.get(disk.id, disk) for disk in self.chosen]

    def _work(
        self,
        chain: Chain,
        instant: Instant,
        snapshots: Sequence[SnapshotFacts],
        earlier: Earlier,
        cell: int,
    ) -> DiskWork:
        """What becomes of each layer of one disk."""
        disk = chain.disk
        resting = instant.vm_down or not disk.active
        keep_active = disk.id not in instant.frozen and resting
        regular = {snapshot.id for snapshot in snapshots}
        work = DiskWork(chain, [])
        for index, facts in enumerate(chain.layers):
            active = facts is chain.active
            if active and not keep_active:
                continue
            child = None if active else chain.layers[index + 1].image_id
            old, reason = earlier.find(disk.id, facts, child, regular, cell)
            work.layers.append(LayerWork(facts, child, active, old, reason))
        if not work.layers:
            self.skipped.append(
                layout.SkippedDisk(id=disk.id, alias=disk.alias, reason="no layer is frozen", size=disk.size)
            )
        return work

    def _tell(self, works: list[DiskWork], snapshots: Sequence[SnapshotFacts], instant: Instant) -> None:
        """Say what is read and what no backup holds."""
        for lost in self.vm.lost_state:
            self._warn(f"{lost} of VM {self.vm.name} cannot be backed up over REST")
        for snapshot in snapshots:
            if snapshot.memory:
                self._warn(
                    f"the memory of snapshot {snapshot.description} of VM {self.vm.name} is not backed up: "
                    "it comes back without memory"
                )
        for skipped in self.skipped:
            if not skipped.expected:
                name = skipped.alias or skipped.id
                self._warn(f"disk {name} of VM {self.vm.name} is skipped: {skipped.reason}")
        if not self.options.snapshot and not instant.vm_down:
            self._warn(f"VM {self.vm.name} runs: what was written since its last snapshot is not backed up")
        for work in works:
            self.progress.step(
                f"{self.vm.name}: disk {work.name}: {len(work.layers)} layers, {len(work.reused)} known"
            )
            for layer in work.layers:
                if layer.old is None:
                    self.progress.step(f"  layer {layer.facts.image_id} is read: {layer.reason}")

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self.progress.warn(text)

    def _store(self, reading: Reading, work: DiskWork, instant: Instant) -> DiskOutcome:
        reading.check_samples(work)
        if work.mismatches:
            self._warn(
                f"DISK {work.name} OF VM {self.vm.name}: A LAYER CHANGED THAT SHOULD NOT HAVE. "
                f"{work.mismatches} samples of layers that count as unchanged differ from the last archive. "
                "All its layers are read now; older archives that referred to them may hold stale data."
            )
        asked = "incremental" if work.reused or work.mismatches else "full"
        stats = reading.store(work)
        reasons = [layer.reason for layer in work.layers if layer.reason]
        return DiskOutcome(
            facts=work.chain.disk,
            size=work.layers[-1].facts.capacity,
            kind_asked=asked,
            kind="incremental" if work.reused else "full",
            reason=None if work.reused else next(iter(reasons), None),
            method=instant.method,
            stats=stats,
            sampled=work.cells_sampled,
            mismatches=work.mismatches,
            sampling=str(self.options.sampling) if work.reused or work.mismatches else "",
        )

    def _manifest(
        self,
        works: list[DiskWork],
        outcomes: list[DiskOutcome],
        snapshots: Sequence[SnapshotFacts],
        earlier: Earlier,
        instant: Instant,
        cell: int,
    ) -> layout.Manifest:
        kind = "incremental" if any(o.kind == "incremental" for o in outcomes) else "full"
        reason = earlier.reason or next((o.reason for o in outcomes if o.reason), None)
        if earlier.fallback and self.options.strict:
            self._warn(f"VM {self.vm.name} was read in full: {earlier.reason}")
        info = earlier.info if kind == "incremental" else None
        facts = ChainStory(
            started=self.started,
            instant=instant.time,
            ended=datetime.now(timezone.utc),
            kind_asked="full" if self.options.full else "incremental",
            kind=kind,
            reason=reason if kind == "full" else None,
            base=layout.BaseRecord(name=info.name, id=info.id) if info else None,
            cell=cell,
            method=instant.method,
            method_reason=instant.reason,
            consistency_asked=self.options.freeze,
            consistency=instant.consistency,
            warnings=tuple(self.warnings),
        )
        return chain_manifest(
            self.engine,
            self.vm,
            snapshots,
            zip(works, outcomes, strict=True),
            self.skipped,
            domain_names(self.engine),
            facts,
        )
