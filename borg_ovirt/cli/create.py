"""`borg-ovirt create`: back up VMs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli import options, target
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING
from borg_ovirt.units import format_duration, format_size

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config
    from borg_ovirt.jobs.create import CreateOptions, CreateResult


@click.command("create")
@click.argument("vm", type=target.named, metavar="REPO::VM")
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
@click.option("--sample", metavar="SHARE", help="Unchanged blocks to read all the same: 0.1%, 5%, 0 or all.")
@click.option("--readers", type=click.IntRange(1, 8), help="Connections that read one disk at a time.")
@click.option(
    "--exclude-disk", multiple=True, metavar="DISK", help="Leave out a disk: id, alias, or glob of aliases."
)
@click.option("--strict", is_flag=True, help="Refuse a VM with disks that cannot be backed up; warn of less.")
@click.option("--chunk-size", metavar="SIZE", help="Of a VM's first archive; later ones keep it.")
@click.option("--compression", "-C", metavar="SPEC", help="As for borg: none, lz4, zstd,3 ...")
@options.repository
@options.engine
@options.common()
def command(
    output: Output,
    vm: target.Target,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    compression: str | None,
    **wishes: Any,
) -> int:
    """Back up VM (a name or an id) into REPO: all its disks, at one instant, in one complete archive.

    After the first time only what changed is read. Nothing is committed unless every disk is complete.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.create import create
    from borg_ovirt.ovirt.engine import Engine
    from borg_ovirt.ovirt.journal import Journal, state_dir

    config = connect.configuration(output)
    settings = connect.repository_of(config, vm, repository, compression)
    todo = _options(config, wishes, settings.chunk_size)
    access = connect.engine_access(config, engine)
    with (
        output.progress() as progress,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id) as journal,
    ):
        with connect.repository(settings, write=True) as opened:
            result = create(opened, ovirt, vm.name or "", todo, journal, progress)
        late = result.settle()
        for warning in late:
            progress.warn(warning)
    warnings = [*result.warnings, *late]
    if output.json:
        output.result({**_facts(result), "warnings": warnings})
    else:
        _summary(output, result)
    return EXIT_WARNING if warnings else EXIT_OK


def _options(config: Config, wishes: dict[str, Any], chunk_size: int | None) -> CreateOptions:
    """The command line over the configuration's policy."""
    from borg_ovirt.blocks import CELL
    from borg_ovirt.jobs.create import CreateOptions
    from borg_ovirt.jobs.disks import DiskRules
    from borg_ovirt.pipe.sample import Sampling
    from borg_ovirt.units import parse_size

    policy, disks = config.policy, config.vms.exclude_disks
    strict = wishes["strict"] or policy.strict
    refuse = wishes["strict"] or policy.skipped_disks == "refuse"
    try:
        cell = parse_size(wishes["chunk_size"]) if wishes["chunk_size"] else chunk_size or CELL
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--chunk-size") from None
    return CreateOptions(
        freeze=wishes["freeze"] or policy.freeze,
        backup_api=wishes["backup_api"] or policy.backup_api,
        full=wishes["full"],
        full_every=policy.full_every,
        sampling=Sampling.parse(wishes["sample"]) if wishes["sample"] else Sampling(policy.sample),
        strict=strict,
        rules=DiskRules(
            exclude=(*disks.aliases, *wishes["exclude_disk"]),
            larger_than=disks.larger_than,
            unsupported="refuse" if refuse else "skip",
        ),
        readers=wishes["readers"] or policy.readers,
        cell=cell,
    )


def _facts(result: CreateResult) -> dict[str, Any]:
    return {name: value for name, value in vars(result).items() if name != "settle"}


def _summary(output: Output, result: CreateResult) -> None:
    seconds = (result.ended - result.started).total_seconds()
    reason = f" ({result.reason})" if result.reason else ""
    output.lines(
        f"{result.archive}: {result.kind}{reason}, {result.way}, {result.consistency}, "
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
    for skipped in result.skipped:
        output.lines(f"skipped: disk {skipped.alias or skipped.id} ({skipped.reason})")
