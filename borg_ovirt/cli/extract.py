"""`borg-ovirt extract`: restore a VM into oVirt, or its disks into files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING, RestoreBlocked
from borg_ovirt.jobs.restore.options import RestoreOptions

if TYPE_CHECKING:
    from borg_ovirt.config.settings import RepositorySettings
    from borg_ovirt.jobs.restore.restore import RestoreResult
    from borg_ovirt.ovirt.session.engine import EngineAccess


_VM_ONLY = ("cluster", "start")
_ENGINE_ONLY = ("name", *_VM_ONLY, "storage_domains", "over", "yes", "keep", "no_proof", "writers")


def _check(asked: RestoreOptions) -> None:
    """Options that contradict each other are wrong before anything is opened."""

    def refuse(names: tuple[str, ...], why: str) -> None:
        for name in names:
            if getattr(asked, name):
                option = name.replace("_", "-").replace("domains", "domain")
                raise click.UsageError(f"--{option} {why}.")

    if asked.directory is not None:
        refuse(_ENGINE_ONLY, "makes no sense with --to")
    else:
        for field, option in (("form", "--format"), ("hypervisor", "--as"), ("networks", "--network")):
            if getattr(asked, field):
                raise click.UsageError(f"{option} goes with --to.")
    if asked.over is not None:
        refuse(("name", *_VM_ONLY, "storage_domains", "keep"), "makes no sense with --over")
        if len(asked.disks) != 1:
            raise click.UsageError("--over goes with exactly one --disk.")
    elif asked.yes:
        raise click.UsageError("--yes goes with --over.")
    if asked.name and asked.disks:
        raise click.UsageError("--name is for a VM, --disk for disks alone.")
    if asked.disks:
        refuse(_VM_ONLY, "is for a VM, --disk for disks alone")


def _domains(context: object, parameter: object, words: tuple[str, ...]) -> dict[str, str]:
    """Disk -> domain; what names no disk is for all."""
    return {disk: domain for disk, _, domain in (word.rpartition("=") for word in words)}


def _networks(context: object, parameter: object, words: tuple[str, ...]) -> dict[str, str]:
    """Archived network -> the one that takes its place."""
    found = {}
    for word in words:
        old, equals, new = word.partition("=")
        if not (old and equals and new):
            raise click.BadParameter(f"{word} is not OLD=NEW, OLD=NEW/PROFILE or OLD=none")
        found[old] = new
    return found


@click.command("extract")
@click.argument("archive", type=location.named, metavar="REPO::NAME")
@options.bundle(
    "asked",
    RestoreOptions,
    click.option(
        "--name", metavar="NEW", help="Restore beside the original, as a VM of this name with new ids."
    ),
    click.option("--cluster", metavar="CLUSTER", help="Cluster to restore into, if not the archived one."),
    click.option(
        "--storage-domain",
        "storage_domains",
        multiple=True,
        callback=_domains,
        metavar="[DISK=]DOMAIN",
        help="Storage domain of all disks, or of one (alias or id).",
    ),
    click.option(
        "--network",
        "networks",
        multiple=True,
        callback=_networks,
        metavar="OLD=NEW",
        help="Put network cards of OLD on NEW (or none).",
    ),
    click.option("--nics-off", is_flag=True, help="No network card is linked."),
    click.option(
        "--disk", "disks", multiple=True, metavar="DISK", help="Only this disk (alias or id), without the VM."
    ),
    click.option(
        "--over",
        metavar="ID",
        help="With one --disk: write it over this disk, whose VM is down. Needs --yes.",
    ),
    click.option("--yes", is_flag=True, help="The disk may really be overwritten."),
    click.option("--start", is_flag=True, help="Start the VM afterwards."),
    click.option("--keep", is_flag=True, help="Leave what was made when the restore fails half-way."),
    click.option("--no-proof", is_flag=True, help="Do not compare the restored disks with the archive."),
    click.option(
        "--to",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        help="Into files of this directory, without any engine: sparse images, vm.ovf, manifest.json.",
    ),
    click.option(
        "--format",
        "form",
        type=click.Choice(["raw", "qcow2"]),
        help="Of the images of --to (raw unless told); qcow2 needs qemu-img.",
    ),
    click.option(
        "--as",
        "hypervisor",
        type=click.Choice(["libvirt"]),
        help="With --to: write domain.xml, the VM for libvirt.",
    ),
    click.option(
        "--flatten",
        is_flag=True,
        help="Of an archive of snapshot chains only the latest state. Needs qemu-img.",
    ),
    click.option(
        "--snapshot",
        metavar="NAME",
        help="Of such an archive the state as of this snapshot (description or id).",
    ),
    click.option(
        "--work-dir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Where layers are staged to be joined; needs room for a disk and its layers.",
    ),
    click.option("--writers", type=click.IntRange(1, 8), help="Connections per disk (4 unless told)."),
)
@options.repository
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    archive: location.Location,
    asked: RestoreOptions,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    dry_run: bool,
) -> int:
    """Restore NAME: an archive, or a VM (name or id), which stands for its latest archive.

    Without options the VM comes back as it was, with its old ids, when it is gone. With --name it is restored
    beside the original, with new ids everywhere and MAC addresses left to the engine. --dry-run shows what
    would be made, where, how large, and everything in the way: damage of the archive, too.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.restore.restore import restore

    _check(asked)
    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    if asked.directory is not None:
        with output.progress() as progress, connect.repository(settings, write=False) as opened:
            result = restore(opened, archive.name or "", asked, None, progress, dry_run=dry_run)
    else:
        result = _into_ovirt(output, archive, asked, dry_run, settings, connect.engine_access(config, engine))
    if output.json:
        output.result(result)
    else:
        output.lines(*result.lines())
    if result.plan.blockers:
        return RestoreBlocked.exit_code  # of a dry run; a real one has raised it
    return EXIT_WARNING if result.warnings else EXIT_OK


def _into_ovirt(
    output: Output,
    archive: location.Location,
    asked: RestoreOptions,
    dry_run: bool,
    settings: RepositorySettings,
    access: EngineAccess,
) -> RestoreResult:
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.restore.restore import Destination, restore
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    with (
        output.progress() as progress,
        connect.repository(settings, write=False) as opened,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
    ):
        if not dry_run:
            heal(ovirt, state_dir(), progress.step)
        return restore(
            opened, archive.name or "", asked, Destination(ovirt, journal), progress, dry_run=dry_run
        )
