"""`borg-ovirt files`: single files out of the file systems of an archived disk."""

from __future__ import annotations

import re
from pathlib import Path

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.jobs.restore.options import FilesOptions

# The name ends before the first colon that a slash follows; `::` between brackets is an IPv6 address's.
_WITH_PATH = re.compile(r"((?:\[[^\]/]*\]|.)*?::[^:/]+):(/.*)", re.DOTALL)


def _inside(text: str) -> tuple[location.Location, str | None]:
    """REPO::NAME[:PATH], where PATH begins with a slash."""
    found = _WITH_PATH.fullmatch(text)
    text, path = (found[1], found[2]) if found else (text.removesuffix(":"), None)
    return location.named.convert(text, None, None), path


@click.command("files")
@click.argument("inside", type=_inside, metavar="REPO::NAME[:PATH]")
@options.bundle(
    "asked",
    FilesOptions,
    click.option(
        "--disk", "disks", multiple=True, metavar="DISK", help="Only this disk (alias or id); several times."
    ),
    click.option("--snapshot", metavar="NAME", help="Of an archive of chains the state as of this snapshot."),
    click.option(
        "--mount",
        metavar="DEVICE",
        help="This file system (/dev/sda1, /dev/vg/lv) instead of the guest's whole tree.",
    ),
    click.option(
        "--to",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        help="Copy the file or directory into this one.",
    ),
)
@options.reading
@options.common()
def command(
    output: Output,
    inside: tuple[location.Location, str | None],
    asked: FilesOptions,
    repository: options.RepositoryOptions,
) -> int:
    """List what PATH holds inside the guest's file systems, or copy it out with --to.

    Without PATH the file systems of the disks are listed. NAME is an archive, or a VM (name or id), which
    stands for its latest archive. Needs libguestfs (guestfish) and nbdkit; nothing is mounted here.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.restore.files import files, need_guestfish

    archive, path = inside
    if asked.directory is not None and (path is None or path.rstrip("/") == ""):
        raise click.UsageError("--to needs a PATH below the root: write REPO::NAME:/PATH.")
    need_guestfish()
    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    with output.progress() as progress, connect.repository(settings, write=False) as opened:
        found = files(opened, archive.name or "", path, asked, progress)
    if output.json:
        output.result(found)
    else:
        output.lines(*found)
    return 0
