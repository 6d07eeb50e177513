"""What of an earlier archive is still what the engine holds: a disk and its changes, or a layer."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import NotOurArchive, RepositoryDamaged
from borg_ovirt.ovirt.facts.chain import LayerFacts
from borg_ovirt.pipe.ports import Base, R_co
from borg_ovirt.repository.layout import DiskRecord, LayerRecord
from borg_ovirt.repository.reader import ArchiveReader, DiskContent


@dataclass(frozen=True)
class Wanted:
    """An item as it is in the engine now; sizes in bytes."""

    path: str
    disk_id: str
    cell: int
    size: int
    """Of the disk, where a whole disk is the item."""
    layer: LayerFacts | None = None
    child: str | None = None
    """The image that lies on the layer now."""
    snapshots: frozenset[str] = frozenset()
    """Ids of the VM's snapshots, without what we made."""


class ItemBase(Base[R_co], Protocol[R_co]):
    """An item of one archive, or of one in each of several repositories."""

    archive: str


class Found(NamedTuple):
    """A base for an item, or why it is read whole."""

    base: ItemBase[object] | None
    reason: str | None = None
    fallback: bool = True
    """Reading it whole is a step back, not its nature."""


class BaseItem:
    """One item of an archive, cell by cell; `find_item` has checked it."""

    def __init__(self, archive: str, content: DiskContent, cell: int) -> None:
        self.archive = archive
        self._content = content
        self.size = content.size
        self.cell = cell

    def reference(self, index: int) -> Chunk:
        """The chunk of a cell."""
        return self._content.chunks[index]

    def is_zero(self, index: int) -> bool:
        """Whether the cell holds only zeros."""
        return self._content.is_zero(self._content.chunks[index])

    def data_cells(self, first: int, end: int) -> Iterator[int]:
        """Those of the cells first..end that are not known to be zeros."""
        return self._content.data_chunks(first, end, self.cell)

    def digest(self, data: memoryview) -> bytes:
        """The id that these bytes have in the repository."""
        return self._content.id_of(data)

    def same(self, index: int, digest: bytes) -> bool:
        """Whether the cell has these bytes."""
        return self._content.chunks[index].id == digest


def find_item(reader: ArchiveReader, wanted: Wanted) -> Found:
    """The item in the archive as far as it still holds, or why it is read whole."""
    disk = next((d for d in reader.manifest.disks if d.id == wanted.disk_id), None)
    refusal = _why_whole(reader, disk, wanted) if wanted.layer is None else _why_read(reader, disk, wanted)
    if refusal is not None:
        return refusal
    assert disk is not None
    if disk.cell != wanted.cell:
        return Found(None, f"{reader.name} has another chunk size")
    try:
        content = reader.disk(wanted.path)
    except (RepositoryDamaged, NotOurArchive) as error:
        return Found(None, f"{reader.name} is damaged: {error.message}")
    if not content.chunks.on_grid(wanted.cell):
        what = "the last archive is not on the grid"
        return Found(None, f"{what}: {reader.name} was cut into other chunks (borg recreate, import-tar)")
    if content.damaged:
        return Found(None, f"{reader.name} is damaged: the repository lost chunks of {wanted.path}")
    return Found(BaseItem(reader.name, content, wanted.cell))


def _why_whole(reader: ArchiveReader, disk: DiskRecord | None, wanted: Wanted) -> Found | None:
    if disk is None:
        return Found(None, f"the disk is not in {reader.name}")
    if disk.size > wanted.size:
        return Found(None, f"the disk is smaller than in {reader.name}: it was replaced or rolled back")
    return None


def _why_read(reader: ArchiveReader, disk: DiskRecord | None, wanted: Wanted) -> Found | None:
    assert wanted.layer is not None
    layers = disk.layers if disk else ()
    record = next((layer for layer in layers if layer.image_id == wanted.layer.image_id), None)
    if record is None:
        return Found(None, f"it is not in {reader.name}", fallback=False)
    owners = frozenset(snapshot.id for snapshot in reader.manifest.snapshots)
    difference = why_another(record, owners, wanted.layer, wanted.child, wanted.snapshots)
    if difference is not None:
        return Found(None, f"{difference} since {reader.name}", fallback=False)
    return None


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
