"""A restore from the archive's name to its end: one plan, its blockers, and only then anything is touched."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from borg_ovirt.errors import (
    BorgOvirtError,
    NotAuthorized,
    NotOurArchive,
    RepositoryDamaged,
    RestoreBlocked,
)
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.jobs.restore.fill import AT_ONCE, RestoredDisk
from borg_ovirt.jobs.restore.health import advice, doubt, examine, newest_intact
from borg_ovirt.jobs.restore.into_files import look_at, plan_into_files, write_files
from borg_ovirt.jobs.restore.into_ovirt import IntoOvirt, prove_rights
from borg_ovirt.jobs.restore.into_ovirt_plan import plan_into_ovirt
from borg_ovirt.jobs.restore.libvirt_plan import DOMAIN, with_domain
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import RestorePlan
from borg_ovirt.jobs.restore.site import survey
from borg_ovirt.jobs.restore.wanted import Wanted, as_of, want
from borg_ovirt.ovirt.facts.ovf import parse
from borg_ovirt.ovirt.make.made import Made
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import OVF
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


@dataclass(frozen=True)
class Prepared:
    """A restore that is planned; nothing is touched yet."""

    info: ArchiveInfo
    reader: ArchiveReader
    wanted: Wanted
    options: RestoreOptions
    ovf: bytes | None
    """The VM's configuration; None where no VM is made."""
    plan: RestorePlan
    exists: bool = False
    """The VM is there, and nobody asked for one beside it."""

    @property
    def vm_name(self) -> str:
        return self.plan.vm.name if self.plan.vm else self.info.comment.vm_name


def restore(
    repository: Repository,
    name: str,
    options: RestoreOptions,
    destination: Destination | None,
    progress: Progress,
    *,
    dry_run: bool = False,
    at_once: int = AT_ONCE,
    scratch: bool = False,
    trial: Callable[[str], None] | None = None,
) -> RestoreResult:
    """Restore an archive (or the latest one of a VM) into the engine, or into `options.directory`.

    With `scratch` only to see that it can be done: what the engine made is removed when it is proven, and
    after a `trial`, which is given the VM's id.
    """
    prepared = prepare(repository, name, options, destination)
    if dry_run:
        return dry(prepared, destination)
    return carry_out(prepared, destination, progress, at_once=at_once, scratch=scratch, trial=trial)


def prepare(
    repository: Repository, name: str, options: RestoreOptions, destination: Destination | None
) -> Prepared:
    """Find the archive, look at it and at where it goes, and plan."""
    info = find_archive(repository, name)
    reader = repository.archive(info.name)
    try:
        wanted = want(info.name, reader.manifest, options)
        ovf = _ovf(reader, wanted, options) if _makes_a_vm(reader, options, destination) else None
        health = examine(reader, wanted)
        exists = False
        if destination is not None:
            cards = parse(ovf).nics if ovf is not None and not options.without_nics else ()
            site = survey(destination.engine, wanted.manifest, options, cards)
            plan = plan_into_ovirt(wanted, health, site, options, cards)
            exists = not options.fresh and wanted.manifest.vm.id in site.vm_ids
        else:
            plan = plan_into_files(wanted, health, look_at(reader, wanted, health, options), options)
            if options.hypervisor and not health.ovf_damaged:
                there = os.path.lexists((options.directory or Path()) / DOMAIN)
                plan = with_domain(plan, wanted, _ovf(reader, wanted, options), options, exists=there)
        if why := doubt(info, name):
            plan = replace(plan, blockers=(*plan.blockers, why))
        if plan.blockers:
            plan = replace(plan, advice=advice(repository, info, reader, health))
    except (NotOurArchive, RepositoryDamaged) as error:
        raise _unreadable(repository, info, error) from error
    return Prepared(info, reader, wanted, options, ovf, plan, exists)


def dry(prepared: Prepared, destination: Destination | None) -> RestoreResult:
    """What it would do, and what is in its way."""
    plan = prepared.plan
    if destination is not None:
        plan = _with_rights(destination.engine, plan)
    return RestoreResult(prepared.info.name, plan, True, files=_files_of(plan))


def carry_out(
    prepared: Prepared,
    destination: Destination | None,
    progress: Progress,
    *,
    lock: threading.Lock | None = None,
    at_once: int = AT_ONCE,
    stop: threading.Event | None = None,
    scratch: bool = False,
    trial: Callable[[str], None] | None = None,
    for_a_while: list[Made] | None = None,
) -> RestoreResult:
    """Do what was planned. `lock` is around a repository that others read meanwhile; `stop` ends it early.

    `for_a_while` gets what was made in the engine: whoever gives it removes that again.
    """
    plan, info = prepared.plan, prepared.info
    if plan.blockers:
        raise RestoreBlocked(
            f"Archive {info.name} cannot be restored: {'; '.join(plan.blockers)}.", plan.advice
        )
    result = RestoreResult(info.name, plan, False, files=_files_of(plan))
    if destination is None:
        for note in plan.notes:
            progress.step(f"note: {note}")
        write_files(plan, prepared.reader, prepared.options, progress)
        return result
    for line in plan.lines():
        progress.step(line)
    job = IntoOvirt(
        destination.engine,
        destination.journal,
        progress,
        prepared.options,
        plan,
        prepared.ovf,
        lock=lock,
        at_once=at_once,
        stop=stop,
        scratch=scratch,
        trial=trial,
        for_a_while=for_a_while,
    )
    result.disks = job.run(prepared.reader, result.warnings)
    result.snapshots = [step.description for step in plan.snapshots]
    result.started = prepared.options.start
    return result


def _files_of(plan: RestorePlan) -> list[tuple[str, int]]:
    return [(str(file.path), file.size) for file in plan.files]


def _with_rights(engine: Engine, plan: RestorePlan) -> RestorePlan:
    """A right that is missing is in the way like anything else."""
    try:
        prove_rights(engine, plan)
    except NotAuthorized as error:
        text = error.message.removesuffix(": nothing was begun.")
        return replace(plan, blockers=(*plan.blockers, f"{text} ({error.hint})"))
    return plan


def _makes_a_vm(reader: ArchiveReader, options: RestoreOptions, destination: Destination | None) -> bool:
    """Whether the VM's configuration is needed, and there."""
    return destination is not None and not options.disks and not reader.damaged(OVF)


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
