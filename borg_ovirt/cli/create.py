"""`borg-ovirt create`: back up one VM, or all that the configuration selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING
from borg_ovirt.units import format_duration, format_size

if TYPE_CHECKING:
    from borg_ovirt.jobs.backup.create import CreateResult


@click.command("create")
@click.argument("where", type=location.anything, nargs=-1, metavar="[REPO::VM ... | REPO ...]")
@click.option("--vm", multiple=True, metavar="VM", help="Of the selected VMs only these: name, glob or id.")
@click.option("--tag", multiple=True, metavar="TAG", help="Of the selected VMs only those with this tag.")
@click.option("--shard", metavar="I/N", help="Part I of N of the VMs, by their ids.")
@click.option("--until", metavar="HH:MM", help="Start no VM after this time of day.")
@click.option("--rate-limit", metavar="SIZE", help="Bytes per second that all disks together read.")
@click.option("--min-free", metavar="ROOM", help="Room that storage domains must keep: 10%, 20GiB, or 0.")
@click.option(
    "--mode",
    type=click.Choice(["image", "chain"]),
    help="image: the disks as they are. chain: with all their snapshots, layer by layer.",
)
@click.option("--full", is_flag=True, help="Read everything, whatever changed.")
@click.option(
    "--freeze",
    type=click.Choice(["auto", "require", "never"]),
    help="File systems in the guest: freeze them if the agent can (auto), or refuse, or never.",
)
@click.option(
    "--backup-api",
    type=click.Choice(["auto", "live"]),
    help="live: avoid the hybrid backup that works through a snapshot.",
)
@click.option(
    "--no-snapshot", is_flag=True, help="Chain mode: no temporary snapshot; only what is frozen, or rests."
)
@click.option("--no-wait", is_flag=True, help="Chain mode: leave the merge of that snapshot to the engine.")
@click.option("--sample", metavar="SHARE", help="Unchanged blocks to read all the same: 0.1%, 5%, 0 or all.")
@click.option("--readers", type=click.IntRange(1, 8), help="Connections that read one disk at a time.")
@click.option(
    "--exclude-disk", multiple=True, metavar="DISK", help="Leave out a disk: id, alias, or glob of aliases."
)
@click.option("--strict", is_flag=True, help="Refuse a VM with disks that cannot be backed up; warn of less.")
@click.option("--chunk-size", metavar="SIZE", help="Of a VM's first archive; later ones keep it.")
@click.option("--compression", "-C", metavar="SPEC", help="As for borg: none, lz4, zstd,3 ...")
@click.option(
    "--repo-stall",
    default="5m",
    show_default=True,
    metavar="TIME",
    help="Several REPO::VM: go on without a repository that keeps the others waiting so long.",
)
@click.option("--part-of", hidden=True, help="The run that this process is a part of.")
@click.option("--shares", type=click.IntRange(1), default=1, hidden=True, help="Processes of the run.")
@options.repository
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    where: tuple[location.Location, ...],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    **wishes: Any,
) -> int:
    """Back up VMs: all disks of each at one instant, in one complete archive.

    REPO::VM (a name or an id) is that VM; with several repositories (A::VM B::VM) it is read once and stored
    in each, and a repository that fails does not spoil the others.

    Without a VM it is every VM that the configuration selects, into the repositories named, or into all of
    the configuration, several at a time. The VM that is longest without a good archive goes first, and none
    that fails stops the others.

    After the first time only what changed is read. Nothing is committed unless every disk is complete.
    Exit status of a run: 0 all well, 1 some warnings, 2 some failed.
    """
    from borg_ovirt.cli import connect, fleet

    config = connect.configuration(output)
    names = {place.name for place in where}
    if len(names) == 1 and None not in names and not wishes["dry_run"]:
        return _one(output, where, repository, engine, wishes)
    if names - {None}:
        raise click.UsageError(
            "Give REPO::VM, with several repositories the same VM, or repositories without a VM. "
            "--dry-run is for runs."
        )
    ordered = fleet.Order(output, config, repository, engine, wishes)
    return fleet.run_all(ordered, [place.repo for place in where])


def _one(
    output: Output,
    where: Sequence[location.Location],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    wishes: dict[str, Any],
) -> int:
    from borg_ovirt.cli import connect
    from borg_ovirt.cli.overrides import create_options, limits, repo_stall
    from borg_ovirt.jobs.runs.audit import audited
    from borg_ovirt.jobs.runs.limited import Bounds, back_up_limited
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    config = connect.configuration(output)
    settings = [connect.repository_of(config, place, repository, wishes["compression"]) for place in where]
    todo = create_options(config.policy, config.vms.exclude_disks, wishes, settings[0].chunk_size)
    taken = limits(config.limits, wishes)
    bounds = Bounds(taken, state_dir(), taken.rate_limit)
    access = connect.engine_access(config, engine)
    with (
        output.progress() as progress,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
    ):
        heal(ovirt, state_dir(), progress.step)
        with connect.store(settings, repo_stall(wishes)) as opened:
            result = audited(
                ovirt,
                where[0].name or "",
                progress.step,
                lambda vm_id: back_up_limited(opened, ovirt, vm_id, todo, bounds, journal, progress),
            )
        late = result.settle()
        for warning in late:
            progress.warn(warning)
    warnings = [*result.warnings, *late]
    if output.json:
        output.result({**_facts(result), "warnings": warnings})
    else:
        _summary(output, result)
    return EXIT_WARNING if warnings else EXIT_OK


def _facts(result: CreateResult) -> dict[str, Any]:
    return {name: value for name, value in vars(result).items() if name != "settle"}


def _summary(output: Output, result: CreateResult) -> None:
    seconds = (result.ended - result.started).total_seconds()
    reason = f" ({result.reason})" if result.reason else ""
    output.lines(
        f"{result.archive}: {result.kind}{reason}, {result.method}, {result.consistency}, "
        f"{format_duration(seconds)}"
    )
    output.table(
        ["DISK", "SIZE", "KIND", "READ", "NEW"],
        [
            [
                outcome.facts.alias or outcome.facts.id,
                format_size(outcome.size),
                outcome.kind,
                format_size(outcome.stats.bytes_read),
                format_size(outcome.stats.bytes_new),
            ]
            for outcome in result.disks
        ],
    )
    if len(result.stored) > 1:
        output.table(
            ["REPOSITORY", "ARCHIVE", "BASE", "NEW"],
            [
                [
                    stored.repository,
                    stored.archive or "none",
                    stored.base or "",
                    format_size(stored.bytes_new or 0) if stored.archive else "",
                ]
                for stored in result.stored
            ],
        )
    for skipped in result.skipped:
        output.lines(f"skipped: disk {skipped.alias or skipped.id} ({skipped.reason})")
