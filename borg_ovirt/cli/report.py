"""`borg-ovirt report`: how every VM and repository stands, as a table, a page, JSON or metrics."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output, local_time
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING, UsageError
from borg_ovirt.units import format_size

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config
    from borg_ovirt.jobs.report.gather import ReportPlan
    from borg_ovirt.jobs.report.model import Report, VmReport


@dataclass(frozen=True)
class Wishes:
    """What to look at, and where it goes."""

    html: str | None = None
    prometheus: str | None = None
    mail: bool = False
    ask: bool = True
    check: bool = True
    sizes: bool = True


@click.command("report")
@click.argument("where", type=location.repository, nargs=-1, metavar="[REPO] ...")
@options.bundle(
    "wishes",
    Wishes,
    click.option("--html", metavar="FILE", help="Write it as one HTML page that loads nothing; - prints it."),
    click.option(
        "--prometheus",
        metavar="FILE",
        help="Write it as metrics, for the node exporter's textfile collector.",
    ),
    click.option(
        "--mail", is_flag=True, help="Send what to look at, and the page, to those of `notify` with that job."
    ),
    click.option(
        "--ask-engine/--no-ask-engine",
        "ask",
        default=True,
        help="Without the engine, VMs without archives are not known.",
    ),
    options.check,
    click.option(
        "--sizes/--no-sizes",
        default=True,
        help="Count what is unique and what is shared: reads the lists of all chunks.",
    ),
)
@options.reading
@options.engine
@options.common()
def command(
    output: Output,
    where: tuple[location.Location, ...],
    wishes: Wishes,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
) -> int:
    """Report how every VM and every repository stands: for the morning, and for an auditor.

    Every VM with its last backup against its max_age, its last proof, size, stored size, change on the last
    nights, retention, holds and warnings, and what is not backed up and why; every repository with its
    growth, when it is full, and its checks. Of REPOs, or of all in the configuration.

    Exit status 1 when a selected VM is not protected as its policy asks, the engine or a repository does not
    answer, or --mail could not be sent.
    """
    from datetime import datetime, timezone

    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.report.gather import gather

    config = connect.configuration(output)
    if wishes.mail and not any("report" in one.jobs for one in config.notify):
        raise UsageError(
            "Nobody is to get the report.",
            "Give somebody of `notify` in the configuration `jobs: [report]` (docs/report.md).",
        )
    report = gather(_plan(config, where, repository, engine, wishes), datetime.now(timezone.utc))
    if wishes.prometheus is not None:
        from borg_ovirt.jobs.report.metrics import metrics

        _write(Path(wishes.prometheus), metrics(report), 0o644)
    if wishes.html is not None:
        from borg_ovirt.jobs.report.page import page

        if wishes.html == "-":
            sys.stdout.write(page(report))
        else:
            _write(Path(wishes.html), page(report))
    unsent = _send(output, config, report) if wishes.mail else []
    if output.json:
        output.result(report)
    elif wishes.html is None and wishes.prometheus is None and not wishes.mail:
        _show(output, report)
    return EXIT_WARNING if report.failed or unsent else EXIT_OK


def _send(output: Output, config: Config, report: Report) -> list[str]:
    """To those who want to know; what could not be sent, which is what was asked for here, is told."""
    from borg_ovirt.jobs.notify import tell
    from borg_ovirt.jobs.report.page import page
    from borg_ovirt.jobs.report.todo import story
    from borg_ovirt.ovirt.tracked.journal import state_dir

    unsent = tell(config.notify, story(report, page(report)), state_dir())
    for problem in unsent:
        output.warn(problem)
    return unsent


def _plan(
    config: Config,
    where: tuple[location.Location, ...],
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    wishes: Wishes,
) -> ReportPlan:
    from borg_ovirt.cli import connect
    from borg_ovirt.cli.doctor import looked_at
    from borg_ovirt.jobs.report.gather import ReportPlan
    from borg_ovirt.jobs.report.held import Looks
    from borg_ovirt.ovirt.tracked.journal import state_dir
    from borg_ovirt.redact import redact

    places = where or [location.Location(name) for name in connect.repositories_of(config)]
    return ReportPlan(
        config=config,
        access=connect.engine_access_if_any(config, engine) if wishes.ask else None,
        repositories={
            place.repo: (
                redact(connect.repository_of(config, place, repository).location),
                looked_at(config, place, repository),
            )
            for place in places
        },
        state=state_dir(),
        looks=Looks(wishes.check, wishes.sizes),
    )


def _write(path: Path, text: str, mode: int | None = None) -> None:
    """Replace the file at once: nobody must ever see half of it."""
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.write_text(text, encoding="utf-8")
        if mode is not None:
            draft.chmod(mode)
        os.replace(draft, path)
    except OSError as error:
        raise UsageError(f"The report cannot be written to {path}: {error.strerror}.") from error


def _show(output: Output, report: Report) -> None:
    from borg_ovirt.jobs.report.words import span

    if report.engine_error:
        output.warn(f"the engine did not answer: {report.engine_error}")
    places = ["SIZE", "UNIQUE", "SHARED", "CHANGED", "REPOSITORY", "NOTES"]
    output.table(
        ["VM", "PROTECTION", "AGE", "MAX AGE", "PROOF", *places],
        [
            [
                vm.protection.vm,
                vm.protection.verdict.upper() if vm.grade == "bad" else vm.protection.verdict,
                span(vm.protection.age),
                span(vm.max_age) or "-",
                _proof(vm),
                format_size(vm.protection.size) if vm.protection.archive else "",
                "-" if vm.unique is None else format_size(vm.unique),
                "-" if vm.shared is None else format_size(vm.shared),
                _changed(vm),
                vm.protection.repository,
                "; ".join([*([vm.why] if vm.why else []), *vm.warnings]),
            ]
            for vm in report.vms
        ],
    )
    for one in report.repositories:
        if one.error is not None:
            output.lines(f"{one.name}: {one.error}")
            continue
        stored = "-" if one.stored is None else format_size(one.stored)
        full = f"; full: {one.growth.forecast}" if one.growth else ""
        output.lines(f"{one.name}: {one.archives} archives, {stored} stored{full}")
        for finding in one.findings:
            if finding.status != "ok":
                output.lines(f"{one.name}: {finding.status}: {finding.text}")
    output.lines(f"As of {local_time(report.time)}.")


def _changed(vm: VmReport) -> str:
    from borg_ovirt.jobs.report.charts import percent

    known = [point.changed for point in vm.nights if point.changed is not None]
    return percent(known[-1]) if known else "-"


def _proof(vm: VmReport) -> str:
    from borg_ovirt.jobs.report.words import span

    proof = vm.protection.proof
    return f"{proof.level} {span(vm.protection.proof_age)}" if proof else "-"
