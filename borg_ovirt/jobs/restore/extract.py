"""Restore an archive into oVirt: as the original, beside it, as single disks, or over a disk that exists.

The plan comes first and names every blocker; then disks are made and filled, their content is proven, and
only then the VM is imported onto them. What was made is removed again when a later step fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from borg_ovirt.errors import BorgOvirtError, RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.jobs.restore.over_plan import OverPlan, plan_over
from borg_ovirt.jobs.restore.plan import (
    DiskPlan,
    Domain,
    RestoreChoices,
    RestorePlan,
    Site,
    expected_size,
    plan_restore,
)
from borg_ovirt.ovirt.data.imageio import Target
from borg_ovirt.ovirt.data.transfer import TransferRequest
from borg_ovirt.ovirt.data.transfer import upload as upload_transfer
from borg_ovirt.ovirt.facts.ovf import rewrite
from borg_ovirt.ovirt.facts.storage import list_clusters, list_domains
from borg_ovirt.ovirt.make.disks import NewDisk, create_disk, disk_exists, remove_disk
from borg_ovirt.ovirt.make.machines import (
    all_vms,
    deactivate_disk,
    import_vm,
    missing_disks,
    remove_vm,
    start_vm,
)
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import ATTACH_FAILED, EventMark
from borg_ovirt.ovirt.tracked.journal import Entry, Journal
from borg_ovirt.pipe.digests import BlockDigests
from borg_ovirt.pipe.ports import Content
from borg_ovirt.pipe.proof import prove
from borg_ovirt.pipe.upload import WRITERS, UploadStats, upload
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import DiskRecord, Manifest
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader
from borg_ovirt.units import format_size


@dataclass(frozen=True)
class ExtractOptions:
    """What a user can say about a restore into oVirt."""

    choices: RestoreChoices = field(default_factory=RestoreChoices)
    over: str | None = None
    """Id of an existing disk to overwrite with the one disk of `choices.disks`."""
    yes: bool = False
    """The user has seen what is overwritten."""
    start: bool = False
    keep: bool = False
    """Leave what was made in place when a later step fails."""
    proof: bool = True
    dry_run: bool = False
    writers: int = WRITERS


@dataclass
class RestoredDisk:
    """One disk, restored."""

    alias: str
    disk_id: str
    size: int
    stats: UploadStats
    proof: str | None
    """How its content was proven; None without a proof."""


@dataclass
class ExtractResult:
    """What a restore did, or with `dry_run` would do."""

    archive: str
    plan: RestorePlan | OverPlan
    disks: list[RestoredDisk] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    started: bool = False

    def lines(self) -> list[str]:
        """The result in words."""
        if not self.disks:
            return [f"{self.archive}:", *self.plan.lines()]
        words = [f"{self.archive}: {self.plan.title}"]
        for disk in self.disks:
            proof = f"proven by {disk.proof}" if disk.proof else "not proven"
            words.append(f"restored {disk.alias}: {format_size(disk.stats.bytes_written)} written, {proof}")
        if self.started:
            words.append("the VM runs")
        return words


def extract(
    repository: Repository,
    engine: Engine,
    name: str,
    options: ExtractOptions,
    journal: Journal,
    progress: Progress,
) -> ExtractResult:
    """Restore an archive (or the latest one of a VM) into the engine."""
    archive = find_archive(repository, name).name
    reader = repository.archive(archive)
    if options.over is not None:
        return _extract_over(archive, reader, engine, options, journal, progress)
    manifest = reader.manifest
    plan = plan_restore(manifest, survey(engine, manifest), options.choices)
    result = ExtractResult(archive, plan)
    if options.dry_run:
        return result
    for line in plan.lines():
        progress.step(line)
    if plan.blockers:
        raise RestoreBlocked(f"Archive {archive} cannot be restored: {'; '.join(plan.blockers)}.")
    check_content(archive, reader, [disk.record for disk in plan.disks])
    with Undo(options.keep, progress) as undo:
        for disk in plan.disks:
            entry = create_disk(engine, journal, new_disk(disk))
            undo.add(f"disk {disk.record.alias}", entry, removing(remove_disk, engine, disk.disk_id))
        for disk in plan.disks:
            result.disks.append(
                fill_disk(reader.disk(disk.record.path), engine, disk, options, journal, progress)
            )
        import_machine(reader.ovf, engine, plan, journal, progress, undo)
        undo.forget()
    if options.start and plan.vm_id and plan.vm_name:
        start_vm(engine, plan.vm_id, plan.vm_name)
        result.started = True
    return result


def survey(engine: Engine, manifest: Manifest) -> Site:
    """Ask the engine for all that a plan depends on."""
    vms = all_vms(engine)
    return Site(
        domains=tuple(
            Domain(d.id, d.name, d.is_block, d.available, d.status, d.data_center_id)
            for d in list_domains(engine)
        ),
        clusters={c.id: (c.name, c.data_center_id) for c in list_clusters(engine)},
        vm_ids=frozenset(vms),
        vm_names=frozenset(vms.values()),
        disk_ids=frozenset(d.id for d in manifest.disks if disk_exists(engine, d.id)),
    )


def check_content(archive: str, reader: ArchiveReader, records: Sequence[DiskRecord]) -> None:
    """Find damage before anything is made."""
    for record in records:
        if reader.disk(record.path).damaged:
            raise RestoreBlocked(
                f"Disk {record.alias} in archive {archive} is damaged: the repository lost chunks of it.",
                "Use another archive; `borg check` tells more.",
            )


def new_disk(disk: DiskPlan) -> NewDisk:
    """What to ask of the engine for a planned disk."""
    record = disk.record
    thin_on_block = disk.domain.block and disk.format == "cow"
    return NewDisk(
        id=disk.disk_id,
        image_id=disk.image_id,
        alias=record.alias,
        size=record.size,
        format=disk.format,
        sparse=disk.sparse,
        storage_domain_id=disk.domain.id,
        description=record.description,
        backup=disk.backup,
        initial_size=qcow2_size(expected_size(disk), record.size) if thin_on_block else None,
        wipe_after_delete=record.wipe_after_delete,
        propagate_errors=record.propagate_errors,
    )


def qcow2_size(data: int, virtual: int) -> int:
    """Bytes a qcow2 volume needs for so much data: its tables come on top, in proportion to the disk."""
    tables = virtual // 1024 + 16 * 1024 * 1024
    return min(data + tables, virtual + tables)


class Undo:
    """What a restore has made so far; it is removed, latest first, when a later step fails."""

    def __init__(self, keep: bool, progress: Progress) -> None:
        self._keep = keep
        self._progress = progress
        self._made: list[tuple[str, Entry, Callable[[], None]]] = []

    def add(self, name: str, entry: Entry, remove: Callable[[], None]) -> None:
        """Something was made; `remove` takes it away."""
        self._made.append((name, entry, remove))

    def forget(self) -> None:
        """All went well: what was made belongs to the user from now on."""
        while self._made:
            self._made.pop()[1].done()

    def __enter__(self) -> Undo:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or not self._made:
            return
        if self._keep:
            self._progress.warn(f"kept: {', '.join(name for name, _, _ in self._made)}")
            self.forget()
            return
        while self._made:
            name, entry, remove = self._made.pop()
            self._progress.step(f"removing {name} again")
            try:
                remove()
            except BorgOvirtError as trouble:
                self._progress.warn(f"{name} could not be removed: {trouble} The next run tries again.")
            else:
                entry.done()


def removing(remove: Callable[[Engine, str], None], engine: Engine, object_id: str) -> Callable[[], None]:
    """A step for `Undo`."""
    return lambda: remove(engine, object_id)


def fill_disk(
    content: Content,
    engine: Engine,
    disk: DiskPlan,
    options: ExtractOptions,
    journal: Journal,
    progress: Progress,
) -> RestoredDisk:
    """Upload one disk into the disk made for it, and prove it."""
    record = disk.record
    request = TransferRequest(
        direction="upload", disk_id=disk.disk_id, name=f"disk {record.alias}", size=record.size
    )
    with upload_transfer(engine, journal, request) as transfer:
        stats, proof = send(
            content,
            transfer.target,
            record.alias or record.id,
            options,
            progress,
            target_is_zero=disk.reads_zero,
            exact_export=not disk.domain.block or disk.format == "cow",
        )
        transfer.finish()
    return RestoredDisk(record.alias, disk.disk_id, record.size, stats, proof)


def send(
    content: Content,
    target: Target,
    name: str,
    options: ExtractOptions,
    progress: Progress,
    *,
    target_is_zero: bool,
    exact_export: bool,
) -> tuple[UploadStats, str | None]:
    """Move an archived disk into an upload and prove it there: what was sent, and how it was proven.

    `exact_export`: the daemon's export has the disk's size, so that its checksum covers the disk alone.
    """
    digests = BlockDigests.of_nothing_yet(content) if options.proof else None
    with progress.disk(name, target.size) as gauge:
        stats = upload(
            content,
            target,
            target_is_zero=target_is_zero,
            writers=options.writers,
            digests=digests,
            progress=gauge,
            name=f"disk {name}",
        )
    if digests is None:
        return stats, None
    progress.step(f"{name}: proving the content")
    proof = prove(digests, target, use_checksum=exact_export, name=f"disk {name}")
    return stats, proof.value


def import_machine(
    ovf: bytes,
    engine: Engine,
    plan: RestorePlan,
    journal: Journal,
    progress: Progress,
    undo: Undo,
) -> None:
    """Make the VM from its OVF on the restored disks, and check that it got every one of them."""
    if plan.vm_id is None or plan.vm_name is None:
        return
    beside = bool(plan.ids)
    text = rewrite(
        ovf,
        ids=plan.ids,
        name=plan.vm_name,
        fresh_nics_and_macs=beside,
        keep_disks=[disk.disk_id for disk in plan.disks],
    )
    progress.step(f"importing VM {plan.vm_name}")
    mark = EventMark(engine)
    entry = import_vm(engine, journal, text, vm_id=plan.vm_id, name=plan.vm_name, cluster_id=plan.cluster_id)
    undo.add(f"VM {plan.vm_name}", entry, removing(remove_vm, engine, plan.vm_id))
    missing = missing_disks(engine, plan.vm_id, [disk.disk_id for disk in plan.disks])
    if missing:
        names = ", ".join(disk.record.alias for disk in plan.disks if disk.disk_id in missing)
        told = "; ".join(mark.texts(ATTACH_FAILED)) or "the engine's events tell nothing"
        raise RestoreFailed(f"VM {plan.vm_name} was imported without the disks {names}: {told}.")
    for disk in plan.disks:
        if not disk.record.active:
            deactivate_disk(engine, plan.vm_id, disk.disk_id)


def _extract_over(
    archive: str,
    reader: ArchiveReader,
    engine: Engine,
    options: ExtractOptions,
    journal: Journal,
    progress: Progress,
) -> ExtractResult:
    """Overwrite an existing disk with an archived one."""
    plan = plan_over(engine, reader.manifest, options.choices.disks[0], options.over or "", options.yes)
    result = ExtractResult(archive, plan)
    if options.dry_run:
        return result
    for line in plan.lines():
        progress.step(line)
    if plan.blockers or plan.record is None:
        raise RestoreBlocked(
            f"Disk {options.over} cannot be overwritten from {archive}: {'; '.join(plan.blockers)}."
        )
    record = plan.record
    check_content(archive, reader, [record])
    request = TransferRequest(
        direction="upload", disk_id=plan.disk_id, name=f"disk {plan.alias}", size=plan.size
    )
    content = reader.disk(record.path)
    with upload_transfer(engine, journal, request) as transfer:
        stats, proof = send(
            content,
            transfer.target,
            plan.alias,
            options,
            progress,
            target_is_zero=False,
            exact_export=plan.size == record.size and plan.format == "cow",
        )
        transfer.finish()
    result.disks.append(RestoredDisk(plan.alias, plan.disk_id, record.size, stats, proof))
    return result
