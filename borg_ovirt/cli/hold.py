"""`borg-ovirt hold`: keep archives from every prune of ours."""

from __future__ import annotations

import os
import pwd
import socket
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.units import parse_duration

if TYPE_CHECKING:
    from borg_ovirt.repository.layout import HoldRecord


@click.command("hold")
@click.argument("archive", type=location.named, metavar="REPO::NAME")
@click.argument("more", nargs=-1, metavar="[NAME ...]", shell_complete=location.inside("archive"))
@click.option("--reason", default="", metavar="TEXT", help="Why; shown by `list`, `info` and the report.")
@click.option("--until", metavar="DATE", help="The hold ends then: 2027-03-31, or a span from now as 90d.")
@click.option("--by", metavar="NAME", help="Who holds it. [default: user@host]")
@options.repository
@options.common(dry_run=True)
def command(
    output: Output,
    repository: options.RepositoryOptions,
    archive: location.Location,
    more: tuple[str, ...],
    reason: str,
    until: str | None,
    by: str | None,
    dry_run: bool,
) -> int:
    """Mark archives as held: `borg-ovirt prune` never removes them.

    With --until the hold ends at that day's end; then `prune` judges it like any other. One that is held
    already keeps its reason and end, unless new ones are given.

    The mark stands in the archive's comment. Stock `borg prune` and `borg delete` do not know it.

    NAME is an archive, or a VM (name or id), which stands for its latest archive.
    """
    from borg_ovirt.repository.layout import HoldRecord

    now = datetime.now(timezone.utc)
    why = HoldRecord(
        since=now, by=by or _somebody(), reason=reason, until=_moment(until, now) if until else None
    )
    anew = bool(reason or until or by)
    return mark(output, repository, archive, more, why, anew=anew, dry_run=dry_run)


def _somebody() -> str:
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _moment(text: str, now: datetime) -> datetime:
    """The end of that day, local time, or so long from now."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").astimezone()
        end = day + timedelta(days=1)
    except ValueError:
        from borg_ovirt.cli.overrides import parsed

        end = now + parsed(parse_duration, text, "--until")
    if end <= now:
        raise click.BadParameter(f"{text} is over", param_hint="--until")
    return end.astimezone(timezone.utc)


def mark(
    output: Output,
    repository: options.RepositoryOptions,
    archive: location.Location,
    more: tuple[str, ...],
    why: HoldRecord | None,
    *,
    anew: bool = False,
    dry_run: bool,
) -> int:
    """Set the mark of archives, or take it away, and tell."""
    from borg_ovirt.cli import connect
    from borg_ovirt.cli.audit import Deed, tell_engine
    from borg_ovirt.jobs.archives.hold import hold, in_words

    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    with connect.repository(settings, write=not dry_run) as opened:
        result = hold(opened, [archive.name or "", *more], why, anew=anew, dry_run=dry_run)
    did = f"is {in_words(why)}" if why is not None else "is released"
    if not dry_run:
        tell_engine(output, config, options.EngineOptions(), [Deed.of(i, did) for i in result.infos])
    if output.json:
        output.result({"archives": result.archives, "changed": result.changed})
        return 0
    for name in result.archives:
        already = "" if name in result.changed else " (it was already)"
        output.lines(f"{'Held' if why is not None else 'Released'}: {name}{already}")
    return 0
