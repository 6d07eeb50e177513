"""Runs of many VMs from the command line: here for one repository, in a process each for several."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from borg_ovirt.cli import connect, options
from borg_ovirt.cli.location import Location, default_repository
from borg_ovirt.cli.output import Output
from borg_ovirt.cli.overrides import create_options, limits, parsed
from borg_ovirt.config.schema import Config
from borg_ovirt.errors import EXIT_ERROR, UsageError
from borg_ovirt.units import format_duration, format_size

if TYPE_CHECKING:
    from borg_ovirt.jobs.runs.hooks import Hooks
    from borg_ovirt.jobs.runs.outcome import RunResult
    from borg_ovirt.jobs.selection import Member
    from borg_ovirt.ovirt.session.engine import EngineAccess
    from borg_ovirt.progress import Progress


@dataclass(frozen=True)
class Order:
    """A run as it was ordered."""

    output: Output
    config: Config
    repository: options.RepositoryOptions
    engine: options.EngineOptions
    wishes: dict[str, Any]


def run_all(order: Order, repositories: Sequence[str]) -> int:
    """Back up the selected VMs into each repository; the exit status tells the worst."""
    from borg_ovirt.jobs.runs.hooks import Hooks
    from borg_ovirt.jobs.runs.outcome import exit_status

    names = list(repositories) or repositories_of(order.config)
    access = connect.engine_access(order.config, order.engine)
    if order.wishes["dry_run"]:
        return _preview(order, access, names)
    run_id = order.wishes["part_of"] or uuid.uuid4().hex[:12]
    facts = {"run": run_id, "engine_host": access.host}
    hooks = Hooks(order.config.hooks, facts, order.output.tell if order.output.verbose else _silence)
    with order.output.progress() as progress:
        if order.wishes["part_of"]:
            results = [_run_here(order, access, names[0], progress, hooks)]
        else:
            results = _hooked(
                hooks, names, progress, lambda: _run_each(order, access, names, progress, hooks)
            )
    if order.output.json:
        order.output.result(results[0] if order.wishes["part_of"] else _as_json(results))
    else:
        _summary(order.output, results)
    return exit_status(results)


def _silence(text: str) -> None:
    return


def repositories_of(config: Config) -> list[str]:
    """Every repository of the configuration, or BORG_REPO."""
    if config.repositories:
        return list(config.repositories)
    if os.environ.get("BORG_REPO"):
        return [default_repository().repo]
    raise UsageError(
        "No repository is given.", "Name one, set BORG_REPO, or write `repositories` in the config."
    )


def _hooked(
    hooks: Hooks, names: Sequence[str], progress: Progress, body: Callable[[], list[RunResult]]
) -> list[RunResult]:
    """The run between its hooks; the one after it hears of every end but a signal's."""
    from borg_ovirt.jobs.runs.outcome import exit_status

    started = datetime.now(timezone.utc)
    warnings = hooks.call("before-run", {"started": started, "repositories": list(names)})
    facts: dict[str, Any] = {"started": started, "repositories": list(names)}
    try:
        results = body()
    except Exception as error:
        status = getattr(error, "exit_code", EXIT_ERROR)
        facts.update(status="failed", exit_status=status, error=str(error), vms=[])
        facts["ended"] = datetime.now(timezone.utc)
        for warning in hooks.call("after-run", facts):
            progress.warn(warning)
        raise
    results[0].warnings += warnings
    vms = [{"repository": r.repository, **vm.model_dump(mode="json")} for r in results for vm in r.vms]
    facts.update(
        status=max((r.status for r in results), key=("ok", "not started", "warning", "failed").index),
        exit_status=exit_status(results),
        ended=datetime.now(timezone.utc),
        vms=vms,
        **{f"vms_{word}": sum(vm["status"] == word for vm in vms) for word in ("ok", "warning", "failed")},
        error="; ".join(r.error for r in results if r.error) or None,
    )
    for warning in hooks.call("after-run", facts):
        progress.warn(warning)
        results[0].warnings.append(warning)
    return results


def _run_each(
    order: Order, access: EngineAccess, names: Sequence[str], progress: Progress, hooks: Hooks
) -> list[RunResult]:
    if len(names) == 1:
        return [_run_here(order, access, names[0], progress, hooks)]
    from borg_ovirt.cli.again import children
    from borg_ovirt.jobs.runs.outcome import RunResult
    from borg_ovirt.jobs.runs.several import run_children
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal
    from borg_ovirt.ovirt.tracked.journal import state_dir

    with Engine(access) as engine:
        heal(engine, state_dir(), progress.step)
    run_id = uuid.uuid4().hex[:12]
    started = datetime.now(timezone.utc)
    results = []
    ordered = children(order.config, names, access.password, run_id)
    for ended in run_children(ordered, progress):
        try:
            result = RunResult.model_validate(ended.result)
        except ValidationError:
            why = "; ".join(ended.errors) or f"the process ended with status {ended.status}"
            result = RunResult(
                run=run_id, repository=ended.name, engine=access.host, started=started, error=why
            )
        results.append(result)
    return results


def _run_here(order: Order, access: EngineAccess, name: str, progress: Progress, hooks: Hooks) -> RunResult:
    from borg_ovirt.jobs.runs.run import RunPlan, run, window_end
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    settings = connect.repository_of(
        order.config, Location(name), order.repository, order.wishes["compression"]
    )
    taken = limits(order.config.limits, order.wishes)
    state = state_dir()

    def how(member: Member) -> Any:
        rules = member.settings
        return create_options(rules.policy, rules.exclude_disks, order.wishes, settings.chunk_size)

    with Engine(access) as engine, Journal(state, engine.instance_id, engine.run_id) as journal:
        if not order.wishes["part_of"]:
            heal(engine, state, progress.step)
        plan = RunPlan(
            members=_members(order, engine),
            options=how,
            state=state,
            limits=taken,
            until=window_end(taken.until, datetime.now(timezone.utc)),
            rate=taken.rate_limit / order.wishes["shares"] if taken.rate_limit else None,
        )
        return run(connect.opener(settings), engine, plan, journal, progress, hooks)


def _members(order: Order, engine: Any) -> list[Member]:
    from borg_ovirt.jobs.selection import Narrowing, choose, fleet, parse_shard

    shard = order.wishes["shard"]
    narrowing = Narrowing(
        order.wishes["vm"], order.wishes["tag"], parsed(parse_shard, shard, "--shard") if shard else None
    )
    return choose(fleet(engine, order.config), narrowing)


def _preview(order: Order, access: EngineAccess, names: Sequence[str]) -> int:
    """Which VMs a run would take, in which order."""
    from borg_ovirt.jobs.selection import last_good, neediest_first
    from borg_ovirt.ovirt.session.engine import Engine

    with Engine(access) as engine:
        members = _members(order, engine)
    rows = []
    for name in names:
        settings = connect.repository_of(order.config, Location(name), order.repository)
        with connect.repository(settings, write=False) as opened:
            good = last_good(opened.archives())
        for member in neediest_first(members, good):
            last = good[member.id].name if member.id in good else None
            rows.append({"repository": name, "vm": member.name, "vm_id": member.id, "last": last})
    if order.output.json:
        order.output.result(rows)
    else:
        columns = ["REPOSITORY", "VM", "LAST GOOD ARCHIVE"]
        order.output.table(columns, [[r["repository"], r["vm"], r["last"] or "none"] for r in rows])  # type: ignore[list-item]
    return 0


def _as_json(results: Sequence[RunResult]) -> dict[str, Any]:
    from borg_ovirt.jobs.runs.outcome import exit_status

    runs = [{"status": r.status, **r.model_dump(mode="json")} for r in results]
    return {"exit_status": exit_status(results), "runs": runs}


def _summary(output: Output, results: Sequence[RunResult]) -> None:
    for result in results:
        output.lines(f"{result.repository}:")
        output.table(
            ["VM", "STATUS", "ARCHIVE", "KIND", "READ", "NEW", "TOOK", "NOTES"],
            [
                [
                    vm.vm,
                    vm.status,
                    vm.archive or "",
                    vm.kind or "",
                    format_size(vm.bytes_read) if vm.archive else "",
                    format_size(vm.bytes_new) if vm.archive else "",
                    format_duration(vm.seconds) if vm.seconds else "",
                    vm.error or "; ".join(vm.warnings) or vm.reason or "",
                ]
                for vm in result.vms
            ],
        )
        for text in [result.error, *result.warnings]:
            if text:
                output.lines(f"{result.repository}: {text}")
        words = ("ok", "warning", "failed", "not started")
        counted = ", ".join(f"{result.count(w)} {w}" for w in words if result.count(w))  # type: ignore[arg-type]
        output.lines(f"{len(result.vms)} VMs: {counted or 'nothing to do'}.")
