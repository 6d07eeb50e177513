"""`borg-ovirt extract`: restore a VM into oVirt, or its disks into files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING, RestoreBlocked

if TYPE_CHECKING:
    from borg_ovirt.jobs.restore.plan import RestoreChoices


@click.command("extract")
@click.argument("archive", type=location.named, metavar="REPO::NAME")
@click.option("--name", metavar="NEW", help="Restore beside the original, as a VM of this name with new ids.")
@click.option("--cluster", metavar="CLUSTER", help="Cluster to restore into, if not the archived one.")
@click.option(
    "--storage-domain",
    multiple=True,
    metavar="[DISK=]DOMAIN",
    help="Storage domain of all disks, or of one (alias or id).",
)
@click.option(
    "--disk", "disks", multiple=True, metavar="DISK", help="Only this disk (alias or id), as a floating disk."
)
@click.option(
    "--over", metavar="ID", help="With one --disk: overwrite this disk, whose VM is down. Needs --yes."
)
@click.option("--yes", is_flag=True, help="The disk may really be overwritten.")
@click.option("--start", is_flag=True, help="Start the VM afterwards.")
@click.option("--keep", is_flag=True, help="Leave what was made when the restore fails half-way.")
@click.option("--no-proof", is_flag=True, help="Do not compare the restored disks with the archive.")
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Into files of this directory, without any engine: sparse images, vm.ovf, manifest.json.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["raw", "qcow2"]),
    default="raw",
    show_default=True,
    help="Of the images of --to; qcow2 needs qemu-img.",
)
@click.option(
    "--flatten", is_flag=True, help="Of an archive of snapshot chains only the latest state. Needs qemu-img."
)
@click.option(
    "--snapshot", metavar="NAME", help="Of such an archive the state as of this snapshot (description or id)."
)
@click.option(
    "--work-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where layers are staged to be joined; needs room for a disk and its layers.",
)
@click.option(
    "--writers", type=click.IntRange(1, 8), default=4, show_default=True, help="Connections per disk."
)
@options.repository
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    archive: location.Location,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    directory: Path | None,
    **wishes: Any,
) -> int:
    """Restore NAME: an archive, or a VM (name or id), which stands for its latest archive.

    Without options the VM comes back as it was, with its old ids, when it is gone. With --name it is restored
    beside the original, with new ids everywhere and MAC addresses left to the engine. --dry-run shows what
    would be made, where, how large, and everything in the way.
    """
    _check(directory, wishes)
    if directory is not None:
        return _to_files(output, archive, repository, directory, wishes)
    return _into_ovirt(output, archive, repository, engine, wishes)


_ENGINE_ONLY = ("name", "cluster", "storage_domain", "over", "start", "keep")


def _check(directory: Path | None, wishes: dict[str, Any]) -> None:
    """Options that contradict each other are wrong before anything is opened."""
    if directory is not None:
        for option in _ENGINE_ONLY:
            if wishes[option]:
                raise click.UsageError(f"--{option.replace('_', '-')} makes no sense with --to.")
    elif wishes["form"] != "raw":
        raise click.UsageError("--format goes with --to.")
    if wishes["over"] and len(wishes["disks"]) != 1:
        raise click.UsageError("--over goes with exactly one --disk.")
    if wishes["name"] and wishes["disks"]:
        raise click.UsageError("--name is for a VM, --disk for disks alone.")


def _to_files(
    output: Output,
    archive: location.Location,
    repository: options.RepositoryOptions,
    directory: Path,
    wishes: dict[str, Any],
) -> int:
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.find import find_archive
    from borg_ovirt.jobs.restore.extract_chain_files import extract_chain_files
    from borg_ovirt.jobs.restore.extract_files import extract_files

    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    with output.progress() as progress, connect.repository(settings, write=False) as opened:
        info = find_archive(opened, archive.name or "")
        if info.comment.mode == "chain":
            result = extract_chain_files(
                opened,
                info.name,
                directory,
                # Another format than the layers' own is a wish for one image.
                joined=wishes["flatten"] or wishes["form"] != "raw",
                form=wishes["form"],
                snapshot=wishes["snapshot"],
                disks=wishes["disks"],
                work_dir=wishes["work_dir"],
                dry_run=wishes["dry_run"],
                progress=progress,
            )
        else:
            _refuse_chain_options(info.name, wishes)
            result = extract_files(
                opened,
                info.name,
                directory,
                form=wishes["form"],
                disks=wishes["disks"],
                dry_run=wishes["dry_run"],
                progress=progress,
            )
    if output.json:
        output.result(result)
    else:
        output.lines(*result.lines())
    return EXIT_OK


def _into_ovirt(
    output: Output,
    archive: location.Location,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    wishes: dict[str, Any],
) -> int:
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.find import find_archive
    from borg_ovirt.jobs.restore.extract import ExtractResult, extract
    from borg_ovirt.jobs.restore.extract_chain import ChainExtract, ChainResult, extract_chain
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    access = connect.engine_access(config, engine)
    todo = ChainExtract(
        choices=_choices(wishes),
        over=wishes["over"],
        yes=wishes["yes"],
        start=wishes["start"],
        keep=wishes["keep"],
        proof=not wishes["no_proof"],
        writers=wishes["writers"],
        dry_run=wishes["dry_run"],
        flatten=wishes["flatten"],
        snapshot=wishes["snapshot"],
        work_dir=wishes["work_dir"],
    )
    with (
        output.progress() as progress,
        connect.repository(settings, write=False) as opened,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
    ):
        if not todo.dry_run:
            heal(ovirt, state_dir(), progress.step)
        info = find_archive(opened, archive.name or "")
        result: ExtractResult | ChainResult
        if info.comment.mode == "chain":
            result = extract_chain(opened, ovirt, info.name, todo, journal, progress)
        else:
            _refuse_chain_options(info.name, wishes)
            result = extract(opened, ovirt, info.name, todo, journal, progress)
    if output.json:
        output.result(result)
    else:
        output.lines(*result.lines())
    if result.plan.blockers:
        return RestoreBlocked.exit_code  # of a dry run; a real one has raised it
    return EXIT_WARNING if result.warnings else EXIT_OK


def _refuse_chain_options(archive: str, wishes: dict[str, Any]) -> None:
    for option in ("flatten", "snapshot"):
        if wishes[option]:
            raise click.UsageError(f"--{option}: archive {archive} holds no snapshot chains.")


def _choices(wishes: dict[str, Any]) -> RestoreChoices:
    from borg_ovirt.jobs.restore.plan import RestoreChoices

    everywhere, domains = None, {}
    for word in wishes["storage_domain"]:
        disk, equals, domain = word.rpartition("=")
        if equals:
            domains[disk] = domain
        else:
            everywhere = domain
    return RestoreChoices(
        name=wishes["name"],
        cluster=wishes["cluster"],
        storage_domain=everywhere,
        storage_domains=domains,
        disks=tuple(wishes["disks"]),
    )
