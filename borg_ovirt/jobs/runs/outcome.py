"""What a run did: one outcome for each VM and each repository, one exit status for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from borg_ovirt.errors import EXIT_ERROR, EXIT_OK, EXIT_WARNING, BorgOvirtError, HookFailed
from borg_ovirt.jobs.backup.create import CreateResult
from borg_ovirt.jobs.backup.opened import RepositoryState
from borg_ovirt.jobs.backup.record import DiskOutcome
from borg_ovirt.jobs.backup.stores import Stored

Status = Literal["ok", "warning", "failed", "not started"]
_DISK = TypeAdapter(DiskOutcome)


class RepositoryOutcome(BaseModel):
    """One repository of a run."""

    name: str
    """As the user names it."""
    location: str
    error: str | None = None
    """Why it was lost, if it was not there again at the end."""


class VmOutcome(BaseModel):
    """One VM of a run. Sizes in bytes."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    vm: str
    vm_id: str
    status: Status = "not started"
    archive: str | None = None
    mode: str | None = None
    kind: str | None = None
    reason: str | None = None
    """Why it was read in full."""
    method: str | None = Field(None, serialization_alias="way")
    consistency: str | None = None
    started: datetime | None = None
    seconds: float = 0.0
    """Until its archive stood."""
    took: float = 0.0
    """Seconds until the engine was through with it too (a merge); 0 before that."""
    size: int = 0
    bytes_read: int = 0
    bytes_new: int = 0
    """In the repository that knew least; whole cells, before compression."""
    bytes_added: int = 0
    """What the repository grew by that grew most: compressed, deduplicated."""
    disks: list[dict[str, Any]] = Field(default_factory=list)
    skipped: list[dict[str, Any]] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None
    stored: list[Stored] = Field(default_factory=list)
    """What became of it in each repository."""
    cause: BaseException | None = Field(None, exclude=True, repr=False)
    """What `error` tells in words."""

    def warn(self, *warnings: str) -> None:
        """Add warnings; what went well so far went well with warnings then."""
        self.warnings += warnings
        if warnings and self.status == "ok":
            self.status = "warning"

    def fail(self, error: BaseException) -> None:
        """It did not go well. The first cause is the one that counts."""
        self.status = "failed"
        self.cause = self.cause or error
        self.error = self.error or in_words(error)

    def engine_is_done(self) -> None:
        """Nothing of the backup goes on any more."""
        if self.started is not None:
            self.took = round((datetime.now(timezone.utc) - self.started).total_seconds(), 3)

    def fill(self, results: Sequence[CreateResult]) -> None:
        """It went well: one result for each time that the VM was read."""
        first = results[0]
        self.archive, self.method, self.consistency = first.archive, first.method, first.consistency
        self.kind = "full" if any(result.kind == "full" for result in results) else first.kind
        self.reason = "; ".join(_once(result.reason for result in results)) or None
        disks = [disk for result in results for disk in result.disks]
        self.size = sum(disk.size for disk in first.disks)
        self.bytes_read = sum(disk.stats.bytes_read for disk in disks)
        self.bytes_new = max(sum(disk.stats.bytes_new for disk in r.disks) for r in results)
        self.bytes_added = max((s.bytes_added or 0 for r in results for s in r.stored), default=0)
        self.disks = [_disk(disk) for disk in disks]
        self.skipped = [disk.model_dump(mode="json") for disk in first.skipped]
        self.stored = [stored for result in results for stored in result.stored]
        self.status = "warning" if self.warnings else "ok"
        self.warn(*_once(warning for result in results for warning in result.warnings))

    def lacks(self, location: str) -> bool:
        """Whether the repository has no archive of it."""
        return any(s.repository == location and s.archive is None for s in self.stored)

    def fell_behind(self, location: str) -> bool:
        """Whether it has none because it was too slow."""
        return any(s.repository == location and s.behind for s in self.stored)

    def caught_up(self, copied: Stored) -> None:
        """It has one now: what was told of its lacking it counts no more."""
        self.stored = [copied if s.repository == copied.repository else s for s in self.stored]
        told = f"repository {copied.repository} "
        self.warnings = [text for text in self.warnings if not text.startswith(told)]
        if self.status == "warning" and not self.warnings:
            self.status = "ok"

    def facts(self) -> dict[str, Any]:
        """As JSON tells it."""
        return self.model_dump(mode="json", by_alias=True)


class SelectedVm(BaseModel):
    """A VM that runs like this one are about."""

    vm: str
    vm_id: str


class RunResult(BaseModel):
    """A run, from its first hook to its last."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    run: str
    engine: str
    started: datetime
    ended: datetime | None = None
    repositories: list[RepositoryOutcome] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None
    """Why the run ended as a whole."""
    vms: list[VmOutcome] = Field(default_factory=list)
    selected: list[SelectedVm] | None = None
    """All VMs of the configuration (of this shard), whether this run was about them or not; None where nobody
    asked: a single REPO::VM, an engine that does not answer."""
    named: bool = Field(False, exclude=True)
    """It is about one VM that the command line names, whose failure is the run's."""
    cause: BaseException | None = Field(None, exclude=True, repr=False)
    """What `error` tells in words."""

    def count(self, status: Status) -> int:
        """How many VMs ended so."""
        return sum(1 for vm in self.vms if vm.status == status)

    def end(self, error: BaseException) -> None:
        """The run ends as a whole. The first cause counts, but nothing goes before a signal."""
        if self.cause is None or isinstance(error, KeyboardInterrupt):
            self.cause = error
            self.error = in_words(error)

    def look_at(self, states: Iterable[RepositoryState]) -> None:
        """Where the repositories stand now."""
        self.repositories = [
            RepositoryOutcome(name=s.name, location=s.location, error=s.error) for s in states
        ]

    @property
    def failure(self) -> BaseException | None:
        """What the exit status is about; None where VMs are counted."""
        if self.cause is None and self.named:
            return next((vm.cause for vm in self.vms if vm.status == "failed"), None)
        return self.cause

    @property
    def status(self) -> Status:
        """The worst of all. A repository that is lost in the end is missed by whoever relies on it."""
        lost = any(repository.error for repository in self.repositories) and not self.named
        if self.cause or self.count("failed") or lost:
            return "failed"
        if self.warnings or self.count("warning") or self.count("not started"):
            return "warning"
        return "ok"

    @property
    def exit_status(self) -> int:
        """That of the cause, if there is one; else 0 all well, 1 some warnings, 2 some failed."""
        if self.failure is not None:
            interrupted = 130 if isinstance(self.failure, KeyboardInterrupt) else EXIT_ERROR
            return int(getattr(self.failure, "exit_code", interrupted))
        return {"failed": EXIT_ERROR, "warning": EXIT_WARNING}.get(self.status, EXIT_OK)

    def facts(self) -> dict[str, Any]:
        """As JSON tells it, to programs and to hooks."""
        told = self.model_dump(mode="json", exclude={"vms"})
        head = {"run": told.pop("run"), "engine": told.pop("engine")}
        vms = [vm.facts() for vm in self.vms]
        return {**head, "status": self.status, "exit_status": self.exit_status, **told, "vms": vms}


def in_words(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, KeyboardInterrupt):
        return f"ended by {error or 'Ctrl-C'}"
    if isinstance(error, HookFailed):
        return error.message
    return str(error) if isinstance(error, BorgOvirtError) else f"{type(error).__name__}: {error}"


def _once(texts: Iterable[str | None]) -> list[str]:
    """Each text once, in order."""
    return list(dict.fromkeys(text for text in texts if text))


def _disk(disk: DiskOutcome) -> dict[str, Any]:
    told: dict[str, Any] = _DISK.dump_python(disk, mode="json")
    return {"way" if name == "method" else name: value for name, value in told.items()}
