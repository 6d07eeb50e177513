"""Snapshot chains in a plan: the layers of a disk, the snapshots that put them there, their ids. Pure."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

from borg_ovirt.blocks import MiB
from borg_ovirt.jobs.restore.health import Health
from borg_ovirt.jobs.restore.placing import Placing
from borg_ovirt.jobs.restore.plan import DiskPlan, LayerPlan, NextLayer, SnapshotStep
from borg_ovirt.jobs.restore.wanted import WantedDisk
from borg_ovirt.qcow2 import Header, backing_patch
from borg_ovirt.repository.layout import LayerRecord, Manifest, SnapshotRecord

_EXTENT = 128 * MiB
"""Volumes on block storage come in multiples of this."""
TEMPLATE_STEP = "image of the template"
_TAKEN = re.compile(r" \(taken \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)$")


def place_chain(placing: Placing, disk: WantedDisk, health: Health) -> DiskPlan:
    """A disk to make of its layers: of its base layer's form, with its latest size (layers inherit it)."""
    record, base = disk.record, disk.layers[0]
    as_base = record.model_copy(
        update={
            "format": base.format,
            "sparse": base.sparse,
            # A template's image may still be there, so it cannot come back under its own id.
            "image_id": None if base.template else base.image_id,
            "backup": record.backup if base.format == "cow" else "none",
        }
    )
    made = _roomy(placing.place(replace(disk, record=as_base)), base)
    layers = _layers(disk, made, placing.options.fresh, health.headers)
    return replace(made, source=disk, layers=layers, initial_size=initial_size(made, base))


def _roomy(made: DiskPlan, base: LayerRecord) -> DiskPlan:
    """A preallocated qcow2 volume on block storage has room for the data, but not for all tables besides."""
    volume = -(-made.size // _EXTENT) * _EXTENT
    if not made.domain.block or made.format == "raw" or made.sparse or base.size <= volume:
        return made
    note = "qcow2 preallocated becomes sparse: its file is larger than the volume would be"
    return replace(made, sparse=True, notes=(*made.notes, note))


def _layers(
    disk: WantedDisk, made: DiskPlan, fresh: bool, headers: Mapping[str, Header]
) -> tuple[LayerPlan, ...]:
    planned: list[LayerPlan] = []
    for record in disk.layers:
        patch = None
        if not planned:
            image_id = made.image_id
        else:
            image_id = str(uuid.uuid4()) if fresh or record.template else record.image_id
            header, below = headers.get(record.image_id), planned[-1].image_id
            if header is not None and header.backing != below:
                patch = backing_patch(header, below)
        # A file from block storage holds its whole volume, which may be more than fits into the layer made.
        most = most_bytes(made) if record.format == "cow" and record.size > most_bytes(made) else None
        planned.append(LayerPlan(record, image_id, patch, most))
    return tuple(planned)


def snapshot_steps(
    manifest: Manifest, disks: Sequence[DiskPlan], blockers: list[str]
) -> tuple[SnapshotStep, ...]:
    """A snapshot for each original one, oldest first; layers that none accounts for are in the way."""
    reached = dict.fromkeys((disk.disk_id for disk in disks), 0)
    steps = []

    def top(disk: DiskPlan) -> LayerRecord:
        return disk.layers[reached[disk.disk_id]].record

    def more(disk: DiskPlan) -> bool:
        return reached[disk.disk_id] + 1 < len(disk.layers)

    while growing := [d for d in disks if top(d).template and more(d)]:
        steps.append(_step(TEMPLATE_STEP, growing, reached))
    for snapshot in manifest.snapshots:
        covered = [d for d in disks if top(d).snapshot_id == snapshot.id]
        steps.append(_step(describe(snapshot), covered, reached))
    blockers += [
        f"the layers of disk {disk.alias} do not follow the snapshots of the archive"
        for disk in disks
        if more(disk)
    ]
    return tuple(steps)


def _step(description: str, disks: Sequence[DiskPlan], reached: dict[str, int]) -> SnapshotStep:
    layers = {}
    for disk in disks:
        place = reached[disk.disk_id] + 1
        if place == len(disk.layers):  # the layer was on top in the archive: what comes above it is new
            layers[disk.disk_id] = NextLayer(None, None)
            continue
        reached[disk.disk_id] = place
        above = disk.layers[place]
        layers[disk.disk_id] = NextLayer(above.image_id, initial_size(disk, above.record))
    return SnapshotStep(description, layers)


def chain_notes(manifest: Manifest, steps: Sequence[SnapshotStep]) -> list[str]:
    """What comes back otherwise than it was, because the engine gives no choice."""
    notes = [
        f"snapshot {s.description} comes back without its memory" for s in manifest.snapshots if s.memory
    ]
    if any(step.description == TEMPLATE_STEP for step in steps):
        notes.append(
            "disks made from a template come back independent of it: its image is their lowest layer, "
            f"under a snapshot called {TEMPLATE_STEP!r}"
        )
    return notes


def most_bytes(disk: DiskPlan) -> int:
    """Length of the largest qcow2 file that the engine makes room for in a layer of a disk."""
    most = math.ceil(disk.size * 1.1)
    return -(-most // _EXTENT) * _EXTENT if disk.domain.block else most + MiB


def initial_size(disk: DiskPlan, layer: LayerRecord) -> int | None:
    """What a thin volume on block storage must have at first so that the layer's file fits; else None."""
    thin = layer.sparse or disk.sparse
    if not disk.domain.block or layer.format == "raw" or not thin:
        return None
    return min(layer.size, most_bytes(disk))


def describe(snapshot: SnapshotRecord) -> str:
    """The description of a restored snapshot: the engine lets nobody set its date, so it is told there."""
    if snapshot.date is None or _TAKEN.search(snapshot.description):
        return snapshot.description
    return f"{snapshot.description} (taken {snapshot.date:%Y-%m-%d %H:%M:%S} UTC)"
