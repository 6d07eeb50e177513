"""`borg-ovirt estimate`: what the next backup would read."""

from __future__ import annotations

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.units import format_size


@click.command("estimate")
@location.one("REPO::VM")
@click.option(
    "--mode", type=click.Choice(["image", "chain"]), default="image", show_default=True, help="As for create."
)
@click.option("--full", is_flag=True, help="Of a full backup.")
@click.option("--backup-api", type=click.Choice(["auto", "live"]), default="auto", help="As for create.")
@options.reading
@options.engine
@options.common()
def command(
    output: Output,
    archive: location.Location,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    mode: str,
    full: bool,
    backup_api: str,
) -> int:
    """Tell how many bytes the next backup of VM would read, from the engine's extents alone.

    A backup is started and ended in the engine, nothing is read and nothing is stored. The sample of
    unchanged blocks that an incremental backup reads again comes on top.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.backup.create import CreateOptions
    from borg_ovirt.jobs.backup.estimate import estimate
    from borg_ovirt.jobs.backup.stores import SingleStore
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    access = connect.engine_access(config, engine)
    todo = CreateOptions(mode=mode, full=full, backup_api=backup_api, cell=settings.chunk_size)
    with (
        output.progress() as progress,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
        connect.repository(settings, write=True) as opened,
    ):
        found = estimate(SingleStore(opened), ovirt, archive.name or "", todo, journal, progress)
    if output.json:
        output.result({**vars(found), "to_read": found.to_read})
        return 0
    since = f"full ({found.reason})" if found.reason else f"incremental since {found.base}"
    output.lines(f"{found.vm_name}: {since}: {format_size(found.to_read)} to read")
    output.table(
        ["DISK", "SIZE", "KIND", "TO READ", "ZERO", "REUSED"],
        [
            [
                disk.alias,
                format_size(disk.size),
                disk.kind,
                format_size(disk.to_read),
                format_size(disk.zero),
                format_size(disk.reused),
            ]
            for disk in found.disks
        ],
    )
    for disk in found.disks:
        if disk.reason and disk.reason != found.reason:
            output.lines(f"disk {disk.alias} is read in full: {disk.reason}")
    return 0
