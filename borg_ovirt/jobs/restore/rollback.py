"""A VM's own disks back to the state of an archive, in place: only what differs is written.

First the present state becomes an archive: the VM is down, so its chunk ids tell exactly what differs from
the one asked for, and the way back is kept. Without it the disks are read and compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.archives.find import find_archive, series_of_vm
from borg_ovirt.jobs.restore.health import doubt
from borg_ovirt.jobs.restore.options import RestoreOptions, RollbackOptions
from borg_ovirt.jobs.restore.rollback_state import Unfinished, begin, end, unfinished
from borg_ovirt.jobs.restore.wanted import want
from borg_ovirt.ovirt.data.transfer import TransferRequest
from borg_ovirt.ovirt.data.transfer import download as download_transfer
from borg_ovirt.ovirt.data.transfer import upload as upload_transfer
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.facts.vm import read_vm
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.probes import prove_ending
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.differing import by_ids, by_reading, prove_places
from borg_ovirt.pipe.upload import WRITERS, UploadStats, upload
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import DiskRecord
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader, DiskContent
from borg_ovirt.units import format_size


@dataclass
class RolledDisk:
    """One disk; sizes in bytes."""

    alias: str
    id: str
    size: int
    differs: int | None
    """Under chunks that are others; None where only reading can tell."""
    stats: UploadStats | None = None


@dataclass
class RollbackResult:
    """What was rolled back, or would be."""

    archive: str
    vm: str
    dry_run: bool
    disks: list[RolledDisk]
    before: str | None = None
    """The archive of the present state; of a dry run the newest one, which tells what differs."""
    blockers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """In words."""
        words = [f"VM {self.vm}: {'would go' if self.dry_run else 'went'} back to {self.archive}"]
        for disk in self.disks:
            if disk.stats is not None:
                written, zeroed = format_size(disk.stats.bytes_written), format_size(disk.stats.bytes_zeroed)
                words.append(f"{disk.alias}: {written} written, {zeroed} zeroed, proven by reading back")
            elif disk.differs is None:
                words.append(f"{disk.alias}: what differs has to be read ({format_size(disk.size)})")
            else:
                words.append(f"{disk.alias}: {format_size(disk.differs)} differ")
        if self.dry_run and self.before:
            words.append(f"compared with {self.before}; what changed since comes on top")
        elif self.before:
            words.append(f"the state before is archive {self.before}")
        words += [f"note: {note}" for note in self.notes]
        return words + [f"BLOCKED: {blocker}" for blocker in self.blockers]


@dataclass
class _Disk:
    """A disk of the VM, and what it is to be."""

    record: DiskRecord
    facts: DiskFacts
    content: DiskContent
    cell: int

    @property
    def name(self) -> str:
        return self.facts.alias or self.facts.id


@dataclass
class Rollback:
    """One rollback. `save` makes an archive of the VM as it is, with these disks in it at least; its name."""

    repository: Repository
    engine: Engine
    journal: Journal
    state: Path
    options: RollbackOptions
    progress: Progress
    save: Callable[[str, tuple[str, ...]], str]
    where: str
    """The repository as the user names it."""
    _touched: bool = False
    """A byte may have been written."""

    def run(self, name: str, *, dry_run: bool = False) -> RollbackResult:
        """Roll the VM back to an archive, or to the latest one of it."""
        info = find_archive(self.repository, name)
        reader = self.repository.archive(info.name)
        vm = read_vm(self.engine, reader.manifest.vm.id)
        disks, blockers = self._plan(reader, vm, info.name)
        if why := doubt(info, name):
            blockers.append(why)
        begun = [one for one in unfinished(self.state, self.engine.instance_id) if one.vm_id == vm.id]
        result = RollbackResult(info.name, vm.name, dry_run, [], blockers=blockers)
        result.notes += [one.told() for one in begun]
        if dry_run:
            self._foresee(result, disks, vm)
            return result
        if blockers:
            raise RestoreBlocked(f"VM {vm.name} cannot go back to {info.name}: {'; '.join(blockers)}.")
        prove_ending(self.engine)
        for one in begun:
            self.progress.warn(one.told())
        stamp = self._stamp(vm.id)
        present: ArchiveReader | None = None
        if not self.options.no_safety:
            result.before = self.save(vm.id, tuple(disk.facts.id for disk in disks))
            present = self.repository.archive(result.before)
        # Who goes on from half-way keeps the way back to where it all began.
        before = next((one.before for one in begun if one.archive == info.name and one.before), result.before)
        marker = Unfinished(self.engine.instance_id, vm.id, vm.name, self.where, info.name, before)
        places = [(disk, self._differing(disk, present)) for disk in disks]
        begin(self.state, marker)
        try:
            for disk, differing in places:
                result.disks.append(self._write(disk, differing, vm, stamp))
        except BaseException:
            if self._touched or begun:
                self.progress.warn(marker.told())
            else:
                end(self.state, marker)
            raise
        end(self.state, marker)
        return result

    def _plan(self, reader: ArchiveReader, vm: VmFacts, archive: str) -> tuple[list[_Disk], list[str]]:
        blockers = []
        if reader.manifest.mode != "image":
            blockers.append("it holds snapshot chains: restore single disks with `extract --disk --over`")
            return [], blockers
        wanted = want(archive, reader.manifest, RestoreOptions(disks=self.options.disks))
        blockers += wanted.blockers
        if vm.status != "down":
            blockers.append(f"VM {vm.name} is {vm.status}: stop it first")
        if vm.in_preview:
            blockers.append(f"VM {vm.name} is in a snapshot's preview")
        here = {disk.id: disk for disk in vm.disks}
        disks = []
        for record in (disk.record for disk in wanted.disks):
            name, facts = record.alias or record.id, here.get(record.id)
            content = reader.disk(record.path)
            cell = content.chunks[0].size if len(content.chunks) else record.cell
            if facts is None:
                blockers.append(f"the VM has no disk {name} ({record.id}) any more: leave it out with --disk")
            elif (why := _in_the_way(facts, record, content, cell)) is not None:
                blockers.append(f"disk {name} {why}")
            else:
                disks.append(_Disk(record, facts, content, cell))
        return disks, blockers

    def _foresee(self, result: RollbackResult, disks: list[_Disk], vm: VmFacts) -> None:
        """What differs from the newest archive; what changed since only a backup can tell."""
        series = [s for s in series_of_vm(self.repository.archives(), vm.id) if s.mode == "image"]
        newest = series[0].newest.name if len(series) == 1 else None
        present = self.repository.archive(newest) if newest else None
        result.before = newest
        for disk in disks:
            places = self._known(disk, present)
            differs = None if places is None else _bytes(disk, places)
            result.disks.append(RolledDisk(disk.name, disk.facts.id, disk.record.size, differs))

    def _known(self, disk: _Disk, present: ArchiveReader | None) -> set[int] | None:
        """Places of chunks that differ, where an archive can tell."""
        record = next((d for d in present.manifest.disks if d.id == disk.facts.id), None) if present else None
        if present is None or record is None:
            return None
        content = present.disk(record.path)
        if content.damaged or not content.chunks.on_grid(disk.cell):
            return None
        return by_ids(content, disk.content)

    def _differing(self, disk: _Disk, present: ArchiveReader | None) -> set[int]:
        places = self._known(disk, present)
        if places is not None:
            return places
        self.progress.step(f"{disk.name}: reading it, to compare")
        with download_transfer(self.engine, self.journal, self._request(disk, "download")) as transfer:
            places = by_reading(transfer.source, disk.content, disk.cell, f"disk {disk.name}")
            transfer.finish()
        return places

    def _write(self, disk: _Disk, places: set[int], vm: VmFacts, stamp: str) -> RolledDisk:
        done = RolledDisk(
            disk.name, disk.facts.id, disk.record.size, _bytes(disk, places), stats=UploadStats()
        )
        if not places and disk.facts.size == disk.record.size:
            return done
        self.progress.step(f"{disk.name}: writing {format_size(_bytes(disk, places))} that differ")
        with upload_transfer(self.engine, self.journal, self._request(disk, "upload")) as transfer:
            # The disk is locked: from here on the VM cannot start. Did it, since its state was taken?
            if self._stamp(vm.id) != stamp:
                raise RestoreFailed(f"VM {vm.name} was started meanwhile.", "Stop it and roll back again.")
            self._touched = True
            with self.progress.disk(disk.name, _bytes(disk, places)) as gauge:
                done.stats = upload(
                    disk.content,
                    transfer.target,
                    target_is_zero=False,
                    writers=max(1, min(self.options.writers or WRITERS, transfer.target.max_writers)),
                    progress=gauge,
                    name=f"disk {disk.name}",
                    only=places,
                )
            prove_places(transfer.target, disk.content, disk.cell, places, f"Disk {disk.name}")
            transfer.finish()
        return done

    def _request(self, disk: _Disk, direction: str) -> TransferRequest:
        return TransferRequest(
            direction=direction,
            disk_id=disk.facts.id,
            name=f"disk {disk.name}",
            size=disk.facts.size,
            keep_disk=direction == "upload",
        )

    def _stamp(self, vm_id: str) -> str:
        """When the VM stopped last: another time whenever it has run."""
        vm = self.engine.call(f"read the VM {vm_id}", lambda s: s.vms_service().vm_service(vm_id).get())
        return str(getattr(vm, "stop_time", None))


def _in_the_way(facts: DiskFacts, record: DiskRecord, content: DiskContent, cell: int) -> str | None:
    if facts.skip_reason is not None:
        return f"cannot be written: {facts.skip_reason}"
    if facts.status not in (None, "ok"):
        return f"is {facts.status}"
    if facts.size < record.size:
        return f"has {format_size(facts.size)} now, {format_size(record.size)} in the archive"
    if content.damaged:
        return "is damaged in the archive: the repository lost chunks of it"
    if not content.chunks.on_grid(cell):
        return "was cut anew by another program: restore it with `extract --disk --over`"
    return None


def _bytes(disk: _Disk, places: set[int]) -> int:
    return sum(disk.content.chunks[place].size for place in places)
