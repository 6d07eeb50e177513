"""`borg-ovirt copy`: archives from one repository into another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.keep import KeepOptions, keep_rules
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING
from borg_ovirt.units import format_size

if TYPE_CHECKING:
    from borg_ovirt.jobs.archives.copy import CopyResult


@click.command("copy")
@click.argument("source", type=location.whole, metavar="FROM[::NAME]")
@click.argument("target", type=location.repository, metavar="TO")
@click.option("--last", type=click.IntRange(1), metavar="N", help="Of each VM the N newest.")
@keep_rules
@click.option("--compression", metavar="SPEC", help="In TO, as `borg create --compression` takes it.")
@options.reading
@options.common(dry_run=True)
def command(
    output: Output,
    source: location.Location,
    target: location.Location,
    last: int | None,
    keep: KeepOptions,
    compression: str | None,
    repository: options.RepositoryOptions,
    dry_run: bool,
) -> int:
    """Copy archives of FROM into TO, which may have another key, encryption and compression.

    NAME is an archive, or a VM, which stands for all its archives; without it all are copied. With --last or
    --keep-... only those that such a rule would keep. Only chunks that TO lacks are moved, every one is
    decrypted and checked by its id; manifest, OVF, comment, holds and proofs come along. No engine is asked.
    What TO has already stays as it is. Each archive is committed by itself: an interrupted copy goes on with
    the next one.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.copy import choose, copy

    rules = keep.retention()
    if last and rules is not None:
        raise click.UsageError("--last and --keep-... exclude each other: --keep-last N counts among rules.")
    config = connect.configuration(output)
    reading = connect.repository_of(config, source, repository)
    writing = connect.repository_of(config, target, repository, compression)
    connect.refuse_twice([reading.location, writing.location])
    with (
        output.progress() as progress,
        connect.repository(reading, write=False) as opened,
        connect.repository(writing, write=not dry_run) as into,
    ):
        wanted = choose(opened, source.name, last, rules)
        result = copy(opened, into, wanted, progress, dry_run=dry_run)
    if output.json:
        output.result({"dry_run": dry_run, **vars(result)})
    else:
        _show(output, result)
    return EXIT_WARNING if result.warnings else EXIT_OK


def _show(output: Output, result: CopyResult) -> None:
    output.table(
        ["ARCHIVE", "VM", "", "SIZE", "READ", "ADDED", "NOTES"],
        [
            [
                line.archive,
                line.vm,
                line.state,
                format_size(line.size),
                format_size(line.read) if line.state == "copied" else "",
                format_size(line.added) if line.state == "copied" else "",
                line.note,
            ]
            for line in result.lines
        ],
    )
    words = {"copied": "copied", "due": "would be copied", "there": "there already", "left": "left"}
    counts = {word: sum(line.state == state for line in result.lines) for state, word in words.items()}
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    output.lines(f"{told or 'nothing to copy'}.")
