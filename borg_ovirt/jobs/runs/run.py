"""Back up many VMs into one repository: the neediest first, each an archive of its own, none stops another.

The repository is opened once. The engine's slow endings (merges) run on behind the next VM. What the run
before left in the engine is ended first.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta, timezone
from pathlib import Path

from borg_ovirt.config.schema import Limits
from borg_ovirt.errors import BorgOvirtError, HookFailed, RepositoryError
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult
from borg_ovirt.jobs.backup.opened import OpenedRepository, Opener
from borg_ovirt.jobs.runs.audit import Audit
from borg_ovirt.jobs.runs.guard import EVERY
from borg_ovirt.jobs.runs.hooks import Hooks
from borg_ovirt.jobs.runs.limited import Bounds, back_up_limited
from borg_ovirt.jobs.runs.merges import PendingMerges
from borg_ovirt.jobs.runs.outcome import RunResult, VmOutcome
from borg_ovirt.jobs.runs.slots import try_lock
from borg_ovirt.jobs.selection import Member, last_good, neediest_first
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository

_PAUSE = 1.0
"""Seconds between two looks at a VM that another process of ours works on."""


@dataclass(frozen=True)
class RunPlan:
    """What a run should do and what it may take."""

    members: Sequence[Member]
    options: Callable[[Member], CreateOptions]
    state: Path
    """Where locks that our processes share lie."""
    limits: Limits = field(default_factory=Limits)
    until: datetime | None = None
    """No VM is started after this moment."""
    rate: float | None = None
    """Bytes per second that this process may read."""
    guard_every: float = EVERY


def window_end(until: time | None, started: datetime) -> datetime | None:
    """The next moment after `started` (local time) at which the clock shows `until`."""
    if until is None:
        return None
    local = started.astimezone()
    end = local.replace(hour=until.hour, minute=until.minute, second=0, microsecond=0)
    return end if end > local else end + timedelta(days=1)


def run(
    opener: Opener, engine: Engine, plan: RunPlan, journal: Journal, progress: Progress, hooks: Hooks
) -> RunResult:
    """Back up every member of the plan. Only what hinders the run as a whole is raised."""
    started = datetime.now(timezone.utc)
    settling = PendingMerges()
    with OpenedRepository(opener) as shelf:
        repository = shelf.repository
        result = RunResult(
            run=journal.run_id, repository=repository.location, engine=engine.host, started=started
        )
        work = _Run(shelf, engine, plan, journal, progress, hooks, settling, result)
        for member in neediest_first(plan.members, last_good(repository.archives(), engine)):
            work.take(member)
        work.take_postponed()
    if settling.pending:
        progress.step("waiting for the engine to finish its part")
    settling.wait()
    result.ended = datetime.now(timezone.utc)
    return result


class _Run:
    """A run under way."""

    def __init__(
        self,
        shelf: OpenedRepository,
        engine: Engine,
        plan: RunPlan,
        journal: Journal,
        progress: Progress,
        hooks: Hooks,
        settling: PendingMerges,
        result: RunResult,
    ) -> None:
        self.shelf = shelf
        self.engine = engine
        self.plan = plan
        self.journal = journal
        self.progress = progress
        self.hooks = hooks
        self.settling = settling
        self.result = result
        self.bounds = Bounds(plan.limits, plan.state, plan.rate, plan.guard_every)
        self.audit = Audit(engine, progress.step)
        self.given_up: str | None = None
        self.mended = False
        self.postponed: list[tuple[Member, VmOutcome]] = []

    def take(self, member: Member) -> None:
        """Back up one VM, or put it off while another process of ours works on it."""
        outcome = VmOutcome(vm=member.name, vm_id=member.id)
        self.result.vms.append(outcome)
        if not self._try(member, outcome):
            self.progress.step(f"{member.name}: another process backs it up now; its turn comes later")
            self.postponed.append((member, outcome))

    def take_postponed(self) -> None:
        """The VMs that another process worked on, as soon as it is done with them."""
        while self.postponed:
            self.postponed = [(m, outcome) for m, outcome in self.postponed if not self._try(m, outcome)]
            if self.postponed:
                clock.sleep(_PAUSE)

    def _try(self, member: Member, outcome: VmOutcome) -> bool:
        """False when the VM is taken."""
        if self.given_up:
            outcome.status, outcome.error = "failed", self.given_up
            return True
        if self.plan.until is not None and datetime.now(timezone.utc) >= self.plan.until:
            outcome.warnings.append(f"not started: it is past {self.plan.until.astimezone():%H:%M}")
            return True
        lock = try_lock(self.plan.state / "vms" / f"{member.id}.lock")
        if lock is None:
            return False
        with ExitStack() as stack:
            stack.callback(lock.close)
            if settle := self._back_up(member, outcome):
                release = stack.pop_all().close  # the VM is ours until the engine is through with it
                self.settling.begin(_then(settle, release), self._late(outcome))
        return True

    def _late(self, outcome: VmOutcome) -> Callable[[str], None]:
        def warn(text: str) -> None:
            outcome.warn(text)
            self.progress.warn(f"{outcome.vm}: {text}")

        return warn

    def _back_up(self, member: Member, outcome: VmOutcome) -> Callable[[], list[str]] | None:
        """One VM from its first hook to its last; whatever happens ends in the outcome."""
        outcome.started = datetime.now(timezone.utc)
        begun = clock.monotonic()
        self.audit.started(member.id, member.name)
        settle = None
        try:
            outcome.warnings += self.hooks.call("before-vm", self._facts(outcome))
            result = self._create(member, [self.shelf.repository])
            _fill(outcome, result)
            settle = result.settle
        except Exception as error:
            self._failed(outcome, error)
        outcome.seconds = round(clock.monotonic() - begun, 3)
        self._tell(member, outcome)
        self._closing_hooks(outcome)
        return settle

    def _create(self, member: Member, repositories: Sequence[Repository]) -> CreateResult:
        """One read of one VM into its repositories."""
        (repository,) = repositories
        options = self.plan.options(member)
        return back_up_limited(
            repository, self.engine, member.id, options, self.bounds, self.journal, self.progress
        )

    def _failed(self, outcome: VmOutcome, error: Exception) -> None:
        if not isinstance(error, BorgOvirtError):
            outcome.error = f"{type(error).__name__}: {error}"
        elif isinstance(error, HookFailed):
            outcome.error = error.message
        else:
            outcome.error = str(error)
        outcome.status = "failed"
        if isinstance(error, RepositoryError):
            self._mend(error)

    def _mend(self, error: RepositoryError) -> None:
        """The repository failed, perhaps for good: open it afresh, once between two archives."""
        if self.mended:
            self.given_up = f"not tried: the repository failed twice ({error.message})"
            return
        self.mended = True
        self.progress.warn(f"the repository failed ({error.message}); opening it again")
        try:
            self.shelf.reopen(error)
        except BorgOvirtError as again:
            self.given_up = f"not tried: the repository cannot be opened again ({again.message})"

    def _tell(self, member: Member, outcome: VmOutcome) -> None:
        """Say it where people look: here, and in the engine's log."""
        if outcome.error is None:
            self.mended = False
            warned = outcome.status != "ok"
            archive, kind = outcome.archive or "", outcome.kind or ""
            self.audit.finished(member.id, member.name, archive, kind, warned=warned)
        else:
            self.progress.warn(f"{member.name}: failed: {outcome.error}")
            self.audit.failed(member.id, member.name, outcome.error)

    def _closing_hooks(self, outcome: VmOutcome) -> None:
        points = ["on-failure" if outcome.status == "failed" else "on-success", "after-vm"]
        for when in points:
            try:
                warnings = self.hooks.call(when, self._facts(outcome))
            except HookFailed as error:
                self.progress.warn(f"{outcome.vm}: {error.message}")
                outcome.status, outcome.error = "failed", outcome.error or error.message
            else:
                for warning in warnings:
                    self.progress.warn(f"{outcome.vm}: {warning}")
                outcome.warn(*warnings)

    def _facts(self, outcome: VmOutcome) -> dict[str, object]:
        facts = outcome.model_dump(mode="json")
        return {"repository": self.result.repository, "vm_name": facts.pop("vm"), **facts}


def _then(settle: Callable[[], list[str]], release: Callable[[], None]) -> Callable[[], list[str]]:
    def both() -> list[str]:
        try:
            return settle()
        finally:
            release()

    return both


def _fill(outcome: VmOutcome, result: CreateResult) -> None:
    outcome.archive = result.archive
    outcome.kind = result.kind
    outcome.reason = result.reason
    outcome.method = result.method
    outcome.consistency = result.consistency
    outcome.size = sum(disk.size for disk in result.disks)
    outcome.bytes_read = sum(disk.stats.bytes_read for disk in result.disks)
    outcome.bytes_new = sum(disk.stats.bytes_new for disk in result.disks)
    outcome.status = "warning" if outcome.warnings else "ok"
    outcome.warn(*result.warnings)
