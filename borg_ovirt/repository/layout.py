"""What an archive holds (layout version 1): its names and paths, its manifest, its comment."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.repository.manifest import (
    BaseRecord,
    DiskRecord,
    DiskRunRecord,
    LayerRecord,
    Manifest,
    RunRecord,
    SampleRecord,
    SkippedDisk,
    SnapshotRecord,
    VmRecord,
)
from borg_ovirt.repository.names import archive_name, is_checkpoint_name
from borg_ovirt.repository.paths import DISKS, MANIFEST, OVF, README, chain_path, disk_path, layer_path
from borg_ovirt.repository.proof import ProofRecord, UnderWay
from borg_ovirt.repository.schema import Bytes, Count, Flag, Kind, Mode, Record, Uuid, When
from borg_ovirt.repository.settings import NicSetup, NumaRecord, PermissionRecord, SettingsRecord

__all__ = [
    "DISKS",
    "LAYOUT",
    "MANIFEST",
    "OVF",
    "README",
    "TOOL",
    "ArchiveComment",
    "BaseRecord",
    "DiskRecord",
    "DiskRunRecord",
    "FiguresRecord",
    "HoldRecord",
    "LayerRecord",
    "Manifest",
    "NicSetup",
    "NumaRecord",
    "PermissionRecord",
    "RunRecord",
    "SampleRecord",
    "SettingsRecord",
    "SkippedDisk",
    "SnapshotRecord",
    "VmRecord",
    "archive_name",
    "chain_path",
    "comment_of",
    "disk_path",
    "figures_of",
    "is_checkpoint_name",
    "layer_path",
    "parse_comment",
    "parse_manifest",
]

TOOL = "borg-ovirt"
LAYOUT = 1
_LARGEST_MANIFEST = 32 << 20
_LARGEST_COMMENT = 1 << 20
"""Bytes: ten thousand layers need 6 MiB. What is longer was written to take memory, not to be read."""


class HoldRecord(Record):
    """Why an archive is held."""

    since: When
    by: str = ""
    """Who asked, in their own words or as user@host."""
    reason: str = ""
    until: When | None = None
    """After this moment the hold counts for nothing."""


class FiguresRecord(Record):
    """What a backup read and what its repository grew by, for lists and for comparing nights. In bytes."""

    size: Bytes
    """Of the disks, as their guests see them."""
    data: Bytes
    """Of their cells those that are not all zeros."""
    read: Bytes
    new: Bytes
    """Cells of the disks that the repository did not hold, before compression."""
    added: Bytes
    """What the repository grew by: compressed, deduplicated, the archive's own metadata included."""
    total: Bytes
    """What the repository holds with this archive: compressed, each chunk counted once."""


class ArchiveComment(Record):
    """What lists and retention need, kept in the archive's comment so that no item has to be read."""

    tool: Literal["borg-ovirt"] = "borg-ovirt"
    layout: Literal[1] = 1
    vm_id: Uuid
    vm_name: str
    mode: Mode
    engine: str
    """Host (and port) of the engine's URL."""
    engine_id: str | None = None
    number: Count | None = None
    """Its place among the archives of ours in this repository, counted when it was committed."""
    base: str | None = None
    """The archive whose chunks it refers to."""
    from_checkpoint: Uuid | None = None
    """The checkpoint this backup starts from."""
    checkpoint: Uuid | None = None
    """The checkpoint this backup ends at: where the next incremental one starts."""
    kind: Kind
    reason: str | None = None
    """Why the run was a full one although incremental was asked for."""
    marked: Flag = False
    """Sampling found the change tracking wrong: never a base."""
    held: Flag = False
    """Never removed by our retention."""
    hold: HoldRecord | None = None
    """Who holds it, why, and until when."""
    proofs: tuple[ProofRecord, ...] = ()
    """What `verify` found, the last of each level."""
    under_way: UnderWay | None = None
    """A proof that is not through."""
    figures: FiguresRecord | None = None
    """None in archives whose comment was lost, or that were made before it was written."""

    def held_at(self, now: datetime) -> bool:
        """Whether it is held then: a hold may have an end."""
        ended = self.hold is not None and self.hold.until is not None and self.hold.until <= now
        return self.held and not ended

    def to_text(self) -> str:
        """Compact JSON on one line."""
        return self.model_dump_json()


def comment_of(manifest: Manifest) -> ArchiveComment:
    """The comment that a manifest implies, for an archive whose comment was lost."""
    samples = (disk.run.sample for disk in manifest.disks if disk.run)
    return ArchiveComment(
        vm_id=manifest.vm.id,
        vm_name=manifest.vm.name,
        mode=manifest.mode,
        engine=manifest.run.engine,
        engine_id=manifest.run.engine_id,
        base=manifest.run.base.name if manifest.run.base else None,
        from_checkpoint=manifest.run.from_checkpoint,
        checkpoint=manifest.run.to_checkpoint,
        kind=manifest.run.kind,
        reason=manifest.run.reason,
        marked=any(sample.mismatches for sample in samples if sample),
    )


def figures_of(manifest: Manifest, data: int, added: int, total: int) -> FiguresRecord:
    """What a run tells in its manifest, in sum."""
    runs = [disk.run for disk in manifest.disks if disk.run]
    return FiguresRecord(
        size=sum(disk.size for disk in manifest.disks),
        data=data,
        read=sum(run.bytes_read for run in runs),
        new=sum(run.bytes_stored for run in runs),
        added=added,
        total=total,
    )


def parse_manifest(data: bytes, archive: str) -> Manifest:
    """The manifest of an archive; `NotOurArchive` if it is not ours, was changed, or is of a newer layout."""
    what = f"{MANIFEST} of archive {archive}"
    facts = _json_object(data, _LARGEST_MANIFEST)
    if facts is None or facts.get("tool") != TOOL:
        raise NotOurArchive(f"The {what} was not written by borg-ovirt.", "Use `borg extract` for it.")
    _refuse_newer(facts, what)
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        raise NotOurArchive(
            f"The {what} is not valid: {_first_fault(error)}.",
            "It was damaged or changed by hand; README.txt in the archive tells how to restore without it.",
        ) from error


def parse_comment(text: str, archive: str) -> ArchiveComment | None:
    """An archive's comment if it is one of ours, else None; `NotOurArchive` for a newer layout."""
    facts = _json_object(text, _LARGEST_COMMENT)
    if facts is None or facts.get("tool") != TOOL:
        return None
    _refuse_newer(facts, f"comment of archive {archive}")
    try:
        return ArchiveComment.model_validate_json(text)
    except ValidationError:
        return None


def _json_object(text: str | bytes, longest: int) -> dict[str, Any] | None:
    if len(text) > longest:
        return None
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def _refuse_newer(facts: dict[str, Any], what: str) -> None:
    layout = facts.get("layout")
    if isinstance(layout, int) and layout > LAYOUT:
        raise NotOurArchive(
            f"The {what} has layout {layout}, newer than the {LAYOUT} this version knows.",
            "Use the version of borg-ovirt that made it, or a later one.",
        )


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])[:100] or "it"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {fault['msg']}{more}"
