"""A restore from the archive's name to its end: one plan, its blockers, and only then anything is touched."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from borg_ovirt.errors import BorgOvirtError, NotOurArchive, RepositoryError, RestoreBlocked
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.jobs.restore.fill import RestoredDisk
from borg_ovirt.jobs.restore.health import advice, examine, newest_intact
from borg_ovirt.jobs.restore.into_files import look_at, plan_into_files, write_files
from borg_ovirt.jobs.restore.into_ovirt import IntoOvirt
from borg_ovirt.jobs.restore.into_ovirt_plan import plan_into_ovirt
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import RestorePlan
from borg_ovirt.jobs.restore.site import survey
from borg_ovirt.jobs.restore.wanted import Wanted, as_of, want
from borg_ovirt.ovirt.facts.ovf import parse
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.units import format_size


@dataclass
class RestoreResult:
    """What a restore did, or with `dry_run` would do."""

    archive: str
    plan: RestorePlan
    dry_run: bool
    disks: list[RestoredDisk] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    files: list[tuple[str, int]] = field(default_factory=list)
    """Path and size in bytes as a guest sees it."""
    warnings: list[str] = field(default_factory=list)
    started: bool = False

    def lines(self) -> list[str]:
        """The result in words."""
        if self.dry_run:
            return [f"{self.archive}:", *self.plan.lines()]
        words = [f"{self.archive}: {self.plan.title}"] if self.plan.title else []
        for disk in self.disks:
            proof = f"proven by {disk.proof}" if disk.proof else "not proven"
            words.append(f"restored {disk.alias}: {format_size(disk.stats.bytes_written)} written, {proof}")
        words += [f"restored snapshot {description}" for description in self.snapshots]
        words += [f"wrote {path} ({format_size(size)})" for path, size in self.files]
        return [*words, "the VM runs"] if self.started else words


@dataclass(frozen=True)
class Destination:
    """The engine that a restore goes to."""

    engine: Engine
    journal: Journal


def restore(
    repository: Repository,
    name: str,
    options: RestoreOptions,
    destination: Destination | None,
    progress: Progress,
    *,
    dry_run: bool = False,
    scratch: bool = False,
) -> RestoreResult:
    """Restore an archive (or the latest one of a VM) into the engine, or into `options.directory`.

    With `scratch` only to see that it can be done: what the engine made is removed when it is proven.
    """
    info = find_archive(repository, name)
    reader = repository.archive(info.name)
    try:
        wanted = want(info.name, reader.manifest, options)
        plan = _plan(repository, info, reader, wanted, options, destination)
    except (NotOurArchive, RepositoryError) as error:
        raise _unreadable(repository, info, error) from error
    files = [(str(file.path), file.size) for file in plan.files]
    result = RestoreResult(info.name, plan, dry_run, files=files)
    if dry_run:
        return result
    if plan.blockers:
        raise RestoreBlocked(
            f"Archive {info.name} cannot be restored: {'; '.join(plan.blockers)}.", plan.advice
        )
    if destination is None:
        write_files(plan, reader, options, progress)
        return result
    for line in plan.lines():
        progress.step(line)
    ovf = _ovf(reader, wanted, options) if plan.vm else None
    job = IntoOvirt(destination.engine, destination.journal, progress, options, plan, ovf, scratch)
    result.disks = job.run(reader, result.warnings)
    result.snapshots = [step.description for step in plan.snapshots]
    result.started = options.start
    return result


def _plan(
    repository: Repository,
    info: ArchiveInfo,
    reader: ArchiveReader,
    wanted: Wanted,
    options: RestoreOptions,
    destination: Destination | None,
) -> RestorePlan:
    health = examine(reader, wanted)
    if destination is not None:
        site = survey(destination.engine, wanted.manifest, options)
        plan = plan_into_ovirt(wanted, health, site, options)
    else:
        plan = plan_into_files(wanted, health, look_at(reader, wanted, health, options), options)
    return replace(plan, advice=advice(repository, info, reader, health)) if plan.blockers else plan


def _unreadable(repository: Repository, info: ArchiveInfo, error: BorgOvirtError) -> BorgOvirtError:
    """An archive whose own description is lost: another one may be whole."""
    try:
        found = newest_intact(repository, info)
    except BorgOvirtError:
        found = None
    if found is None:
        return error
    advice = f"The newest archive of this VM that is whole is {found}."
    # What is of a newer layout, or was changed by hand, is not damaged: it keeps its own exit status.
    return (
        type(error)(error.message, advice)
        if isinstance(error, NotOurArchive)
        else RestoreBlocked(error.message, advice)
    )


def _ovf(reader: ArchiveReader, wanted: Wanted, options: RestoreOptions) -> bytes:
    """The VM's configuration, as of the snapshot where one was asked for and kept it."""
    ovf, manifest = reader.ovf, wanted.manifest
    if options.snapshot is None:
        return ovf
    _, chosen = as_of(reader.manifest, options.snapshot)
    stored = next((s.configuration for s in parse(ovf).snapshots if s.id == chosen.id), None)
    if stored is not None:
        view = parse(stored)
        if view.vm_id == manifest.vm.id and {disk.id for disk in manifest.disks} <= set(view.disk_ids):
            return stored
    return ovf
