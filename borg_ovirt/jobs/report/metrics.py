"""The report as metrics for Prometheus: a value for every VM that is to be backed up, and none for others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from borg_ovirt.jobs.report.model import Report, RepositoryReport, VmReport

Labels = dict[str, str]
Sample = tuple[Labels, float]


def metrics(report: Report) -> str:
    """In the text format that the node exporter's textfile collector reads."""
    families = [*_about(report), *_vms(report), *_repositories(report)]
    return "".join(_family(name, text, samples) for name, text, samples in families if samples)


def _about(report: Report) -> Iterator[tuple[str, str, list[Sample]]]:
    yield "build_info", "Version of borg-ovirt that wrote this.", [({"version": report.version}, 1)]
    yield "report_timestamp_seconds", "When the report was made.", [({}, report.time.timestamp())]
    if report.engine is not None:
        up = 0 if report.engine_error else 1
        yield "engine_up", "Whether the engine answered.", [({"engine": report.engine}, up)]


def _vms(report: Report) -> Iterator[tuple[str, str, list[Sample]]]:
    rows = [vm for vm in report.vms if vm.protection.selected or vm.protection.verdict == "unselected"]

    def each(value: object) -> list[Sample]:
        assert callable(value)
        return [(_labels(vm), told) for vm in rows if (told := value(vm)) is not None]

    yield (
        "vm_protected",
        "Whether the VM is protected as its policy asks: 1 yes, 0 no.",
        each(lambda vm: 0 if vm.protection.failed else 1),
    )
    yield (
        "vm_archive_timestamp_seconds",
        "Time of its last archive that can be restored whole; 0 where there is none.",
        each(lambda vm: _archive_time(vm, report.time)),
    )
    yield (
        "vm_max_age_seconds",
        "How old its last archive may be, where its policy says so.",
        each(lambda vm: vm.max_age.total_seconds() if vm.max_age else None),
    )
    yield (
        "vm_proof_timestamp_seconds",
        "When one of its archives last passed a proof; 0 where none did.",
        each(lambda vm: vm.protection.proof.time.timestamp() if vm.protection.proof else 0),
    )
    yield (
        "vm_max_proof_age_seconds",
        "How old its last proof may be, where its policy says so.",
        each(lambda vm: vm.max_proof_age.total_seconds() if vm.max_proof_age else None),
    )
    yield (
        "vm_failed_proofs",
        "Archives of it that failed a proof.",
        each(lambda vm: len(vm.protection.failed_proofs)),
    )
    yield (
        "vm_damaged_archives",
        "Archives newer than its last whole one.",
        each(lambda vm: len(vm.protection.damaged)),
    )
    yield "vm_archives", "Its archives.", each(lambda vm: vm.protection.archives)
    yield "vm_held_archives", "Its archives that are held.", each(lambda vm: vm.protection.held)
    yield "vm_archived_bytes", "Size of its disks in its last archive.", each(lambda vm: vm.protection.size)
    yield (
        "vm_unique_bytes",
        "Stored bytes that only its archives need.",
        each(lambda vm: vm.unique),
    )
    yield "vm_shared_bytes", "Stored bytes that others need, too.", each(lambda vm: vm.shared)
    yield (
        "vm_changed_ratio",
        "Share of its data that was new in its last archive.",
        each(lambda vm: vm.nights[-1].changed if vm.nights else None),
    )
    yield (
        "vm_unusual_change",
        "Whether its last archive changed as never before: 1 yes, 0 no.",
        each(lambda vm: 1 if vm.nights and vm.nights[-1].heat else 0),
    )


def _archive_time(vm: VmReport, now: datetime) -> float:
    line = vm.protection
    return (now - line.age).timestamp() if line.archive and line.age is not None else 0


def _repositories(report: Report) -> Iterator[tuple[str, str, list[Sample]]]:
    def each(value: object) -> list[Sample]:
        assert callable(value)
        return [
            ({"repository": one.name, "location": one.location}, told)
            for one in report.repositories
            if (told := value(one)) is not None
        ]

    opened = [one for one in report.repositories if one.error is None]
    yield "repository_up", "Whether it could be opened.", each(lambda one: 0 if one.error else 1)
    yield (
        "repository_archives",
        "Archives of ours in it.",
        each(lambda one: one.archives if one in opened else None),
    )
    yield "repository_stored_bytes", "What it holds, each chunk counted once.", each(lambda one: one.stored)
    yield "repository_disk_bytes", "What it takes on its file system.", each(lambda one: one.taken)
    yield "repository_free_bytes", "What is free on its file system.", each(lambda one: one.free)
    yield (
        "repository_growth_bytes_per_second",
        "How fast it grows, over the last weeks.",
        each(_pace),
    )
    yield (
        "repository_findings",
        "What is wrong with it, as doctor says.",
        [
            ({"repository": one.name, "location": one.location, "status": status}, float(count))
            for one in opened
            for status in ("warning", "failure")
            for count in [sum(finding.status == status for finding in one.findings)]
        ],
    )


def _pace(one: RepositoryReport) -> float | None:
    return one.growth.per_day / 86400 if one.growth and one.growth.per_day is not None else None


def _labels(vm: VmReport) -> Labels:
    line = vm.protection
    return {"vm": line.vm, "vm_id": line.vm_id, "repository": line.repository}


def _family(name: str, text: str, samples: Sequence[Sample]) -> str:
    lines = [f"# HELP borg_ovirt_{name} {text}\n# TYPE borg_ovirt_{name} gauge\n"]
    lines += (f"borg_ovirt_{name}{_told(labels)} {value:.15g}\n" for labels, value in samples)
    return "".join(lines)


def _told(labels: Labels) -> str:
    return "{" + _pairs(labels.items()) + "}" if labels else ""


def _pairs(labels: Iterable[tuple[str, str]]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
