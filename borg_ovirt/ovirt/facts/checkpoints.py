"""The checkpoints that the engine keeps of a VM, each the start of an incremental backup."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from borg_ovirt.ovirt.facts.vm import utc
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound

SINGLE_LEVEL = (4, 6)
"""From this cluster level on the host has to know only the checkpoint that is worked on, before: all."""


@dataclass(frozen=True)
class CheckpointFacts:
    """A checkpoint."""

    id: str
    description: str
    """That of the backup which made it."""
    state: str
    """`created` or `invalid`."""
    parent: str | None
    created: datetime


def list_checkpoints(engine: Engine, vm_id: str) -> list[CheckpointFacts]:
    """The VM's checkpoints, root first; none where the engine is too old to have any."""
    try:
        found = engine.call(
            f"list the checkpoints of VM {vm_id}",
            lambda s: s.vms_service().vm_service(vm_id).checkpoints_service().list(),
        )
    except NotFound:
        return []
    return [
        CheckpointFacts(
            id=checkpoint.id,
            description=checkpoint.description or "",
            state=str(checkpoint.state or "created"),
            parent=checkpoint.parent_id,
            created=utc(checkpoint.creation_date),
        )
        for checkpoint in found or ()
    ]


def checkpoint_disks(engine: Engine, vm_id: str, checkpoint_id: str) -> list[str]:
    """The ids of the disks that a checkpoint covers."""
    found = engine.call(
        f"list the disks of checkpoint {checkpoint_id}",
        lambda s: (
            s.vms_service()
            .vm_service(vm_id)
            .checkpoints_service()
            .checkpoint_service(checkpoint_id)
            .disks_service()
            .list()
        ),
    )
    return [disk.id for disk in found or ()]


def resting_disks(engine: Engine, vm_id: str, checkpoint_id: str) -> list[str]:
    """The ids of the disks that a checkpoint covers and that the VM has, though they are not plugged in."""
    attachments = engine.call(
        f"list the disks of VM {vm_id}",
        lambda s: s.vms_service().vm_service(vm_id).disk_attachments_service().list(),
    )
    resting = {a.disk.id for a in attachments or () if a.disk and not a.active}
    return (
        [disk for disk in checkpoint_disks(engine, vm_id, checkpoint_id) if disk in resting]
        if resting
        else []
    )


def remove_checkpoint(engine: Engine, vm_id: str, checkpoint_id: str) -> None:
    """Remove a checkpoint and wait until it is gone; one that is not there is fine."""
    try:
        engine.call(
            f"remove the checkpoint {checkpoint_id}",
            lambda s: (
                s.vms_service()
                .vm_service(vm_id)
                .checkpoints_service()
                .checkpoint_service(checkpoint_id)
                .remove()
            ),
            wait_for_locks=engine.patience.lock,
        )
    except NotFound:
        return

    def probe() -> bool | None:
        held = {checkpoint.id for checkpoint in list_checkpoints(engine, vm_id)}
        return None if checkpoint_id in held else True

    engine.patience.wait(f"checkpoint {checkpoint_id} to be removed", probe, engine.patience.machine)
