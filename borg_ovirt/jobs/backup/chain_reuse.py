"""Which layers of a chain an earlier archive holds as they are now, so that they need not be read again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.backup.base import newest_first
from borg_ovirt.ovirt.facts.chain import LayerFacts
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import DiskRecord, LayerRecord, Manifest
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader, DiskContent


@dataclass(frozen=True)
class OldLayer:
    """A layer in an earlier archive that is the one in the engine now."""

    archive: str
    record: LayerRecord
    content: DiskContent


@dataclass(frozen=True)
class Earlier:
    """The archive that layers may be referred to in; without one, why every layer is read."""

    info: ArchiveInfo | None = None
    reader: ArchiveReader | None = None
    reason: str | None = None
    fallback: bool = False
    """Reading everything is a step back, not the plan."""

    def find(
        self, disk_id: str, layer: LayerFacts, child: str | None, regular: Collection[str], cell: int
    ) -> tuple[OldLayer | None, str | None]:
        """The layer in the earlier archive, or why it is read (again).

        `child` is the image above it now, `regular` the ids of the VM's snapshots without our temporary one.
        """
        if self.reader is None or self.info is None:
            return None, self.reason
        manifest = self.reader.manifest
        disk = next((d for d in manifest.disks if d.id == disk_id), None)
        record = _layer_of(disk, layer.image_id)
        if disk is None or record is None:
            return None, f"it is not in {self.info.name}"
        difference = why_another(record, _owners(manifest), layer, child, regular)
        if difference is not None:
            return None, f"{difference} since {self.info.name}"
        if disk.cell != cell:
            return None, f"{self.info.name} has another chunk size"
        content = self.reader.disk(record.path)
        if content.damaged:
            return None, f"it is damaged in {self.info.name}"
        return OldLayer(self.info.name, record, content), None


def earlier_archive(repository: Repository, vm_id: str, *, full: bool) -> Earlier:
    """The newest good chain archive of the VM."""
    if full:
        return Earlier(reason="a full backup was asked for")
    reason = None
    for info in newest_first(repository, vm_id, "chain"):
        if info.comment.marked:
            return Earlier(reason=f"in {info.name} reused layers were found changed", fallback=True)
        try:
            reader = repository.archive(info.name)
            reader.manifest  # noqa: B018  (reading it proves the archive)
        except BorgOvirtError as error:
            reason = reason or f"the archive {info.name} is damaged: {error.message}"
            continue
        return Earlier(info, reader)
    return Earlier(
        reason=reason or "first chain backup of this VM in this repository", fallback=reason is not None
    )


def why_another(
    record: LayerRecord,
    owners_then: Collection[str],
    layer: LayerFacts,
    child: str | None,
    owners_now: Collection[str],
) -> str | None:
    """What tells that a layer is not the one that was archived under its image id; None when nothing does.

    Merging a snapshot away writes the layer above into the one below, and that one keeps its image id. So
    the id alone proves nothing: the owner and the child change with a merge. The layer under a temporary
    snapshot of ours is the one that such a merge is bound to write to: its owner is no snapshot of the VM's.
    """
    if layer.template != record.template:
        return "it came from or went to a template"
    if not layer.template and (record.snapshot_id not in owners_then or layer.snapshot_id not in owners_now):
        return "it was not frozen by a snapshot of the VM"
    differences = {
        "its snapshot": (record.snapshot_id, layer.snapshot_id),
        "the layer above it": (record.child, child),
        "its parent": (record.parent, layer.parent),
        "its storage domain": (record.storage_domain_id, layer.storage_domain),
        "its format": (record.format, layer.format),
        "its qcow2 version": (record.qcow_version, layer.qcow_version),
        "its capacity": (record.capacity, layer.capacity),
        "its actual size": (record.actual_size, layer.actual_size),
    }
    changed = [what for what, (then, now) in differences.items() if then != now]
    return f"{changed[0]} changed" if changed else None


def _layer_of(disk: DiskRecord | None, image_id: str) -> LayerRecord | None:
    return next((x for x in disk.layers if x.image_id == image_id), None) if disk else None


def _owners(manifest: Manifest) -> frozenset[str]:
    return frozenset(snapshot.id for snapshot in manifest.snapshots)
