"""`borg-ovirt serve`: archived disks as NBD exports."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING
from borg_ovirt.jobs.restore.options import ServeOptions


def _size(context: object, parameter: object, word: str) -> int:
    from borg_ovirt.units import parse_size

    try:
        return parse_size(word)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("serve")
@location.one()
@options.bundle(
    "asked",
    ServeOptions,
    click.option(
        "--disk", "disks", multiple=True, metavar="DISK", help="Only this disk (alias or id); several times."
    ),
    click.option("--snapshot", metavar="NAME", help="Of an archive of chains the state as of this snapshot."),
    click.option("--write", is_flag=True, help="Take writes, into an overlay that is thrown away."),
    click.option(
        "--socket-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Directory of the sockets, one for each disk [default: a new one that only you can enter].",
    ),
    click.option("--listen", metavar="HOST:PORT", help="On TCP, with TLS; for one disk."),
    click.option(
        "--tls",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Directory of ca-cert.pem, server-cert.pem, server-key.pem; clients need one of that CA.",
    ),
    click.option("--cache", default="256MiB", callback=_size, metavar="SIZE", help="Memory for chunks."),
)
@options.reading
@options.common()
def command(
    output: Output,
    archive: location.Location,
    asked: ServeOptions,
    repository: options.RepositoryOptions,
) -> int:
    """Serve the disks of NAME over NBD, until Ctrl-C; nothing is extracted, the archive stays as it is.

    NAME is an archive, or a VM (name or id), which stands for its latest archive. Backups into the repository
    wait meanwhile. Needs nbdkit with its Python plugin.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.restore.serve import serve

    if (asked.listen is None) != (asked.tls is None):
        raise click.UsageError("--listen and --tls go together: nothing is served in the clear.")
    if asked.listen is not None and not asked.listen.rpartition(":")[2].isdecimal():
        raise click.UsageError("--listen takes HOST:PORT.")
    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    with (
        output.progress() as progress,
        connect.repository(settings, write=False) as opened,
        serve(opened, archive.name or "", asked, progress) as served,
    ):
        if output.json:
            output.result({"archive": served.archive, "exports": served.exports})
        else:
            output.lines(*(f"{export.disk} {export.uri}" for export in served.exports))
        sys.stdout.flush()
        try:
            served.wait()
        except KeyboardInterrupt:  # a signal: the way to end it
            return EXIT_WARNING if served.failed else EXIT_OK
