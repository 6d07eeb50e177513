"""What a run of many VMs did: one outcome per VM, one result per repository, one exit status for all."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from borg_ovirt.errors import EXIT_ERROR, EXIT_OK, EXIT_WARNING

Status = Literal["ok", "warning", "failed", "not started"]


class VmOutcome(BaseModel):
    """One VM of a run. Sizes in bytes."""

    vm: str
    vm_id: str
    status: Status = "not started"
    archive: str | None = None
    kind: str | None = None
    reason: str | None = None
    """Why it was read in full."""
    method: str | None = None
    consistency: str | None = None
    started: datetime | None = None
    seconds: float = 0.0
    size: int = 0
    bytes_read: int = 0
    bytes_new: int = 0
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None

    def warn(self, *warnings: str) -> None:
        """Add warnings; what went well so far went well with warnings then."""
        self.warnings += warnings
        if warnings and self.status == "ok":
            self.status = "warning"


class RunResult(BaseModel):
    """A run into one repository."""

    run: str
    repository: str
    engine: str
    started: datetime
    ended: datetime | None = None
    vms: list[VmOutcome] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    error: str | None = None
    """Why the run ended as a whole."""

    def count(self, status: Status) -> int:
        """How many VMs ended so."""
        return sum(1 for vm in self.vms if vm.status == status)

    @property
    def status(self) -> Status:
        """The worst of all."""
        if self.error or self.count("failed"):
            return "failed"
        if self.warnings or self.count("warning") or self.count("not started"):
            return "warning"
        return "ok"


def exit_status(results: Iterable[RunResult]) -> int:
    """0 all well, 1 some warnings, 2 some failed."""
    found = {result.status for result in results}
    return EXIT_ERROR if "failed" in found else EXIT_WARNING if "warning" in found else EXIT_OK
