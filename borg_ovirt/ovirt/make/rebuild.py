"""Snapshots of a restored VM: each puts layers of chosen image ids on its disks, to be filled by uploads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from borg_ovirt.errors import RestoreFailed
from borg_ovirt.ovirt.capture.snapshot import read_snapshot, snapshot_failure
from borg_ovirt.ovirt.facts.vm import read_snapshots
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.events import EventMark
from borg_ovirt.ovirt.session.trouble import Lost
from borg_ovirt.ovirt.tracked.objects import make_once


class Above(NamedTuple):
    """The layer to put on a disk."""

    image_id: str | None
    """None leaves the id to the engine."""
    initial_size: int | None
    """Block domains: bytes that the layer's volume must have for the upload to fit."""


def add_snapshot(engine: Engine, vm_id: str, description: str, layers: Mapping[str, Above]) -> str:
    """Take a snapshot of these disks (ids) and wait for it; no disk at all is a snapshot of the VM alone.

    The image id that is given becomes that of the layer on top; the one that was on top is frozen.
    """
    t = types()
    attachments = [
        t.DiskAttachment(disk=t.Disk(id=disk_id, image_id=above.image_id, initial_size=above.initial_size))
        for disk_id, above in layers.items()
    ]
    wanted = t.Snapshot(
        description=description or "restored snapshot",
        persist_memorystate=False,
        # An empty list breaks the engine (500, seen on 4.5.8); an attachment that says nothing names no disk.
        disk_attachments=attachments or [t.DiskAttachment()],
    )
    what = f"make the snapshot {wanted.description}"
    mark = EventMark(engine)
    # Others may be called the same. The active one's id passes to what is made.
    before = {s.id for s in read_snapshots(engine, vm_id) if s.type != "active"}
    snapshot_id = make_once(
        engine,
        what,
        lambda s: s.vms_service().vm_service(vm_id).snapshots_service().add(wanted),
        lambda: _find(engine, vm_id, wanted.description, before),
        Lost(engine.patience),
    )

    def probe() -> Any | None:
        snapshot = read_snapshot(engine, vm_id, snapshot_id)
        if snapshot is None:
            raise RestoreFailed(f"The engine could not {what}.", "The engine's events tell why.")
        return snapshot if str(snapshot.snapshot_status) == "ok" else None

    engine.patience.wait(f"the snapshot {wanted.description}", probe, engine.patience.snapshot)
    failure = snapshot_failure(mark, vm_id, wanted.description)
    if failure:
        raise RestoreFailed(f"The engine could not {what}: {failure}", "Its log tells why.")
    return snapshot_id


def _find(engine: Engine, vm_id: str, description: str, before: Collection[str]) -> str | None:
    found = read_snapshots(engine, vm_id)
    return next((s.id for s in found if s.description == description and s.id not in before), None)
