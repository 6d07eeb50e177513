"""`borg-ovirt list`: the archives of a repository, or of one VM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output, local_time, plain
from borg_ovirt.units import format_size

if TYPE_CHECKING:
    from borg_ovirt.jobs.archives.list import ArchiveLine, Check
    from borg_ovirt.jobs.archives.sizes import Sizes
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
@click.option(
    "--sizes",
    is_flag=True,
    help="For each VM: what only its archives need, and what they share. Reads the lists of all chunks.",
)
@options.repository
@options.common()
def command(
    output: Output,
    repository: options.RepositoryOptions,
    repo: location.Location | None,
    vm: str | None,
    check: Check | None,
    sizes: bool,
) -> int:
    """List the archives of ours in REPO, oldest first; of VM (a name or an id, or one archive's) if given.

    Archives that other programs made are left out. REPO::VM is the same as REPO VM. NOTES tell of archives
    that cannot be restored whole, as far as the list of their chunks tells (--check). PROOF is the last that
    the archive passed (`borg-ovirt verify`). ADDED is what the repository grew by, compressed and
    deduplicated.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.list import list_archives
    from borg_ovirt.jobs.archives.sizes import sizes_of

    where = repo or location.default_repository()
    config = connect.configuration(output)
    with connect.repository(connect.repository_of(config, where, repository), write=False) as opened:
        vm = vm or where.name
        if sizes:
            return _sizes(output, where.repo, sizes_of(opened, vm))
        lines = list_archives(opened, vm, check or ("all" if vm else "newest"))
    if output.json:
        output.result({"repository": where.repo, "archives": lines})
        return 0
    engines = len({line.engine for line in lines}) > 1
    output.table(
        [
            "ARCHIVE",
            "VM",
            *(["ENGINE"] if engines else []),
            "TIME",
            "MODE",
            "KIND",
            "ADDED",
            "PROOF",
            "NOTES",
        ],
        [
            [
                line.archive,
                line.vm,
                *([line.engine] if engines else []),
                local_time(line.time),
                line.mode,
                line.kind,
                format_size(line.figures.added) if line.figures else "-",
                in_short(line.proof),
                _notes(line),
            ]
            for line in lines
        ],
    )
    return 0


def _sizes(output: Output, repo: str, sizes: Sizes) -> int:
    if output.json:
        output.result({"repository": repo, **plain(sizes)})
        return 0
    output.table(
        ["VM", "ARCHIVES", "SIZE", "UNIQUE", "SHARED"],
        [
            [
                line.vm,
                str(line.archives),
                format_size(line.size),
                format_size(line.unique),
                format_size(line.shared),
            ]
            for line in sizes.vms
        ],
    )
    output.lines(
        f"{format_size(sizes.original)} in all archives of the repository, stored in "
        f"{format_size(sizes.stored)}."
    )
    return 0


def in_short(proof: ProofRecord | None) -> str:
    """The last proof that was passed."""
    return f"{proof.level} {local_time(proof.time)[:10]}" if proof else ""


def _notes(line: ArchiveLine) -> str:
    notes = [
        "DAMAGED: " + line.damage if line.damage else "",
        line.held_so,
        "marked" if line.marked else "",
        "time doubtful" if line.time_doubted else "",
        line.heat or "",
        line.reason or "",
    ]
    return "; ".join(note for note in notes if note)
