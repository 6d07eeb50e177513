"""`borg-ovirt list`: the archives of a repository, or of one VM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output, local_time

if TYPE_CHECKING:
    from borg_ovirt.jobs.archives.list import ArchiveLine, Check
    from borg_ovirt.repository.proof import ProofRecord


@click.command("list")
@click.argument("repo", type=location.anything, required=False, metavar="[REPO]")
@click.argument("vm", required=False)
@click.option(
    "--check",
    type=click.Choice(["newest", "all", "none"]),
    help="Look for damage: back to the newest whole archive of each VM (default), in all (default for one "
    "VM), or not at all.",
)
@options.repository
@options.common()
def command(
    output: Output,
    repository: options.RepositoryOptions,
    repo: location.Location | None,
    vm: str | None,
    check: Check | None,
) -> int:
    """List the archives of ours in REPO, oldest first; of VM (a name or an id, or one archive's) if given.

    Archives that other programs made are left out. REPO::VM is the same as REPO VM. NOTES tell of archives
    that cannot be restored whole, as far as the list of their chunks tells (--check). PROOF is the last that
    the archive passed (`borg-ovirt verify`).
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.list import list_archives

    where = repo or location.default_repository()
    config = connect.configuration(output)
    with connect.repository(connect.repository_of(config, where, repository), write=False) as opened:
        vm = vm or where.name
        lines = list_archives(opened, vm, check or ("all" if vm else "newest"))
    if output.json:
        output.result({"repository": where.repo, "archives": lines})
        return 0
    engines = len({line.engine for line in lines}) > 1
    output.table(
        ["ARCHIVE", "VM", *(["ENGINE"] if engines else []), "TIME", "MODE", "KIND", "PROOF", "NOTES"],
        [
            [
                line.archive,
                line.vm,
                *([line.engine] if engines else []),
                local_time(line.time),
                line.mode,
                line.kind,
                in_short(line.proof),
                _notes(line),
            ]
            for line in lines
        ],
    )
    return 0


def in_short(proof: ProofRecord | None) -> str:
    """The last proof that was passed."""
    return f"{proof.level} {local_time(proof.time)[:10]}" if proof else ""


def _notes(line: ArchiveLine) -> str:
    notes = [
        "DAMAGED: " + line.damage if line.damage else "",
        "held" if line.held else "",
        "marked" if line.marked else "",
        "time doubtful" if line.time_doubted else "",
        line.reason or "",
    ]
    return "; ".join(note for note in notes if note)
