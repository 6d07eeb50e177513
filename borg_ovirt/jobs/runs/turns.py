"""The VMs of a run, one or a few at a time: each between its hooks, locked for us, told in the engine's log.

What goes wrong with one ends in its outcome and stops no other. The engine's slow endings (merges) run on
behind the next VM. A signal ends the VMs under way in the same order as any other failure.
"""

from __future__ import annotations

import threading
import time as clock
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timezone

from borg_ovirt import sign, waits
from borg_ovirt.errors import HookFailed
from borg_ovirt.jobs.backup.create import CreateOptions, CreateResult
from borg_ovirt.jobs.backup.opened import OpenedRepositories
from borg_ovirt.jobs.backup.shared import SharedStore
from borg_ovirt.jobs.backup.stores import Stored
from borg_ovirt.jobs.backup.storing import Storing, StoringThread
from borg_ovirt.jobs.runs.audit import Audit
from borg_ovirt.jobs.runs.crew import together
from borg_ovirt.jobs.runs.hooks import Hooks
from borg_ovirt.jobs.runs.limited import Bounds, back_up_limited
from borg_ovirt.jobs.runs.merges import PendingMerges
from borg_ovirt.jobs.runs.outcome import VmOutcome
from borg_ovirt.jobs.runs.plan import RunPlan
from borg_ovirt.jobs.runs.slots import try_lock
from borg_ovirt.jobs.selection import Member
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import heal, of_vm
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Named, Progress
from borg_ovirt.stopping import Stop
from borg_ovirt.units import format_duration, format_size

Turn = tuple[Member, VmOutcome]
_PAUSE = 1.0
"""Seconds between two looks at a VM that another process of ours works on."""


class Turns:
    """Takes VM after VM into the repositories that are open."""

    def __init__(
        self,
        plan: RunPlan,
        engine: Engine,
        repositories: OpenedRepositories,
        journal: Journal,
        merges: PendingMerges,
        hooks: Hooks,
        progress: Progress,
        stop: Stop | None = None,
    ) -> None:
        self._storing = StoringThread(stop) if stop is not None else Storing()
        self._healing = threading.Lock()
        self._beginning = threading.Lock()
        self._plan = plan
        self._engine = engine
        self._repositories = repositories
        self._journal = journal
        self._merges = merges
        self._hooks = hooks
        self._progress = progress
        self._bounds = Bounds(plan.limits, plan.state, plan.guard_every)
        self._audit = Audit(engine, progress.step)

    def take(self, turns: Sequence[tuple[Member, VmOutcome]]) -> None:
        """Back up each VM; one that another process of ours works on when that is done with it."""
        postponed = self._each(turns)
        for member, _ in postponed:
            self._progress.step(f"{member.name}: another process backs it up now; its turn comes later")
        while postponed:
            clock.sleep(_PAUSE)
            postponed = self._each(postponed)

    def _each(self, turns: Sequence[Turn]) -> list[Turn]:
        """Those that are taken by somebody else."""
        if isinstance(self._storing, StoringThread):
            return together(self._plan.limits.captures, self._storing, lambda t: self._try(*t), turns)
        return [turn for turn in turns if not self._try(*turn)]

    def _try(self, member: Member, outcome: VmOutcome) -> bool:
        """False when the VM is taken."""
        if self._repositories.all_lost is not None:
            outcome.status, outcome.error = "failed", self._repositories.all_lost
            self._progress.end_vm()
            return True
        until = self._plan.until
        if until is not None and datetime.now(timezone.utc) >= until:
            outcome.warnings.append(f"not started: it is past {until.astimezone():%H:%M}")
            self._progress.end_vm()
            return True
        lock = try_lock(self._plan.state / "vms" / f"{member.id}.lock")
        if lock is None:
            return False
        with ExitStack() as stack:
            stack.callback(lock.close)
            self._storing.do(lambda: self._repositories.recover(self._progress.warn))
            if self._repositories.all_lost is not None:
                return self._try(member, outcome)
            show = Named(self._progress, member.name).waiting
            with waits.shown_by(show):
                ends = self._one(member, outcome)
            if ends:
                release = stack.pop_all().close  # the VM is ours until the engine is through with it
                self._merges.begin(_all(ends, release, outcome, show), self._late(outcome))
        return True

    def _late(self, outcome: VmOutcome) -> Callable[[str], None]:
        def warn(text: str) -> None:
            outcome.warn(text)
            self._progress.warn(f"{outcome.vm}: {text}")

        return warn

    def _one(self, member: Member, outcome: VmOutcome) -> list[Callable[[], list[str]]]:
        """One VM from its first hook to its last; whatever happens ends in the outcome."""
        outcome.started = datetime.now(timezone.utc)
        with self._beginning:  # the sign never goes back
            self._progress.begin_vm()
            if (overview := self._progress.overview) is not None:
                sign.hang_out(overview.begun, overview.total)
        begun = clock.monotonic()
        results: list[CreateResult] = []
        signalled = None
        try:
            self._back_up(member, outcome, results)
        except Exception as error:
            outcome.fail(error)
        except KeyboardInterrupt as error:
            signalled = error
            self._hooks.hurry()
            if results:  # what was made stands, and is told
                outcome.fill(results)
            outcome.fail(error)
        outcome.seconds = round(clock.monotonic() - begun, 3)
        try:
            self._tell(member, outcome)
        except KeyboardInterrupt as error:
            signalled = error
            self._hooks.hurry()
            self._tell(member, outcome)
        self._close(outcome)
        if signalled is not None:
            raise signalled
        return [result.wait_for_merge for result in results]

    def _back_up(self, member: Member, outcome: VmOutcome, results: list[CreateResult]) -> None:
        """One VM into the repositories, and what became of it in each of them; `results` grow meanwhile."""
        self._audit.started(member.id, member.name)
        if self._hooks.any_at("before-vm"):
            with self._storing.aside():  # it may wait for what another VM's hooks have taken
                outcome.warnings += self._hooks.call("before-vm", self._facts(outcome))
        options = self._plan.options(member)
        outcome.mode = options.mode
        self._heal(member)
        while self._read(member, options, results):
            self._storing.do(lambda: self._repositories.recover(self._progress.warn))
        outcome.fill(results)
        self._miss(outcome)

    def _read(self, member: Member, options: CreateOptions, results: list[CreateResult]) -> bool:
        """True where it is to be read again: its repository was lost under another VM."""
        do, repositories = self._storing.do, self._repositories
        store = do(repositories.store)
        shared = SharedStore(store, self._storing) if self._storing.shared else store
        progress = Named(self._progress, member.name) if self._storing.shared else self._progress
        whole = self._engine, member.id, options, self._bounds, self._journal, progress, self._storing
        try:
            with self._storing.heeding(lambda error: repositories.broke(store, error)):
                for result in back_up_limited(shared, *whole):
                    results.append(result)
        except Exception as error:
            failure = error  # its name is gone when the clause ends
            ours = do(lambda: repositories.conclude(store, failure))
            if ours or results or repositories.all_lost is not None:
                raise
            return True
        do(lambda: repositories.conclude(store, None))
        return False

    def _heal(self, member: Member) -> None:
        """End what a run that died left of this VM; it would be in the way."""
        patience, of_it = self._engine.patience, of_vm(member.id)
        with self._healing:  # who holds a journal keeps all others out
            heal(self._engine, self._plan.state, self._progress.step, only=of_it, at_most=patience.end)

    def _miss(self, outcome: VmOutcome) -> None:
        """A repository that was given up before has no archive of this VM either."""
        told = {stored.repository for stored in outcome.stored}
        for state in self._repositories.states:
            if state.location not in told:
                why = state.error or "it was lost"
                outcome.stored.append(Stored(state.location, None, error=why))
                outcome.warn(f"repository {state.location} has no archive of this backup: {why}")

    def _tell(self, member: Member, outcome: VmOutcome) -> None:
        """Say it where people look: here, and in the engine's log."""
        if outcome.error is None:
            warned = outcome.status != "ok"
            archive, kind = outcome.archive or "", outcome.kind or ""
            self._progress.end_vm(
                f"{member.name}: archive {archive}: {kind}, {format_size(outcome.bytes_read)} read, "
                f"{format_size(outcome.bytes_added)} added, {format_duration(outcome.seconds)}"
            )
            self._audit.finished(member.id, member.name, archive, kind, warned=warned)
        else:
            self._progress.end_vm()
            if not self._plan.named:
                self._progress.warn(f"{member.name}: failed: {outcome.error}")
            self._audit.failed(member.id, member.name, outcome.error)

    def _close(self, outcome: VmOutcome) -> None:
        """The hooks after a VM, all of them, whatever signal comes."""
        signalled = None
        for when in ("on-failure" if outcome.status == "failed" else "on-success", "after-vm"):
            try:
                warnings = self._hooks.call(when, self._facts(outcome))
            except HookFailed as error:
                self._progress.warn(f"{outcome.vm}: {error.message}")
                outcome.fail(error)
            except KeyboardInterrupt as error:
                signalled = error
            else:
                for warning in warnings:
                    self._progress.warn(f"{outcome.vm}: {warning}")
                outcome.warn(*warnings)
        if signalled is not None:
            raise signalled

    def _facts(self, outcome: VmOutcome) -> dict[str, object]:
        facts = outcome.facts()
        where = " ".join(state.location for state in self._repositories.states)
        return {"repository": where, "vm_name": facts.pop("vm"), **facts}


def _all(
    ends: Sequence[Callable[[], list[str]]],
    release: Callable[[], None],
    outcome: VmOutcome,
    show: Callable[[str], AbstractContextManager[None]],
) -> Callable[[], list[str]]:
    """Wait for what the engine still does after each read, then let go of the VM."""

    def wait() -> list[str]:
        try:
            with waits.shown_by(show):
                return [warning for wait in ends for warning in wait()]
        finally:
            outcome.engine_is_done()
            release()

    return wait
