"""The report as metrics for Prometheus: a value for every VM that is to be backed up, and none for others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from borg_ovirt.jobs.report.model import Report, RepositoryReport, VmReport

Labels = dict[str, str]
Sample = tuple[Labels, float]
Family = tuple[str, str, list[Sample]]

_VM: dict[str, tuple[str, Callable[[VmReport], float | None]]] = {
    "protected": (
        "Whether the VM is protected as its policy asks: 1 yes, 0 no.",
        lambda vm: 0 if vm.protection.failed else 1,
    ),
    "max_age_seconds": (
        "How old its last archive may be, where its policy says so.",
        lambda vm: vm.max_age.total_seconds() if vm.max_age else None,
    ),
    "proof_timestamp_seconds": (
        "When one of its archives last passed a proof; 0 where none did.",
        lambda vm: vm.protection.proof.time.timestamp() if vm.protection.proof else 0,
    ),
    "max_proof_age_seconds": (
        "How old its last proof may be, where its policy says so.",
        lambda vm: vm.max_proof_age.total_seconds() if vm.max_proof_age else None,
    ),
    "failed_proofs": ("Archives of it that failed a proof.", lambda vm: len(vm.protection.failed_proofs)),
    "damaged_archives": ("Archives newer than its last whole one.", lambda vm: len(vm.protection.damaged)),
    "archives": ("Its archives.", lambda vm: vm.protection.archives),
    "held_archives": ("Its archives that are held.", lambda vm: vm.protection.held),
    "archived_bytes": ("Size of its disks in its last archive.", lambda vm: vm.protection.size),
    "unique_bytes": ("Stored bytes that only its archives need.", lambda vm: vm.unique),
    "shared_bytes": ("Stored bytes that others need, too.", lambda vm: vm.shared),
    "changed_ratio": (
        "Share of its data that was new in its last archive.",
        lambda vm: vm.nights[-1].changed if vm.nights else None,
    ),
    "unusual_change": (
        "Whether its last archive changed as never before: 1 yes, 0 no.",
        lambda vm: 1 if vm.nights and vm.nights[-1].heat else 0,
    ),
}
"""Of each VM: name -> what it says, and its value; None where there is none."""

_REPOSITORY: dict[str, tuple[str, Callable[[RepositoryReport], float | None]]] = {
    "up": ("Whether it could be opened.", lambda one: 0 if one.error else 1),
    "archives": ("Archives of ours in it.", lambda one: None if one.error else one.archives),
    "stored_bytes": ("What it holds, each chunk counted once.", lambda one: one.stored),
    "disk_bytes": ("What it takes on its file system.", lambda one: one.taken),
    "free_bytes": ("What is free on its file system.", lambda one: one.free),
    "growth_bytes_per_second": (
        "How fast it grows, over the last weeks.",
        lambda one: one.growth.per_day / 86400 if one.growth and one.growth.per_day is not None else None,
    ),
}
"""Of each repository the same."""


def metrics(report: Report) -> str:
    """In the text format that the node exporter's textfile collector reads."""
    families = [*_about(report), *_vms(report), *_repositories(report)]
    return "".join(_family(name, text, samples) for name, text, samples in families if samples)


def _about(report: Report) -> Iterator[Family]:
    yield "build_info", "Version of borg-ovirt that wrote this.", [({"version": report.version}, 1)]
    yield "report_timestamp_seconds", "When the report was made.", [({}, report.time.timestamp())]
    if report.engine is not None:
        up = 0 if report.engine_error else 1
        yield "engine_up", "Whether the engine answered.", [({"engine": report.engine}, up)]


def _vms(report: Report) -> Iterator[Family]:
    rows = [vm for vm in report.vms if vm.protection.selected or vm.protection.verdict == "unselected"]
    yield (
        "vm_archive_timestamp_seconds",
        "Time of its last archive that can be restored whole; 0 where there is none.",
        [(_labels(vm), _archive_time(vm, report.time)) for vm in rows],
    )
    for name, (text, value) in _VM.items():
        yield f"vm_{name}", text, [(_labels(vm), told) for vm in rows if (told := value(vm)) is not None]


def _archive_time(vm: VmReport, now: datetime) -> float:
    line = vm.protection
    return (now - line.age).timestamp() if line.archive and line.age is not None else 0


def _repositories(report: Report) -> Iterator[Family]:
    rows = [({"repository": one.name, "location": one.location}, one) for one in report.repositories]
    for name, (text, value) in _REPOSITORY.items():
        told = [(labels, number) for labels, one in rows if (number := value(one)) is not None]
        yield f"repository_{name}", text, told
    yield (
        "repository_findings",
        "What is wrong with it, as doctor says.",
        [
            ({**labels, "status": status}, sum(finding.status == status for finding in one.findings))
            for labels, one in rows
            if one.error is None
            for status in ("warning", "failure")
        ],
    )


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
