"""A temporary snapshot: it freezes the layers that are read, and is merged away again."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from borg_ovirt.errors import BackupFailed, EngineRefused, Timeout
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.facts.vm import utc
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.events import SNAPSHOT_FAILED, EventMark
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.tracked.objects import TrackedObject

log = logging.getLogger(__name__)


class TemporarySnapshot:
    """A snapshot of ours. `take` waits until it can be read; it must be ended by `remove`."""

    def __init__(self, engine: Engine, journal: Journal, vm: VmFacts, description: str) -> None:
        self.date: datetime = utc(None)
        self.frozen: dict[str, str] = {}
        """Disk id -> the image id of the layer that the snapshot froze."""
        self._engine = engine
        self._tracked = TrackedObject(engine, journal, "snapshot")
        self._vm = vm
        self._description = description
        self._told_as = ""
        """The description as the engine knows it: ours, made unique."""
        self._asked_to_go = False

    @property
    def id(self) -> str:
        """The engine's id; empty until it is known."""
        return self._tracked.id

    def take(self, disk_ids: Iterable[str]) -> None:
        """Take the snapshot of these disks, without memory, and wait. On failure nothing is left."""
        mark = EventMark(self._engine)
        try:
            self._begin(list(disk_ids))
            self._wait_ok()
            self._check_made(mark)
            self._read_layers()
        except BaseException:
            self.abort()
            raise

    def _begin(self, disk_ids: list[str]) -> None:
        engine, vm, t = self._engine, self._vm, types()
        description = str(self._tracked.intend(vm=vm.id, description=self._description)["description"])
        self._told_as = description
        wanted = t.Snapshot(
            description=description,
            persist_memorystate=False,
            disk_attachments=[t.DiskAttachment(disk=t.Disk(id=disk_id)) for disk_id in disk_ids],
        )
        self._tracked.make(
            f"take a snapshot of VM {vm.name}",
            lambda s: _snapshots(s, vm.id).add(wanted),
            lambda: find_snapshot(engine, vm.id, description),
        )

    def _wait_ok(self) -> None:
        name = self._vm.name

        def probe() -> Any | None:
            snapshot = read_snapshot(self._engine, self._vm.id, self.id)
            if snapshot is None:
                raise BackupFailed(
                    f"The engine could not take a snapshot of VM {name}.", "Look at the engine's events."
                )
            return snapshot if str(snapshot.snapshot_status) == "ok" else None

        patience = self._engine.patience
        snapshot = patience.wait(f"the snapshot of VM {name}", probe, patience.snapshot)
        self.date = utc(snapshot.date)

    def _check_made(self, mark: EventMark) -> None:
        """`ok` is said of a snapshot without volumes, too."""
        failure = snapshot_failure(mark, self._vm.id, self._told_as)
        if failure:
            raise BackupFailed(
                f"The snapshot of VM {self._vm.name} is called ok, but: {failure}",
                "Its newest layers may be missing on the storage: look at the engine's log before the VM is"
                " stopped.",
            )

    def _read_layers(self) -> None:
        self.frozen = frozen_layers(self._engine, self._vm.id, self.id)

    def ask_to_go(self) -> None:
        """Ask the engine to merge the snapshot away. Does not wait; all transfers of it must have ended."""
        if not self._asked_to_go:
            remove_snapshot(self._engine, self._vm.id, self.id)
            self._asked_to_go = True

    def wait_gone(self) -> str | None:
        """Wait for the merge; None when the snapshot is gone, else why it is still there."""
        reason = wait_merged(self._engine, self._vm.id, self.id)
        if reason is None:
            self._tracked.gone()
        return reason

    def abort(self) -> None:
        """Remove the snapshot, whatever its state, and wait until it is gone."""
        if not self._tracked.there():
            return
        self.ask_to_go()
        left = self.wait_gone()
        if left:
            log.warning("%s", left)


# -- by id, for this run and for the one that cleans up after it ------------------------------------------


def _snapshots(system: Any, vm_id: str) -> Any:
    return system.vms_service().vm_service(vm_id).snapshots_service()


def read_snapshot(engine: Engine, vm_id: str, snapshot_id: str) -> Any | None:
    """The engine's snapshot; None if there is none."""
    try:
        return engine.call(
            f"read the snapshot {snapshot_id}",
            lambda s: _snapshots(s, vm_id).snapshot_service(snapshot_id).get(),
        )
    except NotFound:
        return None


def find_snapshot(engine: Engine, vm_id: str, description: str) -> str | None:
    """The id of the snapshot with that description, if it came to be."""
    found = engine.call(f"list the snapshots of VM {vm_id}", lambda s: _snapshots(s, vm_id).list())
    return next((str(s.id) for s in found or () if s.description == description), None)


def snapshot_failure(mark: EventMark, vm_id: str, description: str) -> str | None:
    """What the engine's events say against a snapshot that it calls ok."""
    told = mark.texts(SNAPSHOT_FAILED, vm_id)
    return next((text for text in told if description in text), None)


def frozen_layers(engine: Engine, vm_id: str, snapshot_id: str) -> dict[str, str]:
    """Disk id -> the image id of the layer that the snapshot froze."""
    disks = engine.call(
        f"list the disks of the snapshot {snapshot_id}",
        lambda s: _snapshots(s, vm_id).snapshot_service(snapshot_id).disks_service().list(),
    )
    return {disk.id: disk.image_id for disk in disks or ()}


def remove_snapshot(engine: Engine, vm_id: str, snapshot_id: str) -> None:
    """Ask for the removal of a snapshot, which may still be locked; one that is not there is fine."""

    def unlocked() -> bool | None:
        snapshot = read_snapshot(engine, vm_id, snapshot_id)
        return None if snapshot is not None and str(snapshot.snapshot_status) == "locked" else True

    engine.patience.wait(f"snapshot {snapshot_id} to settle", unlocked, engine.patience.snapshot)
    try:
        engine.call(
            f"remove the snapshot {snapshot_id}",
            lambda s: _snapshots(s, vm_id).snapshot_service(snapshot_id).remove(),
            wait_for_locks=engine.patience.lock,
        )
    except NotFound:
        return


def wait_merged(engine: Engine, vm_id: str, snapshot_id: str) -> str | None:
    """Wait until a snapshot that was asked to go is gone; otherwise why it is still there."""
    started = time.monotonic()
    seen_locked = False

    def probe() -> str | None:
        nonlocal seen_locked
        snapshot = read_snapshot(engine, vm_id, snapshot_id)
        if snapshot is None:
            return ""
        if str(snapshot.snapshot_status) != "ok":
            seen_locked = True
            return None
        # Unlocked and still there: the merge failed. Before it was seen locked, it may just not have begun.
        if seen_locked or time.monotonic() - started > engine.patience.unclear:
            return f"snapshot {snapshot.description} ({snapshot_id}) of VM {vm_id} could not be merged"
        return None

    return engine.patience.wait(f"snapshot {snapshot_id} to be merged", probe, engine.patience.merge) or None


def merge_away(engine: Engine, vm_id: str, snapshot_id: str) -> str | None:
    """Remove a snapshot and wait for the merge; None when it is gone, else why it is still there."""
    if read_snapshot(engine, vm_id, snapshot_id) is None:
        return None
    try:
        remove_snapshot(engine, vm_id, snapshot_id)
        return wait_merged(engine, vm_id, snapshot_id)
    except (EngineRefused, Timeout) as error:
        return error.message
