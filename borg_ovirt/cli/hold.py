"""`borg-ovirt hold`: keep archives from every prune of ours."""

from __future__ import annotations

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output


@click.command("hold")
@click.argument("archive", type=location.named, metavar="REPO::NAME")
@click.argument("more", nargs=-1, metavar="[NAME ...]")
@options.repository
@options.common(dry_run=True)
def command(
    output: Output,
    repository: options.RepositoryOptions,
    archive: location.Location,
    more: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Mark archives as held: `borg-ovirt prune` never removes them.

    The mark stands in the archive's comment. Stock `borg prune` and `borg delete` do not know it.

    NAME is an archive, or a VM (name or id), which stands for its latest archive.
    """
    return mark(output, repository, archive, more, held=True, dry_run=dry_run)


def mark(
    output: Output,
    repository: options.RepositoryOptions,
    archive: location.Location,
    more: tuple[str, ...],
    *,
    held: bool,
    dry_run: bool,
) -> int:
    """Set the mark of archives, or take it away, and tell."""
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.hold import hold

    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    with connect.repository(settings, write=not dry_run) as opened:
        result = hold(opened, [archive.name or "", *more], held=held, dry_run=dry_run)
    if output.json:
        output.result(result)
        return 0
    for name in result.archives:
        already = "" if name in result.changed else " (it was already)"
        output.lines(f"{'Held' if held else 'Released'}: {name}{already}")
    return 0
