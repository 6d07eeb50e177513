"""The main job on an engine in use: a VM of its own is made, backed up twice, restored, compared, removed.

What it makes bears the name and the run of the test, stands in the journal before it is asked for, and is
all that it ever touches: `cleanup` finds what a kill leaves.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from borg_ovirt.errors import BackupFailed, BorgOvirtError, ProofFailed, RestoreFailed
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult, create
from borg_ovirt.jobs.backup.stores import SingleStore
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.restore import Destination, carry_out, prepare
from borg_ovirt.jobs.selftest.known import SIZE, KnownDisk
from borg_ovirt.jobs.selftest.place import TestPlace, choose_place
from borg_ovirt.jobs.selftest.report import Report, Stopwatch
from borg_ovirt.ovirt.data.transfer import TransferRequest, download
from borg_ovirt.ovirt.data.transfer import upload as upload_transfer
from borg_ovirt.ovirt.make.disks import MadeDisk, NewDisk
from borg_ovirt.ovirt.make.machines import MadeVm, ScratchVm, attach_disk, attached_disks
from borg_ovirt.ovirt.make.made import Made
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import TAG, Journal
from borg_ovirt.pipe.upload import upload
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository
from borg_ovirt.units import format_size

PREFIX = f"{TAG}-selftest-"
"""The names of everything that a selftest makes begin so; the run follows."""
_OURS = re.compile(rf"{PREFIX}[0-9a-f]{{12}}(-restored)?")
_ATTACHED = {"interface": "virtio_scsi", "active": True, "read_only": False, "pass_discard": False}


@dataclass
class Selftest:
    """One test under way: what its steps share."""

    engine: Engine
    journal: Journal
    repository: Repository
    report: Report
    progress: Progress
    cluster: str | None = None
    storage_domain: str | None = None
    made: list[Made] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = f"{PREFIX}{self.journal.run_id}"
        self._clock = Stopwatch(self.report, self.progress)

    def run(self) -> None:
        """All steps. Whatever happens, what was made is removed; what cannot be is in the report."""
        with self._removing():
            self._steps()

    def _steps(self) -> None:
        first = KnownDisk.of(self.name)
        second = first.changed(f"{self.name} changed")
        with self._clock.step("choose a place") as step:
            place = choose_place(self.engine, self.cluster, self.storage_domain)
            self.report.place = step.note = str(place)
        with self._clock.step("make a VM and its disk") as step:
            vm, disk = self._make(place)
            step.note = f"{self.name}, {format_size(SIZE)}"
        with self._clock.step("write known bytes") as step:
            step.note = self._write(disk, first)
        with self._clock.step("full backup") as step:
            full = self._back_up(vm)
            step.note = _told(full)
        with self._clock.step("change some bytes") as step:
            step.note = self._write(disk, second, first.differing(second))
        with self._clock.step("incremental backup") as step:
            latest = self._back_up(vm)
            step.note = _told(latest)
            if latest.kind != "incremental":
                self._warn(f"the second backup read everything: {latest.reason}")
        with self._clock.step("compare the archives") as step:
            for result, known in ((full, first), (latest, second)):
                self._compare_archive(result, known)
            step.note = "both hold what was written"
        with self._clock.step("restore beside") as step:
            restored = self._restore(latest, place)
            step.note = f"{self.name}-restored"
        with self._clock.step("compare the restored disk") as step:
            self._compare_disk(restored, second)
            step.note = f"all {format_size(SIZE)} are the same"

    # -- making ------------------------------------------------------------------------------------------

    def _make(self, place: TestPlace) -> tuple[str, str]:
        """The ids of the VM and of its disk."""
        bios = "q35_sea_bios" if place.cluster.architecture == "x86_64" else None
        new = NewDisk(
            id=str(uuid.uuid4()),
            image_id=str(uuid.uuid4()),
            alias=self.name,
            size=SIZE,
            format="cow",
            sparse=True,
            storage_domain_id=place.domain.id,
            description=self.journal.describe("selftest"),
            backup="incremental",
        )
        disk = MadeDisk(self.engine, self.journal, new)
        vm = ScratchVm(self.engine, self.journal, self.name, place.cluster.id, bios)
        for made in (disk, vm):
            self.made.append(made)
            made.make()
        attach_disk(self.engine, vm.id, disk.id, _ATTACHED)
        return vm.id, disk.id

    def _write(self, disk_id: str, known: KnownDisk, only: set[int] | None = None) -> str:
        request = TransferRequest("upload", disk_id, f"disk {self.name}", SIZE, keep_disk=True)
        with upload_transfer(self.engine, self.journal, request) as transfer:
            stats = upload(known, transfer.target, target_is_zero=only is None, only=only)
            self.report.versions["imageio"] = transfer.session.server or "unknown"
            way = transfer.session.method
            transfer.finish()
        self.report.versions["way of the data"] = way
        return f"{format_size(stats.bytes_written)} written, {way}"

    def _back_up(self, vm_id: str) -> CreateResult:
        result = create(
            SingleStore(self.repository), self.engine, vm_id, CreateOptions(), self.journal, self.progress
        )
        for warning in [*result.warnings, *result.wait_for_merge()]:
            self._warn(warning)
        return result

    def _restore(self, result: CreateResult, place: TestPlace) -> str:
        """The id of the restored disk."""
        options = RestoreOptions(
            name=f"{self.name}-restored",
            cluster=place.cluster.id,
            storage_domains={"": place.domain.id},
        )
        destination = Destination(self.engine, self.journal)
        prepared = prepare(self.repository, result.archive, options, destination)
        done = carry_out(prepared, destination, self.progress, for_a_while=self.made)
        for warning in done.warnings:
            self._warn(warning)
        if len(done.disks) != 1:
            raise RestoreFailed(f"{len(done.disks)} disks were restored, not 1.")
        return done.disks[0].disk_id

    # -- comparing ---------------------------------------------------------------------------------------

    def _compare_archive(self, result: CreateResult, known: KnownDisk) -> None:
        reader = self.repository.archive(result.archive)
        (disk,) = reader.manifest.disks
        content = reader.disk(disk.path)
        where = known.first_difference_of(content.fetch(content.chunks))
        if where is not None:
            raise BackupFailed(
                f"Archive {result.archive} is wrong: from byte {where} on it has other bytes than the disk.",
                "Trust no backup of this engine before this is understood; please report it.",
            )

    def _compare_disk(self, disk_id: str, known: KnownDisk) -> None:
        request = TransferRequest("download", disk_id, f"disk {self.name}-restored", SIZE)
        with download(self.engine, self.journal, request) as transfer:
            reader = transfer.source.open()
            try:
                where = known.first_difference(reader)
            finally:
                reader.close()
            transfer.finish()
        if where is not None:
            raise ProofFailed(
                f"The restored disk is wrong: from byte {where} on it holds other bytes than the archive.",
                "Please report it.",
            )

    # -- the end -----------------------------------------------------------------------------------------

    @contextmanager
    def _removing(self) -> Iterator[None]:
        """A failure of the test is raised before one of the removal."""
        try:
            yield
        except BaseException:
            try:
                self._remove()
            except BorgOvirtError as error:
                self._warn(error.message)
            raise
        self._remove()

    def _remove(self) -> None:
        with self._clock.step("remove everything") as step:
            trouble = self._remove_made()
            gone = self._archives()
            if gone:
                self.repository.delete(gone)
            self.report.left = [*trouble, *self._unfinished()]
            if self.report.left:
                raise RestoreFailed(
                    f"Not all of it could be removed: {'; '.join(self.report.left)}.",
                    "`borg-ovirt cleanup` removes it.",
                )
            step.note = f"{len(gone)} archives, and all of it in the engine"

    def _remove_made(self) -> list[str]:
        """The latest first; returns what could not be removed."""
        ours = {made.id for made in self.made}
        trouble = []
        while self.made:
            made = self.made.pop()
            try:
                if isinstance(made, ScratchVm | MadeVm):
                    self._spare_strangers(made, ours)
                if not made.remove():
                    trouble.append(f"{made.name} is not there, but may come to be yet")
            except BorgOvirtError as error:
                trouble.append(f"{made.name} could not be removed: {error.message}")
        return trouble

    def _spare_strangers(self, vm: ScratchVm | MadeVm, ours: set[str]) -> None:
        """A VM takes its disks along: those that others attached to it stay, and are told."""
        strangers = attached_disks(self.engine, vm.id) - ours if vm.exists() else set()
        if strangers:
            self._warn(f"{vm.name} had disks that this test did not make: {', '.join(sorted(strangers))}")
            vm.remove_alone()

    def _unfinished(self) -> list[str]:
        left = [entry for entry in self.journal.unfinished if entry.kind != "directory"]
        return [f"the {entry.kind} {entry.id or entry.facts.get('id') or ''}".rstrip() for entry in left]

    def _archives(self) -> set[str]:
        """Those of selftests, of earlier ones that were killed too: this one alone has the repository now."""
        return {a.name for a in self.repository.archives() if _OURS.fullmatch(a.comment.vm_name)}

    def _warn(self, text: str) -> None:
        self.report.warnings.append(text)
        self.progress.warn(text)


def _told(result: CreateResult) -> str:
    read, new = (sum(getattr(d.stats, f"bytes_{what}") for d in result.disks) for what in ("read", "new"))
    reason = f" ({result.reason})" if result.reason and result.kind == "full" else ""
    return f"{result.kind}{reason}, {result.method}: {format_size(read)} read, {format_size(new)} new"
