"""Image mode: every disk as its guest sees it, captured by the best way that the engine offers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from borg_ovirt.errors import CheckpointLost, EngineRefused
from borg_ovirt.ovirt.capture.capture import Capture, CapturedDisk, CapturedLayer, look_again
from borg_ovirt.ovirt.capture.instant import disks_at_the_instant
from borg_ovirt.ovirt.capture.methods import (
    COLD_LEVEL,
    HYBRID_LEVEL,
    AsItIs,
    BackupMethod,
    CaptureMethod,
    Log,
)
from borg_ovirt.ovirt.capture.redefined import LiveStart
from borg_ovirt.ovirt.capture.snapshot_method import SnapshotMethod
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import EventMark
from borg_ovirt.ovirt.tracked.journal import Journal

_NO_SUCH_BACKUP = re.compile(
    r"Incremental backup is (disabled|not supported)|Bitmaps operations are not supported"
    r"|Backup is not supported by the host|running on a version lower",
    re.IGNORECASE,
)


@contextmanager
def capture_image(
    engine: Engine,
    vm: VmFacts,
    disks: Sequence[DiskFacts],
    *,
    journal: Journal,
    description: str,
    from_checkpoint: str | None = None,
    freeze: str = "auto",
    live: bool = False,
    prefer: str | None = None,
    log: Log = lambda text: None,
) -> Iterator[Capture]:
    """One instant of these disks of a VM, each a single layer.

    `live` asks for a live backup where the engine would make a hybrid one, `prefer` says why that would be
    better. `CheckpointLost`, here or when the disks are opened, says that a backup from `from_checkpoint`
    cannot be had; a full one may be tried.
    """
    vm = look_again(engine, vm, disks)
    active = [disk for disk in disks if disk.active]
    resort = _without_backup(engine, vm, active, journal, description, freeze, log)
    legacy = _why_legacy(vm, disks, freeze, live)
    choosing = legacy is None and vm.level >= HYBRID_LEVEL
    if choosing:
        legacy = prefer
    if from_checkpoint and vm.status == "up" and (legacy or vm.level < HYBRID_LEVEL):
        start = LiveStart(engine, vm, from_checkpoint)
        if start.doubt and not choosing:
            raise CheckpointLost(f"The checkpoint {from_checkpoint} is not tried: {start.doubt}.")
        if start.doubt:
            legacy = None  # a hybrid backup costs nobody a checkpoint
        else:
            description += start.note
    backup = BackupMethod(
        engine,
        journal,
        vm,
        active,
        description=description,
        from_checkpoint=from_checkpoint,
        freeze=freeze,
        legacy=legacy is not None,
        log=log,
    )
    reason = legacy or f"the engine's own at level {_level(vm)}"
    mark = EventMark(engine) if vm.status == "up" else None
    method, reason = _start(engine, vm, active, backup, resort, reason)
    resting = AsItIs(vm)
    captured = Capture(engine, journal, vm, method, reason, log, mark)
    with captured.unwinding():
        for disk in disks_at_the_instant(captured, disks):
            captured.disks.append(_disk(disk, method if disk.active else resting))
        yield captured


def _disk(disk: DiskFacts, method: CaptureMethod) -> CapturedDisk:
    incremental, reason = method.mode(disk)
    layer = CapturedLayer(method.request(disk), incremental=incremental, reason=reason)
    return CapturedDisk(disk, method.name, [layer])


def _without_backup(
    engine: Engine,
    vm: VmFacts,
    active: Sequence[DiskFacts],
    journal: Journal,
    description: str,
    freeze: str,
    log: Log,
) -> CaptureMethod:
    """The last resort."""
    if vm.status != "up" or not active:
        return AsItIs(vm)
    return SnapshotMethod(engine, journal, vm, active, description=description, freeze=freeze, log=log)


def _start(
    engine: Engine,
    vm: VmFacts,
    active: Sequence[DiskFacts],
    backup: BackupMethod,
    resort: CaptureMethod,
    reason: str,
) -> tuple[CaptureMethod, str]:
    """Start the engine's backup; only where it cannot do it at all, the last resort. Tells the reason."""
    refusal = _no_backup(engine, vm, active)
    if refusal is None:
        try:
            backup.start()
        except EngineRefused as error:
            if not _NO_SUCH_BACKUP.search(error.detail):
                raise
            refusal = error.detail
            backup.log(f"{vm.name}: {refusal}")
        else:
            return backup, reason
    resort.start()
    return resort, refusal


def _why_legacy(vm: VmFacts, disks: Sequence[DiskFacts], freeze: str, asked: bool) -> str | None:
    """Why a live (or cold) backup is made where the engine's own would be a hybrid one; None where not."""
    if asked:
        return "asked for"
    if vm.level < HYBRID_LEVEL:
        return None
    resting = [disk.alias or disk.id for disk in disks if not disk.active]
    if resting:
        # It holds every image disk of the VM exclusively until its merge has ended (seen on 4.5.8).
        return f"a hybrid backup would lock what is not plugged in: disk {', '.join(resting)}"
    if vm.status == "up" and freeze == "require":
        return "only a live backup can demand frozen file systems"
    return None


def _no_backup(engine: Engine, vm: VmFacts, active: Sequence[DiskFacts]) -> str | None:
    """Why the engine's backup need not be tried."""
    if not active:
        return "no disk is plugged in"
    if (0, 0) < engine.version[:2] < (4, 4):
        return f"engine {engine.full_version} has no backup API fit for use"
    if vm.status != "up" and vm.level < COLD_LEVEL:
        return f"at level {_level(vm)} the engine backs up no VM that is down"
    return None


def _level(vm: VmFacts) -> str:
    return "{}.{}".format(*vm.level)
