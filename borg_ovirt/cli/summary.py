"""What a run did, in words: the disks of one VM, or a line for each of many; what each repository has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from borg_ovirt.units import format_duration, format_size

if TYPE_CHECKING:
    from borg_ovirt.cli.output import Output
    from borg_ovirt.jobs.notify import Story
    from borg_ovirt.jobs.runs.outcome import RunResult, VmOutcome


def summary(output: Output, result: RunResult) -> None:
    """Print it; errors of the run as a whole are told elsewhere."""
    if result.named:
        for vm in result.vms:
            if vm.archive is not None:
                _one(output, vm)
            elif vm.error is not None:
                output.lines(f"{vm.vm}: no archive: {vm.error}")
        return
    if not result.vms and result.cause is not None:
        return
    _many(output, result.vms)
    if len(result.repositories) > 1:
        _repositories(output, result)
    for text in [*result.warnings, result.error]:
        if text is not None:
            output.lines(text)
    output.lines(counted(result))


def counted(result: RunResult) -> str:
    """How many VMs ended how."""
    words = ("ok", "warning", "failed", "not started")
    each = ", ".join(f"{result.count(w)} {w}" for w in words if result.count(w))  # type: ignore[arg-type]
    return f"{len(result.vms)} VMs: {each or 'nothing to do'}."


def write(result: RunResult, story: Story) -> None:
    """The run as it is told to people: what went wrong, the worst first."""
    story.summary = counted(result)
    story.repositories = [repository.name for repository in result.repositories]
    lost = [f"repository {r.name}: {r.error}" for r in result.repositories if r.error]
    failed = [f"{vm.vm}: failed: {vm.error}" for vm in result.vms if vm.status == "failed"]
    warned = [f"{vm.vm}: {text}" for vm in result.vms for text in vm.warnings]
    story.problems = [*([result.error] if result.error else []), *lost, *failed, *result.warnings, *warned]
    story.status = "warning" if result.status == "not started" else result.status


def in_words(consistency: str | None) -> str:
    """Whether the guest's file systems were frozen: `frozen`, `not frozen`, or nobody knows."""
    return "consistency unknown" if consistency in (None, "unknown") else str(consistency)


def _one(output: Output, vm: VmOutcome) -> None:
    reason = f" ({vm.reason})" if vm.reason else ""
    took = format_duration(vm.took or vm.seconds)
    output.lines(
        f"{vm.archive}: {vm.kind}{reason}, {vm.method}, {in_words(vm.consistency)}, {took}, "
        f"{format_size(vm.bytes_added)} added to the repository"
    )
    output.table(
        ["DISK", "SIZE", "KIND", "READ", "NEW"],
        [
            [
                disk["facts"]["alias"] or disk["facts"]["id"],
                format_size(disk["size"]),
                disk["kind"],
                format_size(disk["stats"]["bytes_read"]),
                format_size(disk["stats"]["bytes_new"]),
            ]
            for disk in vm.disks
        ],
    )
    if len(vm.stored) > 1:
        output.table(
            ["REPOSITORY", "ARCHIVE", "BASE", "ADDED"],
            [
                [
                    stored.repository,
                    stored.archive or "none",
                    "copied" if stored.copied_from else stored.base or "",
                    format_size(stored.bytes_added or 0) if stored.archive else "",
                ]
                for stored in vm.stored
            ],
        )
    for skipped in vm.skipped:
        output.lines(f"skipped: disk {skipped['alias'] or skipped['id']} ({skipped['reason']})")
    if vm.error is not None:
        output.lines(f"{vm.vm}: {vm.error}")


def _many(output: Output, vms: list[VmOutcome]) -> None:
    output.table(
        ["VM", "STATUS", "ARCHIVE", "KIND", "READ", "ADDED", "TOOK", "NOTES"],
        [
            [
                vm.vm,
                vm.status,
                vm.archive or "",
                vm.kind or "",
                format_size(vm.bytes_read) if vm.archive else "",
                format_size(vm.bytes_added) if vm.archive else "",
                format_duration(vm.took or vm.seconds) if vm.seconds else "",
                vm.error or "; ".join(vm.warnings) or vm.reason or "",
            ]
            for vm in vms
        ],
    )


def _repositories(output: Output, result: RunResult) -> None:
    rows = []
    for repository in result.repositories:
        kept = [
            s for vm in result.vms for s in vm.stored if s.repository == repository.location and s.archive
        ]
        added = format_size(sum(stored.bytes_added or 0 for stored in kept))
        copied = sum(stored.copied_from is not None for stored in kept)
        note = f"fell behind: {copied} copied afterwards" if copied else ""
        rows.append([repository.name, str(len(kept)), added, repository.error or note])
    output.table(["REPOSITORY", "ARCHIVES", "ADDED", "NOTES"], rows)
