"""What a run writes down about itself: the manifest and the comment of its archive."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime

from borg_ovirt import __version__
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.vm import DiskFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.repository import layout


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

    started: datetime
    ended: datetime
    kind_asked: str
    kind: str
    reason: str | None
    base: layout.BaseRecord | None
    cell: int
    consistency_asked: str
    warnings: tuple[str, ...]


def disk_record(outcome: DiskOutcome, cell: int, domains: dict[str, tuple[str, str]]) -> layout.DiskRecord:
    """A disk of the manifest; `domains` maps storage domain ids to name and storage type."""
    facts = outcome.facts
    name, storage_type = domains.get(facts.storage_domain or "", (None, None))
    stats = outcome.stats
    sample = None
    if outcome.sampling:
        sample = layout.SampleRecord(
            asked=outcome.sampling, cells=outcome.sampled, mismatches=outcome.mismatches
        )
    return layout.DiskRecord(
        id=facts.id,
        alias=facts.alias,
        description=facts.description,
        size=outcome.size,
        actual_size=facts.actual_size,
        format="raw" if facts.format == "raw" else "cow",
        sparse=facts.sparse,
        qcow_version=facts.qcow_version,
        image_id=facts.image_id,
        storage_domain_id=facts.storage_domain,
        storage_domain=name,
        storage_type=storage_type,
        content_type=facts.content_type,
        backup=facts.backup,
        interface=facts.interface,
        bootable=facts.bootable,
        active=facts.active,
        read_only=facts.read_only,
        pass_discard=facts.pass_discard,
        uses_scsi_reservation=facts.uses_scsi_reservation,
        wipe_after_delete=facts.wipe_after_delete,
        propagate_errors=facts.propagate_errors,
        disk_profile=facts.disk_profile,
        quota=facts.quota,
        cell=cell,
        path=layout.disk_path(facts.id),
        run=layout.DiskRunRecord.model_validate(
            {
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
            }
        ),
    )


def vm_record(vm: VmFacts) -> layout.VmRecord:
    """The VM of the manifest."""
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
    )


def snapshot_records(vm: VmFacts) -> tuple[layout.SnapshotRecord, ...]:
    """The VM's regular snapshots, oldest first."""
    return tuple(
        layout.SnapshotRecord(id=s.id, description=s.description, date=s.date, memory=s.memory)
        for s in vm.snapshots
        if s.type == "regular"
    )


def run_record(engine: Engine, captured: Capture, facts: RunFacts, resumes: int) -> layout.RunRecord:
    """The run of the manifest."""
    return layout.RunRecord.model_validate(
        {
            "tool_version": __version__,
            "host": platform.node(),
            "engine": engine.host,
            "engine_id": engine.instance_id,
            "engine_version": engine.full_version,
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
    )
