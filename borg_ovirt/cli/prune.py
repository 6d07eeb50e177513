"""`borg-ovirt prune`: remove archives that no rule keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output, local_time
from borg_ovirt.cli.telling import told
from borg_ovirt.units import format_size

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config, Retention
    from borg_ovirt.jobs.archives.prune import Known, PruneResult
    from borg_ovirt.jobs.notify import Story


@dataclass(frozen=True)
class KeepOptions:
    """The rules of the command line; None where it gives none."""

    keep_within: str | None = None
    keep_last: int | None = None
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    gone: str | None = None

    def retention(self) -> Retention | None:
        """The rules as the configuration would have them; None when there are none."""
        from borg_ovirt.cli.overrides import parsed
        from borg_ovirt.config.schema import Retention

        given = {name.removeprefix("keep_"): value for name, value in vars(self).items() if value is not None}
        if set(given) == {"gone"}:
            raise click.UsageError("--gone alone says nothing about the other VMs: add --keep-... options.")
        if "gone" in given:
            given["gone_vms"] = given.pop("gone")
        return parsed(lambda _: Retention.model_validate(given), "", "--keep-...") if given else None


def _count(period: str, text: str) -> Callable[[Any], Any]:
    return click.option(f"--keep-{period}", type=click.IntRange(0), metavar="N", help=text)


_keep = options.bundle(
    "keep",
    KeepOptions,
    click.option("--keep-within", metavar="SPAN", help="Everything younger: 2d, 4w."),
    _count("last", "The newest N."),
    _count("hourly", "The last of each of N hours."),
    _count("daily", "The last of each of N days."),
    _count("weekly", "The last of each of N weeks."),
    _count("monthly", "The last of each of N months."),
    _count("yearly", "The last of each of N years."),
    click.option(
        "--gone", metavar="RULE", help="VMs the engine no longer has: keep, prune, or a span as 180d."
    ),
)


@click.command("prune")
@click.argument("where", type=location.whole, nargs=-1, metavar="[REPO | REPO::VM] ...")
@_keep
@click.option("--compact/--no-compact", default=None, help="Free the space at once.")
@click.option("--no-engine", is_flag=True, help="Ask no engine: no VM counts as gone.")
@options.repository
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    where: tuple[location.Location, ...],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    keep: KeepOptions,
    compact: bool | None,
    no_engine: bool,
    dry_run: bool,
) -> int:
    """Remove archives that no rule keeps: the --keep-... options, else the configuration's.

    Every VM of every engine is judged by itself, by its id. Held archives, archives of others, and the
    newest archive of each VM that can be restored always stay. --dry-run shows the rule that keeps each.
    Stock `borg prune` knows none of this.
    """
    from borg_ovirt.cli import connect

    config = connect.configuration(output)
    rules = keep.retention()
    with told(output, config, "prune", active=not (where or dry_run)) as story:
        return _prune(output, config, where, repository, engine, rules, compact, no_engine, dry_run, story)


def _prune(
    output: Output,
    config: Config,
    where: tuple[location.Location, ...],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    rules: Retention | None,
    compact: bool | None,
    no_engine: bool,
    dry_run: bool,
    story: Story,
) -> int:
    """Judge and remove, repository after repository."""
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.prune import prune

    known = None if no_engine else _ask_engine(output, config, engine)
    results = {}
    for place in where or [location.Location(name) for name in connect.repositories_of(config)]:
        settings = connect.repository_of(config, place, repository)
        with connect.repository(settings, write=not dry_run) as opened:
            results[place.repo] = prune(
                opened,
                config,
                known,
                datetime.now(timezone.utc),
                rules=rules,
                vm=place.name,
                dry_run=dry_run,
                compact=compact,
            )
    warnings = [warning for result in results.values() for warning in result.warnings]
    for warning in warnings:
        output.warn(warning)
    story.repositories = list(results)
    removed, kept = (sum(getattr(r, name) for r in results.values()) for name in ("removed", "kept"))
    story.summary = f"{removed} archives removed, {kept} kept."
    story.warn(*warnings)
    if output.json:
        output.result({"dry_run": dry_run, "repositories": results})
    else:
        for name, result in results.items():
            _show(output, name, result, dry_run)
    return 1 if warnings else 0


def _ask_engine(output: Output, config: Config, options_: options.EngineOptions) -> Known | None:
    """What the engine says; None when there is none, or none that answers."""
    from borg_ovirt.cli import connect
    from borg_ovirt.errors import EngineUnreachable
    from borg_ovirt.jobs.archives.prune import Known
    from borg_ovirt.jobs.selection import fleet
    from borg_ovirt.ovirt.session.engine import Engine

    access = connect.engine_access_if_any(config, options_)
    if access is None:
        return None
    try:
        with Engine(access) as engine:
            members = {member.id: member for member in fleet(engine, config)}
            return Known(engine.host, members, engine.instance_id)
    except EngineUnreachable as error:
        output.warn(f"{error.message} Going on without the engine: no VM counts as gone.")
        return None


def _show(output: Output, name: str, result: PruneResult, dry_run: bool) -> None:
    output.lines(f"{name}:")
    engines = len({line.engine for line in result.lines}) > 1
    output.table(
        ["ARCHIVE", "VM", *(["ENGINE"] if engines else []), "TIME", "MODE", "", "RULE"],
        [
            [
                line.archive,
                line.vm,
                *([line.engine] if engines else []),
                local_time(line.time),
                line.mode,
                _word(line.keep, dry_run),
                line.rule,
            ]
            for line in result.lines
        ],
    )
    done = "would be removed" if dry_run else "removed"
    output.lines(f"{result.removed} archives {done}, {result.kept} kept.{_space(result)}")


def _space(result: PruneResult) -> str:
    if not result.compacted:
        return ""
    if result.freed is None:
        return " The server was asked to free the space; an append-only repository keeps it."
    if result.freed == 0:
        return " No space was freed: the repository is append-only, or others need most of each segment."
    return f" {format_size(result.freed)} were freed."


def _word(keep: bool, dry_run: bool) -> str:
    return "keep" if keep else "would remove" if dry_run else "removed"
