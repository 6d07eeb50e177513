"""Backups in the engine by their ids: found, read, ended, by their run or by whoever cleans up after it."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from borg_ovirt.errors import EngineRefused, Timeout
from borg_ovirt.ovirt.data.transfers import end_transfers_of
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound

_ENDED = {"succeeded", "failed", "gone"}


def backups_of(system: Any, vm_id: str) -> Any:
    """The SDK's service of a VM's backups."""
    return system.vms_service().vm_service(vm_id).backups_service()


def backup_phase(backup: Any | None) -> str:
    """The phase as the API spells it; `gone` if there is no such backup."""
    if backup is None:
        return "gone"
    return str(backup.phase or "unknown")


def read_backup(engine: Engine, vm_id: str, backup_id: str) -> Any | None:
    """The engine's backup; None if it has forgotten it."""
    try:
        return engine.call(
            f"read the backup {backup_id}", lambda s: backups_of(s, vm_id).backup_service(backup_id).get()
        )
    except NotFound:
        return None


def find_backup(engine: Engine, vm_id: str, description: str) -> str | None:
    """The id of the backup with that description, if it came to be and has not ended."""
    try:
        backups = engine.call(f"list the backups of VM {vm_id}", lambda s: backups_of(s, vm_id).list())
    except NotFound:
        return None
    alive = (b for b in backups or () if backup_phase(b) not in _ENDED)
    return next((str(b.id) for b in alive if b.description == description), None)


def finalize_backup(
    engine: Engine,
    vm_id: str,
    backup_id: str,
    disk_ids: Collection[str] = (),
    seconds: float | None = None,
) -> None:
    """Ask for the end of a backup; a transfer that has not quite ended is waited for.

    One of `disk_ids`, the backup's, that nobody knows of (its answer was lost, and it was made again) is
    ended after a while: while the backup lasts nobody else can have one of them.
    """
    started = time.monotonic()

    def probe() -> bool | None:
        try:
            engine.call(
                f"finalize the backup {backup_id}",
                lambda s: backups_of(s, vm_id).backup_service(backup_id).finalize(),
            )
        except NotFound:
            return True
        except EngineRefused as error:
            if error.status == 409:
                if time.monotonic() - started > engine.patience.unclear:
                    end_transfers_of(engine, disk_ids)
                return None
            if "no need to stop the backup again" in error.detail:  # an answer was lost
                return True
            raise
        return True

    if seconds is None:
        seconds = engine.patience.end
    engine.patience.wait(f"the engine to finalize the backup {backup_id}", probe, seconds)


def wait_backup(engine: Engine, vm_id: str, backup_id: str, seconds: float) -> str:
    """Wait until a backup has ended and return its last phase."""

    def probe() -> str | None:
        phase = backup_phase(read_backup(engine, vm_id, backup_id))
        return phase if phase in _ENDED else None

    return engine.patience.wait(f"the backup {backup_id} to end", probe, seconds)


def end_backup(engine: Engine, vm_id: str, backup_id: str, name: str, disk_ids: Collection[str] = ()) -> str:
    """End a backup whatever its phase, and return its last one; one that is starting cannot be stopped
    cleanly and is waited for."""

    def settled() -> str | None:
        phase = backup_phase(read_backup(engine, vm_id, backup_id))
        return None if phase in ("initializing", "starting", "unknown") else phase

    try:
        phase = engine.patience.wait(f"the backup of {name} to settle", settled, engine.patience.start)
    except Timeout:
        phase = "ready"
    if phase == "ready":
        finalize_backup(engine, vm_id, backup_id, disk_ids, engine.patience.unwind)
    return wait_backup(engine, vm_id, backup_id, engine.patience.merge)
