"""`borg-ovirt prune`: remove archives that no rule keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.audit import Deed, tell_engine
from borg_ovirt.cli.keep import KeepOptions, keep_rules
from borg_ovirt.cli.output import Output, local_time
from borg_ovirt.cli.telling import told
from borg_ovirt.units import format_size

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config
    from borg_ovirt.jobs.archives.prune import Known, PruneResult
    from borg_ovirt.jobs.notify import Story


@click.command("prune")
@click.argument("where", type=location.whole, nargs=-1, metavar="[REPO | REPO::VM] ...")
@keep_rules
@click.option("--gone", metavar="RULE", help="VMs the engine no longer has: keep, prune, or a span as 180d.")
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
    gone: str | None,
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
    from borg_ovirt.jobs.archives.prune import prune

    config = connect.configuration(output)
    rules = keep.retention(gone)
    results: dict[str, PruneResult] = {}
    with told(output, config, "prune", active=not (where or dry_run)) as story:
        known = None if no_engine else _ask_engine(output, config, engine)
        try:
            for repo, names in _by_repository(where or _every(config)).items():
                settings = connect.repository_of(config, location.Location(repo), repository)
                with connect.repository(settings, write=not dry_run) as opened:
                    results[repo] = prune(
                        opened,
                        config,
                        known,
                        datetime.now(timezone.utc),
                        rules=rules,
                        vms=names,
                        dry_run=dry_run,
                        compact=compact,
                    )
        finally:  # what was removed before a repository failed is told all the same
            if results:
                _tell(output, results, dry_run)
                _write(results, story)
        if not (dry_run or no_engine):
            tell_engine(output, config, engine, _deeds(results))
    return 1 if any(result.warnings for result in results.values()) else 0


def _deeds(results: Mapping[str, PruneResult]) -> Iterator[Deed]:
    """For the engine's log: a line for each VM that lost archives."""
    for name, result in results.items():
        gone = [line for line in result.lines if not line.keep]
        for vm_id, engine in dict.fromkeys((line.vm_id, line.engine) for line in gone):
            mine = [line for line in gone if (line.vm_id, line.engine) == (vm_id, engine)]
            archives = ", ".join(line.archive for line in mine)
            yield Deed(f"Archives of VM {mine[0].vm} pruned from {name}: {archives}.", vm_id, engine)


def _write(results: Mapping[str, PruneResult], story: Story) -> None:
    """The run as it is told to people."""
    story.repositories = list(results)
    removed, kept = (sum(getattr(r, name) for r in results.values()) for name in ("removed", "kept"))
    story.summary = f"{removed} archives removed, {kept} kept."
    story.warn(*(warning for result in results.values() for warning in result.warnings))


def _every(config: Config) -> list[location.Location]:
    from borg_ovirt.cli import connect

    return [location.Location(name) for name in connect.repositories_of(config)]


def _by_repository(where: Sequence[location.Location]) -> dict[str, tuple[str, ...]]:
    """Repository -> the VMs meant; none where all are."""
    names = {place.repo: [p.name for p in where if p.repo == place.repo] for place in where}
    return {repo: () if None in found else tuple(filter(None, found)) for repo, found in names.items()}


def _tell(output: Output, results: Mapping[str, PruneResult], dry_run: bool) -> None:
    for result in results.values():
        for warning in result.warnings:
            output.warn(warning)
    if output.json:
        output.result({"dry_run": dry_run, "repositories": results})
        return
    for name, result in results.items():
        _show(output, name, result, dry_run)


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
