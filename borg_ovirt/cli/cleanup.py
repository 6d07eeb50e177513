"""`borg-ovirt cleanup`: remove what dead runs of ours left in the engine."""

from __future__ import annotations

from datetime import datetime, timezone

import click

from borg_ovirt.cli import options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING
from borg_ovirt.units import parse_duration


@click.command("cleanup")
@click.option("--tagged", is_flag=True, help="Also what bears our tag but stands in no journal here.")
@click.option(
    "--older-than", metavar="SPAN", default="1d", show_default=True, help="With --tagged: leave younger ones."
)
@options.engine
@options.common(dry_run=True)
def command(
    output: Output, engine: options.EngineOptions, tagged: bool, older_than: str, dry_run: bool
) -> int:
    """List and remove transfers, backups, snapshots, disks and VMs that runs of ours began and did not end.

    Every run does the same at its start. Known are those in the journals of this machine. Others that bear
    our tag are only listed: they may belong to a run on another machine. --tagged removes them.

    The exit status is 1 where something of ours is left, or where a run died a moment ago and what it had
    asked for may still come to be.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.cli.overrides import parsed
    from borg_ovirt.jobs.health.cleanup import cleanup
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.journal import state_dir

    config = connect.configuration(output)
    age = parsed(parse_duration, older_than, "--older-than")
    access = connect.engine_access(config, engine)
    with output.progress() as progress, Engine(access) as ovirt:
        result = cleanup(
            ovirt,
            state_dir(),
            datetime.now(timezone.utc),
            tagged=tagged,
            older_than=age,
            dry_run=dry_run,
            log=progress.step,
        )
    if output.json:
        output.result({"dry_run": dry_run, **vars(result)})
        return EXIT_OK if result.is_done else EXIT_WARNING
    if not result.found:
        output.lines("Nothing of ours is left in the engine.")
        return EXIT_OK
    output.table(
        ["LEFTOVER", "RUN", "KNOWN BY"],
        [[line.what, line.run, "journal" if line.journalled else "tag only"] for line in result.found],
    )
    for text in result.left:
        output.lines(f"Left: {text}")
    for text in result.unsure:
        output.lines(f"Not sure: {text}.")
    for text in result.others:
        output.lines(f"Not touched: {text}")
    if not dry_run:
        output.lines(f"{len(result.removed)} removed.")
    return EXIT_OK if result.is_done else EXIT_WARNING
