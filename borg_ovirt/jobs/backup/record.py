"""What a run writes down about itself: the manifest of its archive."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from borg_ovirt import __version__
from borg_ovirt.jobs.backup.items import DiskItems, Item
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.settings import SettingsFacts
from borg_ovirt.ovirt.facts.vm import DiskFacts, SnapshotFacts, VmFacts
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.repository import layout
from borg_ovirt.repository.version import borg_version

_AS_THE_ENGINE_TELLS = (
    *("id", "alias", "description", "actual_size", "sparse", "qcow_version", "image_id", "content_type"),
    *("backup", "interface", "bootable", "active", "read_only", "pass_discard", "uses_scsi_reservation"),
    *("wipe_after_delete", "propagate_errors", "disk_profile", "quota"),
)
"""What the manifest says of a disk in the very words of its facts."""


@dataclass(frozen=True)
class DiskOutcome:
    """How one disk came into the archive. Sizes in bytes."""

    facts: DiskFacts
    size: int
    kind_asked: str
    kind: str
    reason: str | None
    method: str
    stats: DownloadStats
    sampled: int = 0
    mismatches: int = 0
    sampling: str = ""


@dataclass(frozen=True)
class RunFacts:
    """The facts of a run that the manifest tells, apart from VM, capture and disks."""

    mode: str
    started: datetime
    ended: datetime
    kind_asked: str
    kind: str
    reason: str | None
    base: layout.BaseRecord | None
    cell: int
    consistency_asked: str
    warnings: tuple[str, ...]
    settings: SettingsFacts | None = None


def manifest(
    captured: Capture,
    disks: Sequence[tuple[DiskItems, DiskOutcome]],
    skipped: Iterable[layout.SkippedDisk],
    domains: Mapping[str, tuple[str, str]],
    facts: RunFacts,
) -> layout.Manifest:
    """The manifest of an archive; `domains` maps storage domain ids to name and storage type."""
    owners = {s.id: s for s in captured.vm.snapshots if s.type == "regular"}
    records = []
    for disk, outcome in disks:
        record = _disk_record(disk, outcome, facts.cell, domains)
        if facts.mode == "chain":
            record |= _chain_record(disk, owners, domains)
        records.append(layout.DiskRecord.model_validate(record))
    return layout.Manifest.model_validate(
        {
            "mode": facts.mode,
            "vm": _vm_record(captured.vm, facts.settings),
            "disks": records,
            "snapshots": [
                layout.SnapshotRecord(id=s.id, description=s.description, date=s.date, memory=s.memory)
                for s in owners.values()
            ],
            "run": _run_record(captured, facts, sum(outcome.stats.resumes for _, outcome in disks)),
            "skipped": list(skipped),
            "warnings": facts.warnings,
        }
    )


def _disk_record(
    disk: DiskItems, outcome: DiskOutcome, cell: int, domains: Mapping[str, tuple[str, str]]
) -> dict[str, object]:
    facts, stats = disk.facts, outcome.stats
    name, storage_type = domains.get(facts.storage_domain or "", (None, None))
    sample = None
    if outcome.sampling:
        sample = {"asked": outcome.sampling, "cells": outcome.sampled, "mismatches": outcome.mismatches}
    return {field: getattr(facts, field) for field in _AS_THE_ENGINE_TELLS} | {
        "size": outcome.size,
        "format": _format(facts.format),
        "storage_domain_id": facts.storage_domain,
        "storage_domain": name,
        "storage_type": storage_type,
        "cell": cell,
        "path": layout.disk_path(facts.id),
        "run": {
            "kind_asked": outcome.kind_asked,
            "kind": outcome.kind,
            "reason": outcome.reason,
            "way": outcome.method,
            "bytes_read": stats.bytes_read,
            "bytes_zero": stats.bytes_zero,
            "bytes_reused": stats.bytes_reused,
            "bytes_stored": stats.bytes_new,
            "resumes": stats.resumes,
            "sample": sample,
        },
    }


def _chain_record(
    disk: DiskItems, owners: Mapping[str, SnapshotFacts], domains: Mapping[str, tuple[str, str]]
) -> dict[str, object]:
    """What a disk with its chain tells besides, or otherwise: its volume is the top layer."""
    layers = [_layer_record(item, owners, domains) for item in disk.items]
    top = layers[-1]
    return {
        "image_id": top.image_id,
        "format": top.format,
        "sparse": top.sparse,
        "qcow_version": top.qcow_version,
        "actual_size": sum(layer.actual_size or layer.size for layer in layers),
        "path": layout.chain_path(disk.facts.id),
        "layers": layers,
    }


def _layer_record(
    item: Item, owners: Mapping[str, SnapshotFacts], domains: Mapping[str, tuple[str, str]]
) -> layout.LayerRecord:
    facts = item.layer.facts
    assert facts is not None
    owner = owners.get(facts.snapshot_id or "")
    name, _ = domains.get(facts.storage_domain or "", (None, None))
    return layout.LayerRecord(
        image_id=facts.image_id,
        snapshot_id=facts.snapshot_id,
        parent=facts.parent,
        child=item.layer.child,
        description=owner.description if owner else "",
        date=owner.date if owner else None,
        format="raw" if facts.format == "raw" else "cow",
        sparse=facts.sparse,
        qcow_version=facts.qcow_version,
        capacity=facts.capacity,
        actual_size=facts.actual_size,
        size=item.plan.size,
        storage_domain_id=facts.storage_domain,
        storage_domain=name,
        path=item.path,
        template=facts.template,
        reused_from=item.base.archive if item.base else None,
    )


def _vm_record(vm: VmFacts, settings: SettingsFacts | None) -> layout.VmRecord:
    return layout.VmRecord(
        id=vm.id,
        name=vm.name,
        description=vm.description,
        status=vm.status,
        cluster_id=vm.cluster_id,
        cluster=vm.cluster_name,
        data_center_id=vm.data_center_id,
        level="{}.{}".format(*vm.level),
        bios_type=vm.bios_type or None,
        tpm=vm.has_tpm,
        template_id=vm.template_id,
        tags=vm.tags,
        settings=layout.SettingsRecord.model_validate(asdict(settings)) if settings else None,
    )


def _run_record(captured: Capture, facts: RunFacts, resumes: int) -> dict[str, object]:
    return {
        "tool_version": __version__,
        "borg_version": borg_version(),
        "host": platform.node(),
        "engine": captured.engine.host,
        "engine_id": captured.engine.instance_id,
        "engine_version": captured.engine.full_version,
        "mode_asked": facts.mode,
        "kind_asked": facts.kind_asked,
        "kind": facts.kind,
        "reason": facts.reason,
        "way": captured.method,
        "way_reason": captured.method_reason,
        "consistency_asked": facts.consistency_asked,
        "consistency": captured.consistency,
        "backup_id": captured.backup_id,
        "from_checkpoint": captured.from_checkpoint,
        "to_checkpoint": captured.to_checkpoint,
        "base": facts.base,
        "cell": facts.cell,
        "resumes": resumes,
        "started": facts.started,
        "instant": captured.instant,
        "ended": facts.ended,
    }


def _format(word: str) -> str:
    return "raw" if word == "raw" else "cow"
