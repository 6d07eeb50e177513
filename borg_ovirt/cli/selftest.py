"""`borg-ovirt selftest`: the main job tried on an engine in use, and what a bug report needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING

if TYPE_CHECKING:
    from borg_ovirt.config.schema import Config
    from borg_ovirt.ovirt.tracked.journal import Journal
    from borg_ovirt.repository.open import Repository


@click.command("selftest")
@click.argument("where", type=location.repository, required=False, metavar="[REPO]")
@click.option("--cluster", metavar="NAME", help="Where the VM is made (the one of the highest level).")
@click.option("--storage-domain", metavar="NAME", help="Where its disk is made (the one with most room).")
@options.repository
@options.engine
@options.common()
def command(
    output: Output,
    where: location.Location | None,
    cluster: str | None,
    storage_domain: str | None,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
) -> int:
    """Try the main job on this engine, on a VM of its own, in two minutes.

    A VM without network cards and with a disk of 64 MiB is made (it never runs), known bytes are written,
    backed up, changed, backed up again, restored beside and compared. Then all of it is removed: the VMs, the
    disks, the archives. Nothing else is touched.

    Archives go into a repository for the time of the test, or into REPO. What it prints is what a bug
    report needs. Exit status: 0 all well, 1 some warnings, else the number of the cause.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.selftest.report import Report, versions
    from borg_ovirt.jobs.selftest.selftest import Selftest
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal_for_restore
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    config = connect.configuration(output)
    access = connect.engine_access(config, engine)
    with (
        output.progress() as progress,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
        _repository(config, where, repository, journal) as opened,
    ):
        heal_for_restore(ovirt, state_dir(), progress.step)
        report = Report(ovirt.correlation, {**versions(), "engine": f"{ovirt.full_version} at {access.host}"})
        test = Selftest(ovirt, journal, opened, report, progress, cluster, storage_domain)
        try:
            test.run()
        finally:
            if output.json:
                output.result(report)
            else:
                output.lines(*report.lines())
    return EXIT_WARNING if report.warnings else EXIT_OK


@contextmanager
def _repository(
    config: Config, where: location.Location | None, given: options.RepositoryOptions, journal: Journal
) -> Iterator[Repository]:
    from borg_ovirt.cli import connect

    if where is not None:
        with connect.repository(connect.repository_of(config, where, given), write=True) as opened:
            yield opened
        return
    from borg_ovirt.jobs.selftest.scratch import scratch_repository

    with scratch_repository(journal) as opened:
        yield opened
