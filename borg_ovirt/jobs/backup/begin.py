"""What a backup and its estimate begin with: the disks, the base, the instant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime

from borg_ovirt.errors import VmNotSuitable
from borg_ovirt.jobs.backup.base import BaseQuery, Choice
from borg_ovirt.jobs.backup.disks import choose_disks, listing
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.jobs.backup.way import why_locked
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.capture.chain import capture_chain
from borg_ovirt.ovirt.capture.image import capture_image
from borg_ovirt.ovirt.facts.checkpoints import list_checkpoints
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.repository.layout import SkippedDisk


def choose(vm: VmFacts, options: CreateOptions) -> tuple[list[DiskFacts], list[SkippedDisk]]:
    """The disks to back up and those that are left; `VmNotSuitable` where none is."""
    chosen, skipped = choose_disks(vm, options.rules)
    if not chosen:
        raise VmNotSuitable(
            f"VM {vm.name} has no disk that can be backed up: {listing(skipped) or 'it has no disks'}."
        )
    return chosen, skipped


def base_query(engine: Engine, vm_id: str, options: CreateOptions, now: datetime) -> BaseQuery:
    """What decides on the base: the engine's checkpoints, and what was asked for."""
    held = list_checkpoints(engine, vm_id) if options.mode == "image" else []
    checkpoints = {checkpoint.id: checkpoint.state for checkpoint in held}
    return BaseQuery(vm_id, options.mode, checkpoints, options.full, options.full_every, now, engine.identity)


def without_use(choice: Choice, disks: list[DiskFacts], options: CreateOptions) -> Choice:
    """The choice without its base where no disk could use it: raw ones keep no record of changes."""
    if options.mode != "image" or choice.base is None or any(disk.format != "raw" for disk in disks):
        return choice
    return replace(choice, base=None, reason="raw disks keep no record of changes", fallback=False)


def capture(
    engine: Engine,
    vm: VmFacts,
    disks: list[DiskFacts],
    choice: Choice,
    options: CreateOptions,
    *,
    journal: Journal,
    description: str,
    log: Callable[[str], None],
) -> AbstractContextManager[Capture]:
    """One instant of these disks, in the mode that the options ask for."""
    if options.mode == "chain":
        return capture_chain(
            engine,
            vm,
            disks,
            journal=journal,
            description=description,
            snapshot=options.snapshot,
            freeze=options.freeze,
            log=log,
        )
    return capture_image(
        engine,
        vm,
        disks,
        journal=journal,
        description=description,
        from_checkpoint=choice.base.checkpoint if choice.base else None,
        freeze=options.freeze,
        live=options.backup_api == "live",
        prefer=why_locked(vm, choice, disks, options),
        log=log,
    )
