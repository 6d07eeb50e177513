"""`borg-ovirt diff`: what changed between two archives."""

from __future__ import annotations

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.units import format_size


@click.command("diff")
@click.argument("old", type=location.named, metavar="REPO::OLD")
@click.argument("new", metavar="NEW", shell_complete=location.inside("old"))
@click.option("--ranges", is_flag=True, help="List every range that differs: offset and length in bytes.")
@options.reading
@options.common()
def command(
    output: Output, repository: options.RepositoryOptions, old: location.Location, new: str, ranges: bool
) -> int:
    """Compare two archives of a VM, disk by disk, from chunk ids alone: no data is read.

    Ranges are as fine as the chunks. OLD and NEW are archives, or VMs, which stand for their latest ones.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.diff import diff

    config = connect.configuration(output)
    settings = connect.repository_of(config, old, repository)
    with connect.repository(settings, write=False) as opened:
        found = diff(opened, old.name or "", new)
    if output.json:
        output.result(found)
        return 0
    rows = []
    for disk in found.disks:
        changes = disk.changes
        parts = [changes.written, changes.zeroed, changes.same] if changes else []
        words = [format_size(part) for part in parts] or ["-", "-", "-"]
        count = str(len(changes.ranges)) if changes else "-"
        rows.append([disk.alias, format_size(disk.size), disk.state, *words, count])
    output.table(["DISK", "SIZE", "STATE", "WRITTEN", "ZEROED", "SAME", "RANGES"], rows)
    if ranges:
        for disk in found.disks:
            for offset, length in disk.changes.ranges if disk.changes else ():
                output.lines(f"{disk.alias} {offset} {length}")
    return 0
