"""`borg-ovirt release`: take the mark of hold away."""

from __future__ import annotations

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.hold import mark
from borg_ovirt.cli.output import Output


@click.command("release")
@click.argument("archive", type=location.named, metavar="REPO::NAME")
@click.argument("more", nargs=-1, metavar="[NAME ...]", shell_complete=location.inside("archive"))
@options.repository
@options.common(dry_run=True)
def command(
    output: Output,
    repository: options.RepositoryOptions,
    archive: location.Location,
    more: tuple[str, ...],
    dry_run: bool,
) -> int:
    """Take the mark of `borg-ovirt hold` away: the rules of prune hold again.

    NAME is an archive, or a VM (name or id), which stands for its latest archive.
    """
    return mark(output, repository, archive, more, None, dry_run=dry_run)
