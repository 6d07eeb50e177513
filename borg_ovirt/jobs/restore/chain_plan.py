"""The plan of a restore of snapshot chains: disks, snapshots in their order, ids. Pure."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from borg_ovirt.blocks import MiB
from borg_ovirt.errors import ArchiveNotFound
from borg_ovirt.jobs.restore.plan import DiskPlan, RestoreChoices, RestorePlan, Site, plan_restore
from borg_ovirt.repository.layout import DiskRecord, LayerRecord, Manifest, SnapshotRecord

_EXTENT = 128 * MiB
"""Volumes on block storage come in multiples of this."""
TEMPLATE_STEP = "image of the template"
_TAKEN = re.compile(r" \(taken \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)$")


@dataclass(frozen=True)
class LayerPlan:
    """A layer to upload, and the ids it gets."""

    record: LayerRecord
    image_id: str
    backing: str | None
    """The parent's new id, where its header names another one."""


@dataclass(frozen=True)
class NextLayer:
    """The layer that a snapshot puts on a disk."""

    image_id: str | None
    """None: one that stays empty, under an id of the engine's choice."""
    initial_size: int | None


@dataclass(frozen=True)
class SnapshotStep:
    """A snapshot to take of the restored VM: it gives each of its disks the next layer."""

    description: str
    layers: Mapping[str, NextLayer]
    """By the new id of the disk."""


@dataclass(frozen=True)
class ChainDisk:
    """A disk to make out of its layers, base first."""

    base: DiskPlan
    layers: tuple[LayerPlan, ...]


@dataclass(frozen=True)
class ChainPlan:
    """What a restore of chains would do."""

    restore: RestorePlan
    disks: tuple[ChainDisk, ...]
    steps: tuple[SnapshotStep, ...]

    @property
    def blockers(self) -> tuple[str, ...]:
        return self.restore.blockers

    def lines(self) -> list[str]:
        """The plan in words."""
        words = self.restore.lines()
        words += [f"{disk.base.record.alias}: {len(disk.layers)} layers" for disk in self.disks]
        words += [f"snapshot {step.description} of {len(step.layers)} disks" for step in self.steps]
        return words


def as_of(manifest: Manifest, snapshot: str) -> tuple[Manifest, SnapshotRecord]:
    """The archive as if the VM had ended at one of its snapshots (by description or id).

    The layers that the snapshot froze become the active ones; younger layers and snapshots are left out, and
    so are the disks that the snapshot does not cover.
    """
    found = [s for s in manifest.snapshots if snapshot in (s.id, s.description)]
    if len(found) != 1:
        have = ", ".join(f"{s.description} ({s.id})" for s in manifest.snapshots) or "none"
        what = "no snapshot" if not found else f"{len(found)} snapshots called"
        raise ArchiveNotFound(f"The archive has {what} {snapshot}; it has {have}.", "Name it by its id.")
    chosen = found[0]
    disks = tuple(cut for disk in manifest.disks if (cut := _cut(disk, chosen.id)))
    older = manifest.snapshots[: manifest.snapshots.index(chosen)]
    return manifest.model_copy(update={"disks": disks, "snapshots": older}), chosen


def _cut(disk: DiskRecord, snapshot_id: str) -> DiskRecord | None:
    for index, layer in enumerate(disk.layers):
        if layer.snapshot_id == snapshot_id:
            return disk.model_copy(
                update={
                    "layers": disk.layers[: index + 1],
                    "size": layer.capacity,
                    "image_id": layer.image_id,
                    "format": layer.format,
                    "sparse": layer.sparse,
                }
            )
    return None


def plan_chains(manifest: Manifest, site: Site, choices: RestoreChoices) -> ChainPlan:
    """Lay out the restore of a chain archive with all its snapshots."""
    bases = {disk.id: _as_base(disk) for disk in manifest.disks}
    plain = plan_restore(manifest.model_copy(update={"disks": tuple(bases.values())}), site, choices)
    beside = bool(plain.ids)
    ids = dict(plain.ids)
    disks = []
    for base in plain.disks:
        record = next(disk for disk in manifest.disks if disk.id == base.record.id)
        base = _roomy(base, record.layers[0])
        layers = _layers(record, base, fresh=beside)
        if beside:
            ids.update({layer.record.image_id: layer.image_id for layer in layers})
        disks.append(ChainDisk(base, layers))
    steps, trouble = _steps(manifest, disks)
    notes = [
        f"snapshot {s.description} comes back without its memory" for s in manifest.snapshots if s.memory
    ]
    if any(step.description == TEMPLATE_STEP for step in steps):
        notes.append(
            "disks made from a template come back independent of it: its image is their lowest layer, "
            f"under a snapshot called {TEMPLATE_STEP!r}"
        )
    restore = replace(
        plain,
        disks=tuple(d.base for d in disks),
        ids=ids,
        blockers=(*plain.blockers, *trouble),
        notes=(*plain.notes, *notes),
    )
    return ChainPlan(restore, tuple(disks), tuple(steps))


def _as_base(disk: DiskRecord) -> DiskRecord:
    """The disk as it has to be made: of its base layer's form, with its latest size (layers inherit it)."""
    base = disk.layers[0]
    return disk.model_copy(
        update={
            "format": base.format,
            "sparse": base.sparse,
            # A template's image may still be there, so it cannot come back under its own id.
            "image_id": None if base.template else base.image_id,
            "backup": disk.backup if base.format == "cow" else "none",
            "run": None,
            "actual_size": sum(layer.actual_size or layer.size for layer in disk.layers),
        }
    )


def _roomy(base: DiskPlan, layer: LayerRecord) -> DiskPlan:
    """A preallocated qcow2 volume on block storage has room for the data, but not for all tables besides."""
    volume = -(-base.record.size // _EXTENT) * _EXTENT
    if not base.domain.block or base.format == "raw" or base.sparse or layer.size <= volume:
        return base
    note = "qcow2 preallocated becomes sparse: its file is larger than the volume would be"
    return replace(base, sparse=True, notes=(*base.notes, note))


def _layers(disk: DiskRecord, base: DiskPlan, *, fresh: bool) -> tuple[LayerPlan, ...]:
    planned: list[LayerPlan] = []
    for record in disk.layers:
        if not planned:
            image_id = base.image_id
        else:
            image_id = str(uuid.uuid4()) if fresh or record.template else record.image_id
        below = planned[-1].image_id if planned else None
        planned.append(LayerPlan(record, image_id, below if below != record.parent else None))
    return tuple(planned)


def _steps(manifest: Manifest, disks: Sequence[ChainDisk]) -> tuple[list[SnapshotStep], list[str]]:
    """A snapshot for each original one, oldest first, and what is wrong with the layers, if anything."""
    reached = dict.fromkeys((disk.base.disk_id for disk in disks), 0)
    steps = []
    while growing := [
        d for d in disks if d.layers[reached[d.base.disk_id]].record.template and _more(d, reached)
    ]:
        steps.append(_step(TEMPLATE_STEP, growing, reached))
    for snapshot in manifest.snapshots:
        covered = [d for d in disks if d.layers[reached[d.base.disk_id]].record.snapshot_id == snapshot.id]
        steps.append(_step(describe(snapshot), covered, reached))
    trouble = [
        f"the layers of disk {disk.base.record.alias} do not follow the snapshots of the archive"
        for disk in disks
        if _more(disk, reached)
    ]
    return steps, trouble


def _more(disk: ChainDisk, reached: Mapping[str, int]) -> bool:
    return reached[disk.base.disk_id] + 1 < len(disk.layers)


def _step(description: str, disks: Sequence[ChainDisk], reached: dict[str, int]) -> SnapshotStep:
    layers = {}
    for disk in disks:
        disk_id = disk.base.disk_id
        if not _more(disk, reached):  # the layer was on top in the archive: what comes above it is new
            layers[disk_id] = NextLayer(None, None)
            continue
        reached[disk_id] += 1
        above = disk.layers[reached[disk_id]]
        layers[disk_id] = NextLayer(above.image_id, initial_size(disk.base, above.record))
    return SnapshotStep(description, layers)


def most_bytes(base: DiskPlan) -> int:
    """Length of the largest qcow2 file that the engine makes room for in a layer of a disk."""
    most = math.ceil(base.record.size * 1.1)
    return -(-most // _EXTENT) * _EXTENT if base.domain.block else most + MiB


def initial_size(base: DiskPlan, layer: LayerRecord) -> int | None:
    """What a thin volume on block storage must have at first so that the layer's file fits; else None."""
    thin = layer.sparse or base.sparse
    if not base.domain.block or layer.format == "raw" or not thin:
        return None
    return min(layer.size, most_bytes(base))


def describe(snapshot: SnapshotRecord) -> str:
    """The description of a restored snapshot: the engine lets nobody set its date, so it is told there."""
    if snapshot.date is None or _TAKEN.search(snapshot.description):
        return snapshot.description
    return f"{snapshot.description} (taken {snapshot.date:%Y-%m-%d %H:%M:%S} UTC)"
