"""What somebody has to look at, the worst first: as the page shows it, and as people are told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from borg_ovirt.jobs.notify import Story
from borg_ovirt.jobs.report.model import Report, VmReport

FINDINGS = {"ok": ("good", "ok"), "warning": ("warn", "warning"), "failure": ("bad", "failure")}
"""A finding's status -> the grade and the word of its mark."""


@dataclass(frozen=True)
class Item:
    """One thing to look at."""

    grade: str
    """`bad` or `warn`."""
    word: str
    subject: str
    lines: tuple[str, ...]


def verdict(vm: VmReport) -> str:
    """How a VM is protected, in a word or two."""
    if vm.grade == "warn" and vm.protection.verdict == "ok":
        return "look at it"
    return "not selected" if vm.protection.verdict == "-" else vm.protection.verdict


def items(report: Report) -> Iterator[Item]:
    """The engine, then the VMs, then the repositories."""
    if report.engine_error is not None:
        told = "VMs without archives are not known; the others are judged by their archives."
        yield Item("bad", "no answer", f"Engine {report.engine}", (report.engine_error, told))
    several = len(report.repositories) > 1
    for vm in report.vms:
        if vm.grade in ("bad", "warn"):
            where = f" in {vm.protection.repository}" if several else ""
            lines = [f"{vm.why[0].upper()}{vm.why[1:]}."] if vm.why else []
            yield Item(vm.grade, verdict(vm), f"{vm.protection.vm}{where}", (*lines, *vm.warnings))
    for one in report.repositories:
        name = f"Repository {one.name}"
        if one.error is not None:
            yield Item("bad", "not opened", name, (one.error,))
        for finding in one.findings:
            if finding.status != "ok":
                grade, word = FINDINGS[finding.status]
                yield Item(grade, word, name, (finding.text, *([finding.todo] if finding.todo else [])))


def counts(report: Report) -> Iterator[tuple[str, int, str]]:
    """Grade, how many VMs bear it, and what it says."""
    for grade, words in (
        ("bad", "not protected as they should be"),
        ("warn", "protected, with a warning"),
        ("good", "protected as their policy asks"),
        ("none", "not to be backed up"),
    ):
        yield grade, sum(vm.grade == grade for vm in report.vms), words


def story(report: Report, page: str) -> Story:
    """The report as people are told of it, with its page."""
    told = Story("report", started=report.time, repositories=[one.name for one in report.repositories])
    told.summary = "VMs: " + "; ".join(f"{count} {words}" for _, count, words in counts(report)) + "."
    for item in items(report):
        told.warn(f"{item.subject}: {item.word}. {' '.join(item.lines)}".strip())
    if report.failed:
        told.fail()
    told.page = page
    return told
