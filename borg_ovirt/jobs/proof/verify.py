"""Proves archives one after the other, within a budget, and stamps what was found on each of them.

What could not be looked at (an engine that refuses, no room, no qemu-img) is no proof in either direction:
it is told, and stamped nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from borg_ovirt import __version__
from borg_ovirt.errors import (
    BorgOvirtError,
    NotOurArchive,
    ProofFailed,
    RepositoryDamaged,
    RepositoryError,
    RestoreBlocked,
)
from borg_ovirt.jobs.proof.booting import BootOptions, boot_in_engine
from borg_ovirt.jobs.proof.booting_here import boot_here
from borg_ovirt.jobs.proof.content import look_inside
from borg_ovirt.jobs.proof.data import ChunksSeen, Reading, holds_rotten, read_data
from borg_ovirt.jobs.proof.due import Due
from borg_ovirt.jobs.proof.restoring import restore_to_nowhere
from borg_ovirt.jobs.proof.structure import look_at_structure
from borg_ovirt.jobs.restore.restore import Destination
from borg_ovirt.progress import Progress
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.proof import Level, UnderWay, proof, rank, with_proof


@dataclass(frozen=True)
class VerifyOptions:
    """What a run of proofs may take."""

    budget: timedelta | None = None
    """Nothing is begun, and reading is left, after this time."""
    until: datetime | None = None
    """The same, as a moment."""
    most: int | None = None
    """So many archives at most."""
    work_dir: Path | None = None
    storage_domain: str | None = None
    """Where scratch disks are made; None: each where it was."""
    boot: BootOptions = field(default_factory=BootOptions)
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)


@dataclass
class VerifyLine:
    """What became of one archive."""

    archive: str
    vm: str
    vm_id: str
    engine: str
    level: Level
    verdict: str
    """`passed`, `failed`, `under way` (out of time), `not proven` (it could not be looked at), `due`."""
    note: str = ""
    doubts: list[str] = field(default_factory=list)
    seconds: float = 0.0
    last: datetime | None = None
    """The proof before."""
    rotten: tuple[bytes, ...] = ()
    """Chunks that cannot be read."""


@dataclass
class VerifyResult:
    """A run of proofs in one repository."""

    lines: list[VerifyLine] = field(default_factory=list)
    left: int = 0
    """Archives that are due and were not begun."""
    bytes_read: int = 0

    def count(self, verdict: str) -> int:
        return sum(line.verdict == verdict for line in self.lines)


def verify(
    repository: Repository,
    wanted: Iterable[Due],
    options: VerifyOptions,
    destination: Destination | None,
    progress: Progress,
    *,
    dry_run: bool = False,
) -> VerifyResult:
    """Prove the archives in this order. `destination` is needed for what goes into an engine."""
    wanted = list(wanted)
    if options.most is not None:
        wanted, left = wanted[: options.most], len(wanted[options.most :])
    else:
        left = 0
    if dry_run:
        lines = [_line(one, "due", last=one.last) for one in wanted]
        return VerifyResult(lines, left)
    return _Run(repository, options, destination, progress).carry_out(wanted, left)


class _Run:
    """One run: its clock, and what it learns of chunks on the way."""

    def __init__(
        self,
        repository: Repository,
        options: VerifyOptions,
        destination: Destination | None,
        progress: Progress,
    ) -> None:
        self._repository = repository
        self._options = options
        self._destination = destination
        self._progress = progress
        self._seen = ChunksSeen()
        self._began = time.monotonic()

    def carry_out(self, wanted: list[Due], left: int) -> VerifyResult:
        result = VerifyResult(left=left)
        for place, one in enumerate(wanted):
            if not self._go_on():
                result.left += len(wanted) - place
                break
            line = self._prove(one)
            result.lines.append(line)
            if line.verdict == "failed":
                self._progress.warn(f"{line.archive} failed its proof ({line.level}): {line.note}.")
            elif line.verdict == "not proven":
                self._progress.warn(f"{line.archive} could not be proven: {line.note}")
        settled = {
            line.archive
            for line in result.lines
            if line.verdict == "failed" or (line.verdict == "passed" and rank(line.level) >= rank("data"))
        }
        result.lines += self._others_with_rotten_chunks(settled)
        result.bytes_read = self._seen.bytes_read
        return result

    def _go_on(self) -> bool:
        budget, until = self._options.budget, self._options.until
        if budget is not None and time.monotonic() - self._began >= budget.total_seconds():
            return False
        return until is None or self._options.now() < until

    def _prove(self, one: Due) -> VerifyLine:
        self._progress.step(f"{one.archive.name}: proving its {one.level}")
        begun, line = time.monotonic(), _line(one, "passed", last=one.last)
        try:
            self._look(one, line)
        except (ProofFailed, RepositoryDamaged, NotOurArchive) as error:
            line.verdict, line.note = "failed", error.message.rstrip(".")
        except RepositoryError:
            raise  # it does not answer: that says nothing about its archives
        except BorgOvirtError as error:
            line.verdict, line.note = "not proven", str(error)
        line.seconds = round(time.monotonic() - begun, 3)
        self._stamp(one.archive, line)
        return line

    def _look(self, one: Due, line: VerifyLine) -> None:
        name = one.archive.name
        if fault := look_at_structure(self._repository, name):
            line.verdict, line.note = "failed", fault
            return
        here = one.level == "boot" and self._options.boot.here
        if here or one.level in ("data", "content"):  # a restore reads everything itself
            reader = self._repository.archive(name)
            read = read_data(self._repository, reader, self._seen, self._go_on, self._progress, one.start)
            if read.fault is not None:
                line.verdict, line.note, line.rotten = "failed", read.fault, read.rotten
                return
            if not read.complete:
                line.verdict, line.note = "under way", f"{read.done} chunks read"
                since = one.archive.comment.under_way
                under_way = UnderWay(
                    level=one.level, time=since.time if since else self._options.now(), done=read.done
                )
                self._repository.note({name: {"under_way": under_way}})
                return
        if rank(one.level) >= rank("content"):
            inside = look_inside(self._repository.archive(name), self._options.work_dir, self._progress)
            line.note, line.doubts = ", ".join(inside.found), inside.doubts
            if inside.faults:
                line.verdict, line.note = "failed", "; ".join(inside.faults)
                return
        if one.level == "restore":
            self._restore(name, line)
        elif one.level == "boot":
            self._boot(name, line)

    def _boot(self, name: str, line: VerifyLine) -> None:
        options = self._options
        if options.boot.here:
            seen = f"booted in QEMU: {boot_here(self._repository, name, options.boot, self._progress)}"
        else:
            told = boot_in_engine(
                self._repository,
                name,
                self._into(),
                options.storage_domain,
                options.work_dir,
                options.boot,
                self._progress,
            )
            seen = f"booted in the engine: {told}"
        line.note = f"{seen}; {line.note}"

    def _into(self) -> Destination:
        if self._destination is None:
            raise RestoreBlocked("No engine is given to restore into.", "Name one, or choose another level.")
        return self._destination

    def _restore(self, name: str, line: VerifyLine) -> None:
        options = self._options
        proofs = restore_to_nowhere(
            self._repository,
            name,
            self._into(),
            options.storage_domain,
            options.work_dir,
            self._go_on,
            self._progress,
        )
        if proofs is None:
            line.verdict, line.note = "under way", "time ran out between two disks"
        else:
            line.note = f"restored {', '.join(proofs)}; {line.note}"

    def _stamp(self, archive: ArchiveInfo, line: VerifyLine) -> None:
        if line.verdict not in ("passed", "failed"):
            return
        fault = line.note if line.verdict == "failed" else None
        note = "; ".join([line.note, *line.doubts]) if line.doubts else line.note
        record = proof(line.level, self._options.now(), __version__, fault, note, line.rotten)
        proofs = with_proof(archive.comment.proofs, record)
        through = line.verdict == "failed" or rank(line.level) >= rank("data")
        under_way = None if through else archive.comment.under_way
        self._repository.note({archive.name: {"proofs": proofs, "under_way": under_way}})

    def _others_with_rotten_chunks(self, settled: set[str]) -> list[VerifyLine]:
        """A rotten chunk spoils every archive that refers to it, in this night's order or not."""
        lines: list[VerifyLine] = []
        if not self._seen.rotten:
            return lines
        for info in self._repository.archives():
            if info.name in settled:
                continue
            try:
                found = holds_rotten(self._repository.archive(info.name), self._seen)
            except (RepositoryDamaged, NotOurArchive) as error:
                found = Reading(0, False, error.message.rstrip("."))
            if found.fault is not None:
                line = _line(Due(info, "data", None), "failed", note=found.fault)
                line.rotten = found.rotten
                self._progress.warn(f"{line.archive} failed its proof ({line.level}): {line.note}.")
                self._stamp(info, line)
                lines.append(line)
        return lines


def _line(one: Due, verdict: str, *, note: str = "", last: datetime | None = None) -> VerifyLine:
    comment = one.archive.comment
    return VerifyLine(
        one.archive.name,
        comment.vm_name,
        comment.vm_id,
        comment.engine,
        one.level,
        verdict,
        note=note,
        last=last,
    )
