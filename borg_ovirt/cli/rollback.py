"""`borg-ovirt rollback`: a VM's own disks back to an archive, in place."""

from __future__ import annotations

from dataclasses import replace

import click

from borg_ovirt.cli import location, options, overrides
from borg_ovirt.cli.audit import audited
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, RestoreBlocked
from borg_ovirt.jobs.restore.options import RollbackOptions


@click.command("rollback")
@location.one()
@options.bundle(
    "asked",
    RollbackOptions,
    click.option(
        "--disk", "disks", multiple=True, metavar="DISK", help="Only this disk (alias or id); several times."
    ),
    click.option("--no-safety", is_flag=True, help="Make no archive of the present state. Needs --yes."),
    click.option("--yes", is_flag=True, help="The present state may really be lost."),
    click.option("--writers", type=click.IntRange(1, 8), help="Connections per disk (4 unless told)."),
)
@options.repository
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    archive: location.Location,
    asked: RollbackOptions,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    dry_run: bool,
) -> int:
    """Bring the disks of a VM that is down back to the state of NAME, writing only what differs.

    NAME is an archive, or a VM (name or id), which stands for its latest archive. The present state becomes
    an archive first; going back to that undoes the rollback. The VM's configuration stays as it is.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.find import find_archive
    from borg_ovirt.jobs.backup.create import create
    from borg_ovirt.jobs.backup.stores import SingleStore
    from borg_ovirt.jobs.restore.rollback import Rollback
    from borg_ovirt.jobs.selection import named
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal_for_restore
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    if asked.no_safety and not (asked.yes or dry_run):
        raise click.UsageError("--no-safety goes with --yes: the present state would be lost.")
    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    access = connect.engine_access(config, engine)
    with (
        output.progress() as progress,
        connect.repository(settings, write=not (dry_run or asked.no_safety)) as opened,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
    ):
        if not dry_run:
            heal_for_restore(ovirt, state_dir(), progress.step)

        def save(vm_id: str, disks: tuple[str, ...]) -> str:
            rules = named(ovirt, config, vm_id).settings
            given = overrides.CreateOverrides(mode="image")
            how = overrides.create_options(rules.policy, rules.exclude_disks, given, settings.chunk_size)
            how = replace(how, rules=replace(how.rules, always=disks))
            made = create(SingleStore(opened), ovirt, vm_id, how, journal, progress)
            for warning in made.wait_for_merge():  # the disks are locked until then
                progress.warn(warning)
            return made.archive

        job = Rollback(opened, ovirt, journal, state_dir(), asked, progress, save, archive.repo)
        if dry_run:
            result = job.run(archive.name or "", dry_run=True)
        else:
            with audited(ovirt, output, f"Rollback to {archive}") as tell:
                result = job.run(archive.name or "")
                vm_id = find_archive(opened, result.archive).comment.vm_id
                tell(f"VM {result.vm} went back to archive {result.archive} of {archive.repo}.", vm_id)
    if output.json:
        output.result(result)
    else:
        output.lines(*result.lines())
    return RestoreBlocked.exit_code if result.blockers else EXIT_OK
