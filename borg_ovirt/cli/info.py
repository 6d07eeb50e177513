"""`borg-ovirt info`: what one archive holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output, local_time
from borg_ovirt.cli.summary import in_words
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING
from borg_ovirt.units import format_duration, format_size

if TYPE_CHECKING:
    from borg_ovirt.jobs.archives.list import ArchiveFacts, ArchiveLine


@click.command("info")
@location.one()
@options.reading
@options.common()
def command(output: Output, repository: options.RepositoryOptions, archive: location.Location) -> int:
    """Show what an archive holds, and how it was made. Exit status 1 when it cannot be restored whole.

    NAME is an archive, or a VM (name or id), which stands for its latest archive.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.list import archive_facts

    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    with connect.repository(settings, write=False) as opened:
        facts = archive_facts(opened, archive.name or "")
    if output.json:
        output.result(facts)
    else:
        _show(output, facts)
    return EXIT_WARNING if facts.line.damage else EXIT_OK


def _proof(line: ArchiveLine) -> str:
    """What `verify` found last, and when."""
    told = []
    for proof, word in ((line.failed_proof, "FAILED "), (line.proof, "")):
        if proof is not None:
            note = f" ({proof.note})" if proof.note else ""
            told.append(f"{word}{proof.level}, {local_time(proof.time)}, by {proof.version}{note}")
    return "; ".join(told) or "none yet"


def _added(line: ArchiveLine) -> str:
    """What the repository grew by."""
    figures = line.figures
    if figures is None:
        return "-"
    return f"{format_size(figures.added)} to the repository, for {format_size(figures.new)} of new blocks"


def _show(output: Output, facts: ArchiveFacts) -> None:
    line, manifest = facts.line, facts.manifest
    run = manifest.run
    marks = [
        word
        for word, holds in ((line.held_so, line.held), ("change tracking found wrong", line.marked))
        if holds
    ]
    if line.damage:
        output.warn(f"{line.archive} cannot be restored whole: {line.damage}.")
    output.lines(
        f"Archive:      {line.archive}{' (' + ', '.join(marks) + ')' if marks else ''}",
        f"VM:           {line.vm} ({line.vm_id})",
        f"Instant:      {local_time(run.instant or run.started)}, {in_words(run.consistency)}"
        + (" (by a clock that was wrong)" if line.time_doubted else ""),
        f"Mode:         {line.mode}, {line.kind}{' (' + line.reason + ')' if line.reason else ''}",
        f"Method:       {run.way}{' (' + run.way_reason + ')' if run.way_reason else ''}",
        f"Engine:       {run.engine}{' ' + run.engine_version if run.engine_version else ''}",
        f"Proof:        {_proof(line)}",
        f"Took:         {format_duration((run.ended - run.started).total_seconds())}",
        f"Size:         {format_size(facts.original_size)} in {len(manifest.disks)} disks",
        f"Added:        {_added(line)}",
        "",
    )
    output.table(
        ["DISK", "ID", "SIZE", "FORMAT", "DOMAIN", "READ", "REUSED", "NEW"],
        [
            [
                disk.alias,
                disk.id,
                format_size(disk.size),
                disk.format,
                disk.storage_domain or "",
                format_size(disk.run.bytes_read) if disk.run else "",
                format_size(disk.run.bytes_reused) if disk.run else "",
                format_size(disk.run.bytes_stored) if disk.run else "",
            ]
            for disk in manifest.disks
        ],
    )
    for skipped in manifest.skipped:
        output.lines(f"Not in the archive: disk {skipped.alias or skipped.id} ({skipped.reason})")
    for snapshot in manifest.snapshots:
        output.lines(f"Snapshot of the VM: {snapshot.description or snapshot.id}")
    if line.heat:
        output.lines(f"Unusual: {line.heat}")
    for warning in manifest.warnings:
        output.lines(f"Warning of the run: {warning}")
