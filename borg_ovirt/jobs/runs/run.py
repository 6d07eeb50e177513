"""A run: VMs, the neediest first, each read once and stored in every repository of the run.

What the run before left in the engine is ended first. However a run ends, by a signal too, the hooks that
close what was begun are called, and its result says what was done.
"""

from __future__ import annotations

from datetime import datetime, timezone

from borg_ovirt import waits
from borg_ovirt.jobs.runs.catch_up import catch_up
from borg_ovirt.jobs.runs.hooks import Hooks
from borg_ovirt.jobs.runs.merges import PendingMerges
from borg_ovirt.jobs.runs.outcome import RunResult, SelectedVm, VmOutcome
from borg_ovirt.jobs.runs.plan import RunPlan
from borg_ovirt.jobs.runs.turns import Turns
from borg_ovirt.jobs.selection import neediest_first
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.cleanup import heal, leftovers, nobody
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress
from borg_ovirt.stopping import Stop


def run(plan: RunPlan, access: EngineAccess, hooks: Hooks, progress: Progress) -> RunResult:
    """Back up every VM of the plan. Nothing is raised: what hinders the run as a whole is in its result."""
    result = RunResult(
        run=plan.run_id, engine=access.host, started=datetime.now(timezone.utc), named=plan.named
    )
    result.look_at(plan.repositories.states)
    try:
        told = {"started": result.started, "repositories": result.facts()["repositories"]}
        result.warnings += hooks.call("before-run", told)
    except Exception as error:
        result.end(error)
        return _ended(result)  # there is no run
    except KeyboardInterrupt as error:
        _interrupt(result, error, hooks)
    else:
        _carry_out(plan, access, hooks, progress, result)
    _ended(result)
    counts = {f"vms_{word}": result.count(word) for word in ("ok", "warning", "failed")}
    try:
        for warning in hooks.call("after-run", {**result.facts(), **counts}):
            progress.warn(warning)
            result.warnings.append(warning)
    except (Exception, KeyboardInterrupt) as error:
        result.end(error)
    return result


def _carry_out(
    plan: RunPlan, access: EngineAccess, hooks: Hooks, progress: Progress, result: RunResult
) -> None:
    try:
        with (
            waits.shown_by(progress.waiting),
            Engine(access, run_id=plan.run_id) as engine,
            Journal(plan.state, engine.instance_id, engine.run_id) as journal,
        ):
            _back_up(plan, engine, journal, hooks, progress, result)
    except Exception as error:
        result.end(error)
    except KeyboardInterrupt as error:
        _interrupt(result, error, hooks)
    result.look_at(plan.repositories.states)


def _back_up(
    plan: RunPlan, engine: Engine, journal: Journal, hooks: Hooks, progress: Progress, result: RunResult
) -> None:
    members = plan.members(engine)
    if plan.selected is not None:
        result.selected = [SelectedVm(vm=m.name, vm_id=m.id) for m in plan.selected(engine)]
    heal(engine, plan.state, progress.step, nobody)
    stuck = {left.vm_id for left in leftovers(plan.state, engine.instance_id)}
    merges = PendingMerges()
    with plan.repositories.opened():
        ordered = neediest_first(members, plan.repositories.last_good(engine.identity))
        # What one waits for holds up no other.
        ordered = sorted(ordered, key=lambda member: member.id in stuck)
        progress.begin_run(len(ordered))
        result.vms = [VmOutcome(vm=member.name, vm_id=member.id) for member in ordered]
        several = plan.limits.captures > 1 and len(ordered) > 1
        stop = Stop() if several else None
        turns = Turns(plan, engine, plan.repositories, journal, merges, hooks, progress, stop)
        turns.take(list(zip(ordered, result.vms, strict=True)))
    if merges.pending:
        progress.step("waiting for the engine to finish its part")
    merges.wait()
    catch_up(plan.repositories, result.vms, progress)


def _interrupt(result: RunResult, signalled: KeyboardInterrupt, hooks: Hooks) -> None:
    result.end(signalled)
    hooks.hurry()


def _ended(result: RunResult) -> RunResult:
    result.ended = datetime.now(timezone.utc)
    return result
