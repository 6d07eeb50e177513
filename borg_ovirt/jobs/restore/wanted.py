"""What of an archive is restored: which disks, which of their layers, as of which snapshot. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from borg_ovirt.errors import ArchiveNotFound, UsageError
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.repository.layout import DiskRecord, LayerRecord, Manifest, SnapshotRecord

_LONGEST_ALIAS = 255
"""Characters; the engine checks nothing else of a new disk's name (seen on 4.5.8)."""


@dataclass(frozen=True)
class WantedDisk:
    """A disk of the archive, and how it is wanted."""

    record: DiskRecord
    layers: tuple[LayerRecord, ...]
    """Base first; of an archive of images the one image."""
    whole: bool
    """As one image rather than layer by layer."""
    renamed: str | None = None
    """What it is to be called, if not as it was."""

    @property
    def name(self) -> str:
        return self.record.alias or self.record.id

    @property
    def alias(self) -> str:
        """Its name in the engine."""
        return self.record.alias if self.renamed is None else self.renamed

    @property
    def joined(self) -> bool:
        """Its image is not in the archive as such: qemu-img has to make it."""
        return self.whole and [layer.format for layer in self.layers] != ["raw"]


@dataclass(frozen=True)
class Wanted:
    """What is restored."""

    archive: str
    manifest: Manifest
    """As of the snapshot that was asked for."""
    disks: tuple[WantedDisk, ...]
    blockers: tuple[str, ...]

    @property
    def layers(self) -> list[tuple[WantedDisk, LayerRecord]]:
        return [(disk, layer) for disk in self.disks for layer in disk.layers]


def want(archive: str, manifest: Manifest, options: RestoreOptions) -> Wanted:
    """What these options ask of an archive."""
    if manifest.mode == "image":
        for option in ("flatten", "snapshot"):
            if getattr(options, option):
                raise UsageError(f"--{option}: archive {archive} holds no snapshot chains.")
    if options.snapshot is not None:
        manifest, _ = as_of(manifest, options.snapshot)
    chosen, blockers = _chosen(manifest.disks, options.disks)
    if options.directory is not None and any(name is not None for _, name in chosen):
        raise UsageError("--disk DISK=NEW names a disk in the engine: it makes no sense with --to.")
    # A disk without its VM has no snapshots; in files its layers can lie beside each other.
    alone = bool(options.disks) and options.directory is None
    whole = manifest.mode == "image" or options.flatten or alone
    disks = tuple(WantedDisk(record, layers_of(record), whole, name) for record, name in chosen)
    return Wanted(archive, manifest, disks, tuple(blockers))


def layers_of(disk: DiskRecord) -> tuple[LayerRecord, ...]:
    """A disk's layers, base first. The one of an archive of images has the disk's bytes."""
    if disk.layers:
        return disk.layers
    image = LayerRecord(
        image_id=disk.image_id or disk.id,
        snapshot_id=None,
        parent=None,
        format="raw",
        sparse=disk.sparse,
        capacity=disk.size,
        size=disk.size,
        path=disk.path,
    )
    return (image,)


def _chosen(
    records: Sequence[DiskRecord], words: Sequence[str]
) -> tuple[list[tuple[DiskRecord, str | None]], list[str]]:
    """The disks that are named, each with its new name if it gets one; and what is wrong with the words."""
    if not words:
        return [(record, None) for record in records], []
    chosen: dict[str, tuple[DiskRecord, str | None]] = {}
    blockers = []
    have = ", ".join(d.alias or d.id for d in records)
    for word in words:
        new: str | None = None
        found = [d for d in records if word in (d.alias, d.id)]
        if not found and "=" in word:  # an alias may hold a = itself
            word, _, new = word.rpartition("=")
            found = [d for d in records if word in (d.alias, d.id)]
        if len(found) == 1:
            chosen[found[0].id] = found[0], new
            if new is not None and not 1 <= len(new) <= _LONGEST_ALIAS:
                blockers.append(f"no disk can be named {new!r}: 1 to {_LONGEST_ALIAS} characters")
        else:
            what = "several disks" if found else "no disk"
            blockers.append(f"the archive has {what} {word}; it has {have}")
    return list(chosen.values()), blockers


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
