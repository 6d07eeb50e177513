"""Restore an archive of snapshot chains into oVirt: the VM comes back with its snapshots, or flattened.

The order is the engine's: disks with the base layers' ids, the VM on them, one snapshot after the other to
put the next layers on, and only then the bytes, base first. What was made is removed when a step fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.jobs.restore.chain_plan import ChainPlan, as_of, initial_size, plan_chains
from borg_ovirt.jobs.restore.chain_upload import upload_chains
from borg_ovirt.jobs.restore.extract import (
    ExtractOptions,
    RestoredDisk,
    Undo,
    fill_disk,
    import_machine,
    new_disk,
    removing,
    survey,
)
from borg_ovirt.jobs.restore.flatten import flatten, qemu_img, stage, work_place
from borg_ovirt.jobs.restore.plan import RestorePlan, plan_restore
from borg_ovirt.ovirt.facts.chain import read_chain
from borg_ovirt.ovirt.facts.ovf import parse
from borg_ovirt.ovirt.facts.vm import read_vm
from borg_ovirt.ovirt.make.disks import create_disk, remove_disk
from borg_ovirt.ovirt.make.machines import start_vm
from borg_ovirt.ovirt.make.rebuild import Above, add_snapshot
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.file_source import FileContent
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import Manifest
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.units import format_size


@dataclass(frozen=True)
class ChainExtract(ExtractOptions):
    """What a user can say about a restore of snapshot chains besides."""

    flatten: bool = False
    """The latest state only, each disk as one layer."""
    snapshot: str | None = None
    """The VM as of this snapshot (description or id)."""
    work_dir: Path | None = None
    """Where layers are staged to be joined."""


@dataclass
class ChainResult:
    """What a restore did, or with `dry_run` would do."""

    archive: str
    plan: ChainPlan | RestorePlan
    disks: list[RestoredDisk] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started: bool = False

    def lines(self) -> list[str]:
        """The result in words."""
        words = [f"{self.archive}:", *self.plan.lines()]
        for disk in self.disks:
            proof = f"proven by {disk.proof}" if disk.proof else "not proven"
            words.append(f"restored {disk.alias}: {format_size(disk.stats.bytes_written)} written, {proof}")
        words += [f"restored snapshot {description}" for description in self.snapshots]
        if self.started:
            words.append("the VM runs")
        return words


def extract_chain(
    repository: Repository,
    engine: Engine,
    name: str,
    options: ChainExtract,
    journal: Journal,
    progress: Progress,
) -> ChainResult:
    """Restore an archive (or the latest one of a VM) into the engine."""
    archive = find_archive(repository, name).name
    reader = repository.archive(archive)
    if options.over is not None:
        raise RestoreBlocked(
            f"Archive {archive} holds snapshot chains: no single disk of it can overwrite another.",
            "Restore the disk beside it with --disk, or into a file with --to and --flatten.",
        )
    manifest, ovf = _wanted(reader, options.snapshot)
    job = _Job(archive, reader, manifest, ovf, engine, options, journal, progress)
    alone = bool(options.choices.disks)  # a disk without a VM has no snapshots
    result = job.flattened() if options.flatten or alone else job.with_snapshots()
    plan = result.plan.restore if isinstance(result.plan, ChainPlan) else result.plan
    if options.start and not options.dry_run and plan.vm_id and plan.vm_name:
        start_vm(engine, plan.vm_id, plan.vm_name)
        result.started = True
    return result


def _wanted(reader: ArchiveReader, snapshot: str | None) -> tuple[Manifest, bytes]:
    """What of the archive is restored, and the VM's configuration at that time."""
    manifest, ovf = reader.manifest, reader.ovf
    if snapshot is None:
        return manifest, ovf
    manifest, chosen = as_of(manifest, snapshot)
    stored = next((s.configuration for s in parse(ovf).snapshots if s.id == chosen.id), None)
    if stored is not None:
        view = parse(stored)
        if view.vm_id == manifest.vm.id and {disk.id for disk in manifest.disks} <= set(view.disk_ids):
            return manifest, stored
    return manifest, ovf


@dataclass
class _Job:
    """One restore under way: what its steps share."""

    archive: str
    reader: ArchiveReader
    manifest: Manifest
    ovf: bytes
    engine: Engine
    options: ChainExtract
    journal: Journal
    progress: Progress

    def with_snapshots(self) -> ChainResult:
        """Disks, VM, snapshots, bytes."""
        plan = plan_chains(self.manifest, survey(self.engine, self.manifest), self.options.choices)
        result = ChainResult(self.archive, plan)
        if self._is_only_asked(plan):
            return result
        self._check_layers()
        with Undo(self.options.keep, self.progress) as undo:
            self._make_disks(plan, undo)
            import_machine(self.ovf, self.engine, plan.restore, self.journal, self.progress, undo)
            self._make_snapshots(plan, result)
            self._check_chains(plan)
            result.disks += upload_chains(
                self.reader,
                self.engine,
                plan,
                self.options,
                self.options.work_dir,
                self.journal,
                self.progress,
            )
            undo.forget()
        return result

    def flattened(self) -> ChainResult:
        """Each disk as one layer: joined in the work directory, then restored as any disk."""
        plan = plan_restore(self.manifest, survey(self.engine, self.manifest), self.options.choices)
        result = ChainResult(self.archive, plan)
        if self._is_only_asked(plan):
            return result
        qemu_img()
        self._check_layers()
        with Undo(self.options.keep, self.progress) as undo:
            for disk in plan.disks:
                entry = create_disk(self.engine, self.journal, new_disk(disk))
                remove = removing(remove_disk, self.engine, disk.disk_id)
                undo.add(f"disk {disk.record.alias}", entry, remove)
            for disk in plan.disks:
                with work_place(self.options.work_dir) as place:
                    stage(self.reader, disk.record, disk.record.layers, place, self.progress)
                    joined = place / "joined.raw"
                    flatten(disk.record, place, joined, "raw", self.progress)
                    with FileContent(joined) as content:
                        filled = fill_disk(
                            content, self.engine, disk, self.options, self.journal, self.progress
                        )
                result.disks.append(filled)
            import_machine(self.ovf, self.engine, plan, self.journal, self.progress, undo)
            undo.forget()
        return result

    def _is_only_asked(self, plan: ChainPlan | RestorePlan) -> bool:
        """Whether nothing is to be done; with blockers nothing can be."""
        if self.options.dry_run:
            return True
        for line in plan.lines():
            self.progress.step(line)
        if plan.blockers:
            raise RestoreBlocked(f"Archive {self.archive} cannot be restored: {'; '.join(plan.blockers)}.")
        return False

    def _check_layers(self) -> None:
        """Find damage before anything is made."""
        for disk in self.manifest.disks:
            for layer in disk.layers:
                if self.reader.disk(layer.path).damaged:
                    raise RestoreBlocked(
                        f"Layer {layer.image_id} of disk {disk.alias} in archive {self.archive} is damaged: "
                        "the repository lost chunks of it.",
                        "Use another archive; `borg check` tells more.",
                    )

    def _make_disks(self, plan: ChainPlan, undo: Undo) -> None:
        for disk in plan.disks:
            base = disk.base
            new = replace(new_disk(base), initial_size=initial_size(base, disk.layers[0].record))
            entry = create_disk(self.engine, self.journal, new)
            remove = removing(remove_disk, self.engine, base.disk_id)
            undo.add(f"disk {base.record.alias}", entry, remove)

    def _make_snapshots(self, plan: ChainPlan, result: ChainResult) -> None:
        for step in plan.steps:
            self.progress.step(f"making snapshot {step.description}")
            layers = {disk: Above(above.image_id, above.initial_size) for disk, above in step.layers.items()}
            add_snapshot(self.engine, plan.restore.vm_id or "", step.description, layers)
            result.snapshots.append(step.description)

    def _check_chains(self, plan: ChainPlan) -> None:
        """The engine must have stacked the layers as planned, or bytes would go to the wrong ones."""
        vm = read_vm(self.engine, plan.restore.vm_id or "")
        by_id = {disk.id: disk for disk in vm.disks}
        for disk in plan.disks:
            chain = read_chain(self.engine, by_id[disk.base.disk_id], vm)
            made = [layer.image_id for layer in chain.layers]
            planned = [layer.image_id for layer in disk.layers]
            if made[: len(planned)] != planned:
                raise RestoreFailed(
                    f"The engine made layers {', '.join(made)} of disk {disk.base.record.alias}, "
                    f"not {', '.join(planned)}."
                )
