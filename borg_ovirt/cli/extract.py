"""`borg-ovirt extract`: restore a VM into oVirt, or its disks into files."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import location, options
from borg_ovirt.cli.audit import Deed, audited, tell_engine
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_OK, EXIT_WARNING, RestoreBlocked
from borg_ovirt.jobs.restore.options import RestoreOptions, SiteMap
from borg_ovirt.units import parse_duration

if TYPE_CHECKING:
    from borg_ovirt.config.restore import Restore
    from borg_ovirt.config.settings import RepositorySettings
    from borg_ovirt.jobs.restore.fleet import FleetPlan, FleetResult
    from borg_ovirt.jobs.restore.restore import Destination, RestoreResult
    from borg_ovirt.ovirt.session.engine import EngineAccess
    from borg_ovirt.progress import Progress
    from borg_ovirt.repository.open import Repository


@dataclass(frozen=True)
class SiteOptions:
    """Which VMs `--all` means, and what takes the place of what."""

    every: bool = False
    vms: tuple[str, ...] = ()
    max_age: str | None = None
    map_file: str | None = None


_VM_ONLY = ("cluster", "start", "networks", "nics_off", "mac", "no_tags")
_ENGINE_ONLY = ("name", *_VM_ONLY, "storage_domains", "over", "yes", "keep", "attach", "no_proof", "writers")


_OPTIONS = {"storage_domains": "storage_domain", "networks": "network"}
"""Fields of the options -> the options, where their names differ."""


def _check(asked: RestoreOptions) -> None:
    """Options that contradict each other are wrong before anything is opened."""

    def refuse(names: tuple[str, ...], why: str) -> None:
        for name in names:
            if getattr(asked, name):
                option = _OPTIONS.get(name, name).replace("_", "-")
                raise click.UsageError(f"--{option} {why}.")

    if asked.directory is not None:
        of_a_domain = ("networks", "nics_off") if asked.hypervisor else ()
        refuse(tuple(name for name in _ENGINE_ONLY if name not in of_a_domain), "makes no sense with --to")
    elif asked.form is not None:
        raise click.UsageError("--format goes with --to.")
    elif asked.hypervisor is not None:
        raise click.UsageError("--as goes with --to.")
    if asked.attach and not asked.disks:
        raise click.UsageError("--attach goes with --disk.")
    if asked.over is not None:
        refuse(("name", *_VM_ONLY, "storage_domains", "keep", "attach"), "makes no sense with --over")
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
@location.one(name_needed=False)
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
        help="Put network cards of OLD on NEW (or NEW/PROFILE, or none).",
    ),
    click.option("--nics-off", is_flag=True, help="No network card is linked."),
    click.option(
        "--mac",
        type=click.Choice(["keep", "new", "new-if-taken"]),
        help="MAC addresses [default: keep; with --name new].",
    ),
    click.option("--no-tags", is_flag=True, help="Leave out the VM's tags: they may select it for backups."),
    click.option(
        "--disk",
        "disks",
        multiple=True,
        metavar="DISK[=NEW]",
        help="Only this disk (alias or id), without the VM; NEW is its new name.",
    ),
    click.option("--attach", metavar="VM", help="With --disk: attach the restored disks to this VM."),
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
        help="Into files of this directory, without any engine: sparse images, vm.ovf, manifest.json, and a "
        "README.txt that says which is which.",
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
@options.bundle(
    "site",
    SiteOptions,
    click.option(
        "--all", "every", is_flag=True, help="Every VM of REPO that is not there, its newest archive."
    ),
    click.option(
        "--vm", "vms", multiple=True, metavar="NAME", help="With --all: only these (name, glob, id)."
    ),
    click.option(
        "--max-age",
        metavar="SPAN",
        help="With --all: no VM whose newest archive is older: it was gone before.",
    ),
    click.option(
        "--map",
        "map_file",
        type=click.Path(dir_okay=False),
        help="File that says what takes the place of which cluster, storage domain, network. [restore.map]",
    ),
)
@options.reading
@options.engine
@options.common(dry_run=True)
def command(
    output: Output,
    archive: location.Location,
    asked: RestoreOptions,
    site: SiteOptions,
    repository: options.RepositoryOptions,
    engine: options.EngineOptions,
    dry_run: bool,
) -> int:
    """Restore NAME: an archive, or a VM (name or id), which stands for its latest archive. With --all and
    REPO alone every VM comes back, several at a time.

    Without options the VM comes back as it was, with its old ids, when it is gone. With --name it is restored
    beside the original, with new ids everywhere and MAC addresses left to the engine. --dry-run shows what
    would be made, where, how large, and everything in the way: damage of the archive, too.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.archives.find import find_archive
    from borg_ovirt.jobs.restore.fleet import restore_all
    from borg_ovirt.jobs.restore.restore import restore

    _check(asked)
    _check_site(asked, site, archive)
    config = connect.configuration(output)
    settings = connect.repository_of(config, archive, repository)
    if asked.directory is not None:
        with output.progress() as progress, connect.repository(settings, write=False) as opened:
            result = restore(opened, archive.name or "", asked, None, progress, dry_run=dry_run)
            info = find_archive(opened, result.archive)
        if not dry_run:
            where = f"was written into files of {socket.gethostname()}"
            tell_engine(output, config, engine, [Deed.of(info, where)])
    else:
        asked = replace(asked, mapping=_mapping(site.map_file or config.restore.map))
        access = connect.engine_access(config, engine)
        with _into(output, settings, access, heal=not dry_run) as (opened, into, progress):
            if site.every:
                fleet = _fleet(config.restore, site)
                with _in_the_log(output, into, archive, dry_run) as tell:
                    back = restore_all(opened, fleet, asked, into, progress, dry_run=dry_run)
                    for one in back.restored:
                        tell(one)
                return _told(output, back)
            with _in_the_log(output, into, archive, dry_run) as tell:
                result = restore(
                    opened,
                    archive.name or "",
                    asked,
                    into,
                    progress,
                    dry_run=dry_run,
                    at_once=config.restore.disks_at_once,
                )
                tell(result)
    if output.json:
        output.result(result)
    else:
        output.lines(*result.lines())
    if result.plan.blockers:
        return RestoreBlocked.exit_code  # of a dry run; a real one has raised it
    return EXIT_WARNING if result.warnings else EXIT_OK


@contextmanager
def _in_the_log(
    output: Output, into: Destination, archive: location.Location, dry_run: bool
) -> Iterator[Callable[[RestoreResult], None]]:
    """The engine's own log tells what was restored, and what was not."""
    if dry_run:
        yield lambda result: None
        return
    with audited(into.engine, output, f"Restore of {archive}") as note:

        def tell(result: RestoreResult) -> None:
            vm = result.plan.vm
            text = f"Restored from archive {result.archive} of {archive.repo}: {result.plan.title}."
            note(text, vm.id if vm else None)

        yield tell


def _check_site(asked: RestoreOptions, site: SiteOptions, archive: location.Location) -> None:
    if not site.every:
        if site.vms or site.max_age:
            raise click.UsageError("--vm and --max-age go with --all.")
        if not archive.name:
            raise click.BadParameter(f"{archive} names a repository but nothing in it: write REPO::NAME.")
        return
    if archive.name:
        raise click.UsageError("--all restores every VM of a repository: name REPO alone.")
    for name in ("name", "disks", "over", "attach", "directory", "snapshot", "networks"):
        if getattr(asked, name):
            option = {"disks": "disk", "directory": "to", "networks": "network"}.get(name, name)
            raise click.UsageError(f"--{option} is for one VM: it makes no sense with --all.")


def _mapping(file: str | None) -> SiteMap:
    from borg_ovirt.config.load import load_map

    if file is None:
        return SiteMap()
    found = load_map(file)
    return SiteMap(found.clusters, found.storage_domains, found.networks, found.mac)


def _fleet(rules: Restore, site: SiteOptions) -> FleetPlan:
    from borg_ovirt.cli.overrides import parsed
    from borg_ovirt.jobs.restore.fleet import FleetPlan

    return FleetPlan(
        vms=site.vms,
        max_age=parsed(parse_duration, site.max_age, "--max-age") if site.max_age else None,
        order=tuple(rules.order),
        vms_at_once=rules.vms_at_once,
        disks_at_once=rules.disks_at_once,
    )


def _told(output: Output, result: FleetResult) -> int:
    if output.json:
        output.result(result)
    else:
        output.lines(*result.lines())
    return result.exit_code or (EXIT_WARNING if result.warned else EXIT_OK)


@contextmanager
def _into(
    output: Output, settings: RepositorySettings, access: EngineAccess, *, heal: bool
) -> Iterator[tuple[Repository, Destination, Progress]]:
    """Repository and engine, open; what dead runs left is removed before."""
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.restore.restore import Destination
    from borg_ovirt.ovirt.session.engine import Engine
    from borg_ovirt.ovirt.tracked.cleanup import heal_for_restore
    from borg_ovirt.ovirt.tracked.journal import Journal, state_dir

    with (
        output.progress() as progress,
        connect.repository(settings, write=False) as opened,
        Engine(access) as ovirt,
        Journal(state_dir(), ovirt.instance_id, ovirt.run_id) as journal,
    ):
        if heal:
            heal_for_restore(ovirt, state_dir(), progress.step)
        yield opened, Destination(ovirt, journal), progress
