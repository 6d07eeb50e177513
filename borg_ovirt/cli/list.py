"""`borg-ovirt list`: the archives of a repository, or of one VM."""

from __future__ import annotations

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output, local_time


@click.command("list")
@click.argument("repo", type=location.anything, required=False, metavar="[REPO]")
@click.argument("vm", required=False)
@options.repository
@options.common()
def command(
    output: Output, repository: options.RepositoryOptions, repo: location.Location | None, vm: str | None
) -> int:
    """List the archives of ours in REPO, oldest first; of VM (a name or an id) if given.

    Archives that other programs made are left out. REPO::VM is the same as REPO VM.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.list import list_archives

    where = repo or location.default_repository()
    config = connect.configuration(output)
    with connect.repository(connect.repository_of(config, where, repository), write=False) as opened:
        lines = list_archives(opened, vm or where.name)
    if output.json:
        output.result({"repository": where.repo, "archives": lines})
        return 0
    output.table(
        ["ARCHIVE", "VM", "TIME", "MODE", "KIND", "NOTES"],
        [
            [line.archive, line.vm, local_time(line.time), line.mode, line.kind, _notes(line)]
            for line in lines
        ],
    )
    return 0


def _notes(line: object) -> str:
    notes = [word for word in ("held", "marked") if getattr(line, word)]
    reason = getattr(line, "reason", None)
    return "; ".join([*notes, reason] if reason else notes)
