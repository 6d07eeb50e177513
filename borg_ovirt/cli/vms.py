"""`borg-ovirt vms`: how well every VM is protected."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING
from borg_ovirt.units import format_duration, format_size, parse_duration

if TYPE_CHECKING:
    from borg_ovirt.jobs.health.vms import Protection


@click.command("vms")
@click.argument("where", type=location.repository, nargs=-1, metavar="[REPO] ...")
@click.option("--max-age", metavar="SPAN", help="A last archive older than this is `old`: 26h, 8d.")
@click.option("--max-proof-age", metavar="SPAN", help="Without a proof younger than this: `unproven`.")
@options.check
@click.option(
    "--unprotected", is_flag=True, help="Only VMs without a backup, with an old one, or no longer selected."
)
@options.reading
@options.engine
@options.common()
def command(
    output: Output,
    where: tuple[location.Location, ...],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    max_age: str | None,
    max_proof_age: str | None,
    check: bool,
    unprotected: bool,
) -> int:
    """Show every VM of the engine, the least protected first.

    LAST ARCHIVE is the newest that can be restored whole, as far as the list of its chunks tells. CHECKPOINT
    `ready` means that the next backup reads only what changed. PROOF is the newest that one of its archives
    passed. Exit status 1 when a selected VM has no such archive, one older than --max-age (or its policy's
    max_age), or no proof younger than --max-proof-age (max_proof_age), and when a VM with archives is neither
    selected nor excluded any more: fit for monitoring. `no max_age`: nothing says how old an archive may be.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.cli.overrides import parsed
    from borg_ovirt.jobs.health.age import Limits
    from borg_ovirt.jobs.health.vms import history, protection
    from borg_ovirt.jobs.selection import fleet
    from borg_ovirt.ovirt.session.engine import Engine

    config = connect.configuration(output)
    given = Limits(
        parsed(parse_duration, max_age, "--max-age") if max_age else None,
        parsed(parse_duration, max_proof_age, "--max-proof-age") if max_proof_age else None,
    )
    access = connect.engine_access(config, engine)
    held = {}
    for place in where or [location.Location(name) for name in connect.repositories_of(config)]:
        settings = connect.repository_of(config, place, repository)
        with connect.repository(settings, write=False) as opened:
            held[place.repo] = history(opened, check=check)
    with Engine(access) as ovirt:
        members = fleet(ovirt, config)
        lines = protection(ovirt, members, held, datetime.now(timezone.utc), given)
    for line in lines:
        for name in line.damaged:
            output.warn(f"{line.repository}: {name} cannot be restored whole.")
        for name in line.failed_proofs:
            if name not in line.damaged:
                output.warn(f"{line.repository}: {name} failed its proof.")
        if line.heat is not None:
            output.warn(f"{line.repository}: VM {line.vm}: {line.heat}")
    shown = [line for line in lines if line.failed or not unprotected]
    if output.json:
        output.result({"vms": shown})
    else:
        _show(output, shown, several=len(held) > 1)
    return EXIT_WARNING if any(line.failed for line in lines) else EXIT_OK


def _span(age: timedelta | None) -> str:
    return format_duration(max(age.total_seconds(), 0)) if age is not None else ""


def _show(output: Output, lines: list[Protection], *, several: bool) -> None:
    columns = [
        "VM",
        "STATUS",
        "PROTECTION",
        "LAST ARCHIVE",
        "AGE",
        "PROOF",
        "MODE",
        "CHECKPOINT",
        "SIZE",
        "ARCHIVES",
    ]
    rows = [
        [
            line.vm,
            line.status,
            line.verdict.upper() if line.failed else line.verdict,
            line.archive or "",
            _span(line.age),
            f"{line.proof.level} {_span(line.proof_age)}" if line.proof else "",
            line.mode or "",
            line.checkpoint or "",
            format_size(line.size) if line.archive else "",
            f"{line.archives}" + (f" ({line.held} held)" if line.held else ""),
        ]
        for line in lines
    ]
    if several:
        columns.append("REPOSITORY")
        rows = [[*row, line.repository] for row, line in zip(rows, lines, strict=True)]
    output.table(columns, rows, spare=["MODE", "CHECKPOINT", "SIZE", "ARCHIVES", "STATUS"])
    counted = {
        word: sum(line.verdict == word for line in lines)
        for word in ("ok", "no max_age", "old", "unproven", "damaged", "no backup", "unselected")
    }
    output.lines(", ".join(f"{count} {word}" for word, count in counted.items() if count) or "no VMs")
