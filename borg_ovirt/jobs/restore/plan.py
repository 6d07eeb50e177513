"""The plan of a restore: what would be made, where and how large, and everything in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from borg_ovirt.jobs.restore.again import Again
from borg_ovirt.jobs.restore.nics import NicPlan
from borg_ovirt.jobs.restore.site import Domain, Target
from borg_ovirt.jobs.restore.wanted import Wanted, WantedDisk
from borg_ovirt.qcow2 import Patch
from borg_ovirt.repository.layout import LayerRecord
from borg_ovirt.units import format_size


@dataclass(frozen=True)
class LayerPlan:
    """A layer to upload as it lies, and the id it gets."""

    record: LayerRecord
    image_id: str
    patch: Patch | None = field(default=None, repr=False)
    """Its parent's new id, where its header names another one."""
    most: int | None = None
    """Bytes that its volume has room for, where the file may be longer: a volume of block storage."""


@dataclass(frozen=True)
class DiskPlan:
    """A disk of the engine to write: made for it, or one that exists."""

    source: WantedDisk
    layers: tuple[LayerPlan, ...]
    """Base first; none where the disk comes as one image."""
    disk_id: str
    image_id: str
    alias: str
    size: int
    """Bytes; what lies past the archived size becomes zeros."""
    domain: Domain
    format: str
    sparse: bool
    backup: str = "none"
    initial_size: int | None = None
    """Block domains: first size of the base layer's volume."""
    quota: str | None = None
    """Id of the quota that it counts against, where the engine has the archived one."""
    exists: bool = False
    notes: tuple[str, ...] = ()

    @property
    def reads_zero(self) -> bool:
        """A fresh raw volume on block storage holds what was there before; all other new ones are zeros."""
        return not self.exists and not (self.domain.block and self.format == "raw")

    def lines(self) -> list[str]:
        """The disk in words."""
        if self.exists:
            record = self.source.record
            return [
                f"disk {self.alias} ({self.disk_id}, {format_size(self.size)}) is overwritten with "
                f"{record.alias} ({record.id}, {format_size(record.size)})"
            ]
        kind = f"{self.format}, {'sparse' if self.sparse else 'preallocated'}"
        words = [
            f"disk {self.alias} ({self.disk_id}): {format_size(self.size)}, {kind}, "
            f"on {self.domain.name or 'no storage domain'}"
        ]
        words += [f"  note: {note}" for note in self.notes]
        if self.layers:
            words.append(f"{self.alias}: {len(self.layers)} layers")
        return words


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
class VmPlan:
    """A VM to import."""

    id: str
    name: str
    cluster_id: str
    cluster_name: str
    ids: Mapping[str, str]
    """Old id -> new id, everywhere in the OVF; empty for a restore as the original."""
    nics: tuple[NicPlan, ...] = ()
    again: Again = field(default_factory=Again)


@dataclass(frozen=True)
class FilePlan:
    """A file to write."""

    path: Path
    size: int
    """Bytes as a guest sees them."""
    item: str | None = None
    """What of the archive it holds; None for an image joined from the layers of `disk`."""
    disk: WantedDisk | None = None
    form: str = "raw"
    """Of an image or a layer: `raw` or `qcow2`."""
    text: bytes | None = field(default=None, repr=False)
    """What is in it, of the small files."""


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do."""

    title: str
    """What is made, in a line."""
    disks: tuple[DiskPlan, ...] = ()
    vm: VmPlan | None = None
    """None: disks alone, attached to nothing, or files."""
    attach: Target | None = None
    """A VM that is there and gets the disks."""
    snapshots: tuple[SnapshotStep, ...] = ()
    files: tuple[FilePlan, ...] = ()
    blockers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    """What the VM had and does not get back."""
    advice: str | None = None
    """What to do instead, where the archive is damaged."""

    def lines(self) -> list[str]:
        """The plan in words."""
        words = [self.title] if self.title else []
        for disk in self.disks:
            words += disk.lines()
        words += [f"would write {file.path} ({format_size(file.size)})" for file in self.files]
        words += [f"snapshot {step.description} of {len(step.layers)} disks" for step in self.snapshots]
        if self.vm is not None:
            words += [line for nic in self.vm.nics for line in nic.lines()]
            words += self.vm.again.lines()
        words += [f"not restored: {what}" for what in self.lost]
        words += [f"note: {note}" for note in self.notes]
        words += [f"BLOCKED: {blocker}" for blocker in self.blockers]
        return [*words, self.advice] if self.advice else words


def missing_tool(wanted: Wanted, form: str | None = None) -> str | None:
    """The blocker where qemu-img is needed and not there."""
    if form == "qcow2" or any(disk.joined for disk in wanted.disks):
        what = "joining layers" if any(disk.joined for disk in wanted.disks) else "--format qcow2"
        return f"{what} needs qemu-img: install qemu-utils (or qemu-img)"
    return None
