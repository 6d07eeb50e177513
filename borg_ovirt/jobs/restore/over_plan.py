"""The plan of writing an archived disk over one that exists: which ids meet, and everything in the way."""

from __future__ import annotations

from dataclasses import dataclass

from borg_ovirt.ovirt.facts.vm import read_disk
from borg_ovirt.ovirt.make.machines import vms_of_disk
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.repository.layout import DiskRecord, Manifest
from borg_ovirt.units import format_size


@dataclass(frozen=True)
class OverPlan:
    """What would be overwritten."""

    record: DiskRecord | None
    disk_id: str
    alias: str
    size: int
    """Bytes of the disk to be overwritten; what lies past the archived size becomes zeros."""
    format: str
    blockers: tuple[str, ...]

    @property
    def title(self) -> str:
        """What is written, in a line."""
        return f"disk {self.alias} ({self.disk_id}) overwritten"

    def lines(self) -> list[str]:
        """The plan in words."""
        words = []
        if self.record is not None:
            words.append(
                f"disk {self.alias} ({self.disk_id}, {format_size(self.size)}) is overwritten with "
                f"{self.record.alias} ({self.record.id}, {format_size(self.record.size)})"
            )
            words.append(
                "its present content is lost; if the upload fails, the engine removes the whole disk"
            )
        return words + [f"BLOCKED: {blocker}" for blocker in self.blockers]


def plan_over(engine: Engine, manifest: Manifest, archived: str, disk_id: str, yes: bool) -> OverPlan:
    """Find both disks and check that the one may become the other."""
    blockers = []
    records = [d for d in manifest.disks if archived in (d.alias, d.id)]
    if len(records) != 1:
        have = ", ".join(d.alias or d.id for d in manifest.disks)
        blockers.append(
            f"the archive has {'several disks' if records else 'no disk'} {archived}; it has {have}"
        )
    record = records[0] if len(records) == 1 else None
    try:
        disk = read_disk(engine, disk_id)
    except NotFound:
        blockers.append(f"there is no disk {disk_id} in the engine")
        return OverPlan(record, disk_id, disk_id, 0, "", tuple(blockers))
    reason = disk.skip_reason
    if reason:
        blockers.append(f"disk {disk.alias} cannot be written: {reason}")
    if disk.status != "ok":
        blockers.append(f"disk {disk.alias} is {disk.status}")
    for name, status in vms_of_disk(engine, disk_id):
        if status != "down":
            blockers.append(f"VM {name}, which uses the disk, is {status}: shut it down")
    if record is not None and disk.size < record.size:
        blockers.append(
            f"disk {disk.alias} has {format_size(disk.size)}, the archived one {format_size(record.size)}"
        )
    if not yes:
        blockers.append("say --yes to overwrite it")
    return OverPlan(record, disk.id, disk.alias or disk.id, disk.size, disk.format, tuple(blockers))
