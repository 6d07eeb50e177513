"""What a backup of snapshot chains writes down about itself: the manifest of its archive."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from borg_ovirt import __version__
from borg_ovirt.jobs.backup.chain_read import DiskWork, LayerWork
from borg_ovirt.jobs.backup.record import DiskOutcome, disk_record, vm_record
from borg_ovirt.ovirt.facts.vm import SnapshotFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.repository import layout


@dataclass(frozen=True)
class ChainStory:
    """The facts of a run that the manifest tells, apart from VM, disks and layers."""

    started: datetime
    instant: datetime
    ended: datetime
    kind_asked: str
    kind: str
    reason: str | None
    base: layout.BaseRecord | None
    cell: int
    method: str
    method_reason: str
    consistency_asked: str
    consistency: str
    warnings: tuple[str, ...]


def chain_manifest(
    engine: Engine,
    vm: VmFacts,
    snapshots: Iterable[SnapshotFacts],
    disks: Iterable[tuple[DiskWork, DiskOutcome]],
    skipped: Iterable[layout.SkippedDisk],
    domains: dict[str, tuple[str, str]],
    facts: ChainStory,
) -> layout.Manifest:
    """The manifest of a chain archive; `snapshots` without our temporary one."""
    regular = {s.id: s for s in snapshots if s.type == "regular"}
    disks = list(disks)
    return layout.Manifest(
        mode="chain",
        vm=vm_record(vm),
        disks=tuple(_disk(work, outcome, regular, domains, facts.cell) for work, outcome in disks),
        snapshots=tuple(
            layout.SnapshotRecord(id=s.id, description=s.description, date=s.date, memory=s.memory)
            for s in regular.values()
        ),
        run=_run(engine, facts, sum(outcome.stats.resumes for _, outcome in disks)),
        skipped=tuple(skipped),
        warnings=facts.warnings,
    )


def _disk(
    work: DiskWork,
    outcome: DiskOutcome,
    regular: Mapping[str, SnapshotFacts],
    domains: dict[str, tuple[str, str]],
    cell: int,
) -> layout.DiskRecord:
    top = work.layers[-1].facts
    plain = disk_record(outcome, cell, domains)
    layers = tuple(_layer(work, layer, regular, domains) for layer in work.layers)
    facts = plain.model_dump(exclude={"path", "layers", "image_id", "actual_size"})
    return layout.DiskRecord.model_validate(
        facts
        | {
            "image_id": top.image_id,
            "format": "raw" if top.format == "raw" else "cow",
            "sparse": top.sparse,
            "qcow_version": top.qcow_version,
            "actual_size": sum(layer.facts.actual_size or layer.size for layer in work.layers),
            "path": layout.chain_path(plain.id),
            "layers": [layer.model_dump() for layer in layers],
        }
    )


def _layer(
    work: DiskWork,
    layer: LayerWork,
    regular: Mapping[str, SnapshotFacts],
    domains: dict[str, tuple[str, str]],
) -> layout.LayerRecord:
    facts = layer.facts
    owner = regular.get(facts.snapshot_id or "")
    name, _ = domains.get(facts.storage_domain or "", (None, None))
    return layout.LayerRecord(
        image_id=facts.image_id,
        snapshot_id=facts.snapshot_id,
        parent=facts.parent,
        child=layer.child,
        description=owner.description if owner else "",
        date=owner.date if owner else None,
        format="raw" if facts.format == "raw" else "cow",
        sparse=facts.sparse,
        qcow_version=facts.qcow_version,
        capacity=facts.capacity,
        actual_size=facts.actual_size,
        size=layer.size,
        storage_domain_id=facts.storage_domain,
        storage_domain=name,
        path=layout.layer_path(work.chain.disk.id, facts.image_id),
        template=facts.template,
        reused_from=layer.old.archive if layer.old else None,
    )


def _run(engine: Engine, facts: ChainStory, resumes: int) -> layout.RunRecord:
    return layout.RunRecord.model_validate(
        {
            "tool_version": __version__,
            "host": platform.node(),
            "engine": engine.host,
            "engine_id": engine.instance_id,
            "engine_version": engine.full_version,
            "mode_asked": "chain",
            "kind_asked": facts.kind_asked,
            "kind": facts.kind,
            "reason": facts.reason,
            "way": facts.method,
            "way_reason": facts.method_reason,
            "consistency_asked": facts.consistency_asked,
            "consistency": facts.consistency,
            "base": facts.base,
            "cell": facts.cell,
            "resumes": resumes,
            "started": facts.started,
            "instant": facts.instant,
            "ended": facts.ended,
        }
    )
