"""`borg-ovirt list`: the archives of a repository, or of one VM."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output, local_time, plain
from borg_ovirt.units import format_size, parse_duration

if TYPE_CHECKING:
    from borg_ovirt.jobs.archives.list import ArchiveLine, Check, Sort
    from borg_ovirt.jobs.archives.sizes import Sizes
    from borg_ovirt.repository.proof import ProofRecord


@click.command("list")
@click.argument("repo", type=location.anything, required=False, metavar="[REPO]")
@click.argument("vm", required=False, shell_complete=location.inside("repo"))
@click.option(
    "--check",
    type=click.Choice(["newest", "all", "none"]),
    help="Look for damage: back to the newest whole archive of each VM (default), in all (default for one "
    "VM), or not at all.",
)
@click.option("--last", type=click.IntRange(1), metavar="N", help="Of each VM the N newest.")
@click.option(
    "--since", metavar="WHEN", help="Made since then: 7d, 2026-03-01, '2026-03-01 18:00' (local time)."
)
@click.option(
    "--sort",
    type=click.Choice(["time", "name", "vm", "size", "added"]),
    help="What the order goes by. [default: time]",
)
@click.option(
    "--sizes",
    is_flag=True,
    help="For each VM: what only its archives need, and what they share. Reads the lists of all chunks.",
)
@options.reading
@options.common()
def command(
    output: Output,
    repository: options.RepositoryOptions,
    repo: location.Location | None,
    vm: str | None,
    check: Check | None,
    last: int | None,
    since: str | None,
    sort: Sort | None,
    sizes: bool,
) -> int:
    """List the archives of ours in REPO, oldest first; of VM if given: a name, an id, a glob as 'web*' of
    VMs or archives, or one archive.

    Archives that other programs made are left out. REPO::VM is the same as REPO VM. NOTES tell of archives
    that cannot be restored whole, as far as the list of their chunks tells (--check). PROOF is the last that
    the archive passed (`borg-ovirt verify`). SIZE is that of the disks, ADDED what was stored for it: the
    repository grew by that, compressed and deduplicated. Where a terminal is too narrow, notes stand below,
    and columns that say the least are left out.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.find import is_glob
    from borg_ovirt.jobs.archives.list import Choice, list_archives
    from borg_ovirt.jobs.archives.sizes import sizes_of

    if sizes and (last or since or sort or check):
        raise click.UsageError(
            "--sizes tells of all archives of a VM: --last, --since, --sort and --check go without it."
        )
    where = repo or location.default_repository()
    config = connect.configuration(output)
    with connect.repository(connect.repository_of(config, where, repository), write=False) as opened:
        vm = vm or where.name
        choice = Choice(vm, last, _since(since) if since else None, sort or "time")
        if sizes:
            return _sizes(output, where.repo, sizes_of(opened, vm))
        lines = list_archives(opened, choice, check or ("all" if vm and not is_glob(vm) else "newest"))
    if output.json:
        output.result({"repository": where.repo, "archives": lines})
        return 0
    _show(output, lines)
    return 0


def _show(output: Output, lines: list[ArchiveLine]) -> None:
    engines = len({line.engine for line in lines}) > 1
    output.table(
        [
            "ARCHIVE",
            "VM",
            *(["ENGINE"] if engines else []),
            "TIME",
            "MODE",
            "KIND",
            "SIZE",
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
                format_size(line.size),
                format_size(line.figures.added) if line.figures else "-",
                in_short(line.proof),
                _notes(line),
            ]
            for line in lines
        ],
        spare=["TIME", "MODE", "VM", "PROOF", "KIND"],
    )


def _since(text: str) -> datetime:
    """That moment, local time unless it says another; or so long before now."""
    try:
        return datetime.fromisoformat(text).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        from borg_ovirt.cli.overrides import parsed

        return datetime.now(timezone.utc) - parsed(parse_duration, text, "--since")


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
