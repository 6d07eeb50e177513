"""What the disks are at the instant: asked again when it is made, for much can happen since a first look.

A disk that grew, moved or got another layer is described as it is now. One that was detached is gone: what is
read of it could not be described.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from borg_ovirt.errors import BackupFailed
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.chain import read_chain
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.ovirt.facts.vm import read_disks

_OF_THE_VOLUME = ("image_id", "format", "sparse", "qcow_version", "actual_size", "total_size")
"""What the engine tells of a disk's active layer: under a snapshot that is a new one."""


def disks_now(captured: Capture, disks: Sequence[DiskFacts]) -> list[DiskFacts]:
    """These disks as they are now, with the layer that is active now. `captured` learns all the VM has."""
    vm = captured.vm
    now = {disk.id: disk for disk in read_disks(captured.engine, vm.id)}
    captured.vm = replace(vm, disks=tuple(now.values()))
    for disk in disks:
        if disk.id not in now:
            raise BackupFailed(
                f"Disk {disk.alias or disk.id} was detached from VM {vm.name} while its backup began.",
                "Nothing was stored. Try again.",
            )
        for change in _changes(disk, now[disk.id]):
            captured.log(f"disk {disk.alias or disk.id} changed while the backup began: {change}")
    return [now[disk.id] for disk in disks]


def disks_at_the_instant(captured: Capture, disks: Sequence[DiskFacts]) -> list[DiskFacts]:
    """These disks with the layer that is read: under a snapshot that is the one it froze."""
    now = disks_now(captured, disks)
    frozen = captured.made_by.frozen
    if frozen is None:
        return now
    found = []
    for before, disk in zip(disks, now, strict=True):
        if disk.active:  # only what is plugged in is read through the snapshot
            disk = _with_layer(captured, before, disk, frozen.get(disk.id, before.image_id))
        found.append(disk)
    return found


def _with_layer(captured: Capture, before: DiskFacts, now: DiskFacts, image_id: str | None) -> DiskFacts:
    if image_id == before.image_id:
        return replace(now, **{name: getattr(before, name) for name in _OF_THE_VOLUME})
    layers = read_chain(captured.engine, now, captured.vm).layers
    layer = next((layer for layer in layers if layer.image_id == image_id), None)
    if layer is None:
        raise BackupFailed(
            f"The engine does not list layer {image_id} of disk {now.alias or now.id}, which is to be read.",
            "Nothing was stored. Try again.",
        )
    return replace(
        now,
        image_id=layer.image_id,
        format=layer.format,
        sparse=layer.sparse,
        qcow_version=layer.qcow_version,
        actual_size=layer.actual_size,
        total_size=None,
    )


def _changes(before: DiskFacts, now: DiskFacts) -> Iterator[str]:
    if before.size != now.size:
        yield f"it had {before.size} bytes and has {now.size}"
    if before.storage_domain != now.storage_domain:
        yield "it was moved to another storage domain"
    if before.active != now.active:
        yield "it was plugged in" if now.active else "it was unplugged"
