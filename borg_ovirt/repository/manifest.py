"""The manifest, layout version 1: everything a restore needs besides the OVF and the disks' content."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from borg_ovirt.blocks import CELL
from borg_ovirt.repository.paths import chain_path, disk_path, layer_path
from borg_ovirt.repository.schema import Bytes, Cell, Count, Flag, Kind, Mode, Record, Uuid, When
from borg_ovirt.repository.settings import SettingsRecord


class LayerRecord(Record):
    """One volume of a disk's snapshot chain, as a file of its own."""

    image_id: Uuid
    snapshot_id: Uuid | None
    """The VM snapshot that owns the layer; None for a template's layer."""
    parent: Uuid | None
    child: Uuid | None = None
    description: str = ""
    date: When | None = None
    format: Literal["raw", "cow"]
    sparse: Flag = True
    qcow_version: str | None = None
    capacity: Bytes
    """Virtual size at this layer."""
    actual_size: Bytes | None = None
    size: Bytes
    """Bytes of the archived file."""
    storage_domain_id: Uuid | None = None
    storage_domain: str | None = None
    path: str
    template: Flag = False
    reused_from: str | None = None
    """The archive whose chunks were referred to instead of downloading the layer again."""


class SampleRecord(Record):
    """Reused cells that were read all the same, and how many differed."""

    asked: str
    cells: Count
    mismatches: Count


class DiskRunRecord(Record):
    """How this disk was read in this run. Sizes in bytes."""

    kind_asked: Kind
    kind: Kind
    reason: str | None = None
    """Why it was read in full although incremental was asked for."""
    way: str | None = None
    bytes_read: Bytes = 0
    bytes_zero: Bytes = 0
    bytes_reused: Bytes = 0
    bytes_stored: Bytes = 0
    """Bytes of cells that were new to the repository, before compression."""
    resumes: Count = 0
    sample: SampleRecord | None = None


class DiskRecord(Record):
    """A disk: what a restore has to make, where its content lies, how it was read."""

    id: Uuid
    alias: str
    description: str = ""
    size: Bytes
    """The exact virtual size; the OVF rounds it."""
    actual_size: Bytes | None = None
    format: Literal["raw", "cow"]
    sparse: Flag
    qcow_version: str | None = None
    image_id: Uuid | None = None
    storage_domain_id: Uuid | None = None
    storage_domain: str | None = None
    storage_type: str | None = None
    """Type of the storage domain: `nfs`, `iscsi`, `fcp` ..."""
    content_type: str = "data"
    backup: str = "none"
    """`incremental` if the disk keeps bitmaps."""
    interface: str | None = None
    bootable: Flag = False
    active: Flag = True
    read_only: Flag = False
    pass_discard: Flag = False
    uses_scsi_reservation: Flag = False
    wipe_after_delete: Flag = False
    propagate_errors: Flag = False
    disk_profile: str | None = None
    quota: str | None = None
    cell: Cell = CELL
    path: str
    """The item of the disk (image mode), or the folder of its layers (chain mode)."""
    layers: tuple[LayerRecord, ...] = ()
    """Base first; none in image mode."""
    run: DiskRunRecord | None = None

    @model_validator(mode="after")
    def _paths_and_chain(self) -> DiskRecord:
        if not self.layers:
            if self.path not in (disk_path(self.id), chain_path(self.id)):
                raise ValueError(f"path {self.path!r} is not that of disk {self.id}")
            return self
        if self.path != chain_path(self.id):
            raise ValueError(f"path {self.path!r} is not the folder of disk {self.id}")
        below: str | None = None
        for layer in self.layers:
            if layer.path != layer_path(self.id, layer.image_id):
                raise ValueError(f"path {layer.path!r} is not that of layer {layer.image_id}")
            if layer.parent != below:
                raise ValueError(f"layer {layer.image_id} has parent {layer.parent}, below it lies {below}")
            below = layer.image_id
        if len({layer.image_id for layer in self.layers}) != len(self.layers):
            raise ValueError(f"disk {self.id} has one layer twice")
        return self


class SnapshotRecord(Record):
    """A snapshot of the VM as it was at the time of the backup."""

    id: Uuid
    description: str = ""
    date: When | None = None
    memory: Flag = False
    """It held memory, which no backup keeps."""


class VmRecord(Record):
    """The VM as far as the OVF does not tell it, or tells it in a form that is hard to read."""

    id: Uuid
    name: str
    description: str = ""
    status: str | None = None
    cluster_id: Uuid | None = None
    cluster: str | None = None
    data_center_id: Uuid | None = None
    data_center: str | None = None
    level: str | None = None
    """Compatibility level, as `4.7`."""
    bios_type: str | None = None
    tpm: Flag = False
    template_id: Uuid | None = None
    tags: tuple[str, ...] = ()
    settings: SettingsRecord | None = None
    """What no OVF brings back; None in archives that were made before it was asked for."""


class BaseRecord(Record):
    """The archive whose chunks this one refers to."""

    name: str
    id: str


class RunRecord(Record):
    """The run that made the archive."""

    tool_version: str
    borg_version: str | None = None
    host: str
    """Where the tool ran."""
    engine: str
    """Host (and port) of the engine's URL."""
    engine_id: str | None = None
    """The engine's own id: the same under every name that it is reached by."""
    engine_version: str | None = None
    mode_asked: Mode = "image"
    kind_asked: Kind = "incremental"
    kind: Kind
    reason: str | None = None
    """Why the run is a full one although incremental was asked for."""
    way: str
    way_reason: str | None = None
    consistency_asked: str
    consistency: str
    backup_id: Uuid | None = None
    from_checkpoint: Uuid | None = None
    to_checkpoint: Uuid | None = None
    base: BaseRecord | None = None
    cell: Cell = CELL
    resumes: Count = 0
    started: When
    instant: When | None = None
    """The point in time that the content shows."""
    ended: When


class SkippedDisk(Record):
    """A disk of the VM that is not in the archive."""

    id: str
    alias: str
    reason: str
    size: Bytes = 0
    expected: Flag = False
    """Left out because the user said so, not because it could not be read."""


class Manifest(Record):
    """Everything a restore needs besides the OVF and the disks' content."""

    tool: Literal["borg-ovirt"] = "borg-ovirt"
    layout: Literal[1] = 1
    mode: Mode
    vm: VmRecord
    disks: tuple[DiskRecord, ...]
    snapshots: tuple[SnapshotRecord, ...] = ()
    """The VM's snapshots, oldest first."""
    run: RunRecord
    skipped: tuple[SkippedDisk, ...] = ()
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _mode_and_ids(self) -> Manifest:
        if len({disk.id for disk in self.disks}) != len(self.disks):
            raise ValueError("a disk is listed twice")
        if len({snapshot.id for snapshot in self.snapshots}) != len(self.snapshots):
            raise ValueError("a snapshot is listed twice")
        for disk in self.disks:
            expected = disk_path(disk.id) if self.mode == "image" else chain_path(disk.id)
            if disk.path != expected or (self.mode == "chain") != bool(disk.layers):
                raise ValueError(f"disk {disk.id} does not fit mode {self.mode}")
        return self

    @property
    def contents(self) -> dict[str, int]:
        """Every disk item with its exact size."""
        if self.mode == "image":
            return {disk.path: disk.size for disk in self.disks}
        return {layer.path: layer.size for disk in self.disks for layer in disk.layers}

    def to_json(self) -> bytes:
        """The manifest as the archive holds it; equal manifests give equal bytes."""
        return self.model_dump_json(indent=2).encode() + b"\n"
