"""The virtual machines on the page: how they are protected, what is kept of them, which are not backed up."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from borg_ovirt.jobs.report.charts import nights_chart, percent
from borg_ovirt.jobs.report.markup import Content, Markup, element
from borg_ovirt.jobs.report.model import HeldArchive, Report, VmReport
from borg_ovirt.jobs.report.page_bits import minute, size, table, with_small
from borg_ovirt.jobs.report.todo import verdict
from borg_ovirt.jobs.report.words import span


def _name(vm: VmReport, report: Report) -> Markup:
    where = vm.protection.repository if len(report.repositories) > 1 else ""
    return with_small(vm.protection.vm, where)


def machines(report: Report) -> Iterable[Content]:
    shown = [vm for vm in report.vms if vm.grade != "none"]
    yield element("h2", "Virtual machines")
    if not shown:
        yield element("p", "None.", class_="card")
        return
    columns = [
        "VM",
        "Protection",
        "Last backup",
        "Last proof",
        "Size",
        "Stored",
        "Changed, 4 weeks",
        "Archives",
    ]
    yield table(
        "Every virtual machine to be backed up, the least protected first",
        columns,
        ([*_machine(vm, report)] for vm in shown),
    )


def _machine(vm: VmReport, report: Report) -> Iterable[tuple[Content, str]]:
    line = vm.protection
    yield _name(vm, report), ""
    yield element("span", verdict(vm), class_=f"pill {vm.grade}"), "short"
    limit = f"may be {span(vm.max_age)}" if vm.max_age else "no max_age"
    age = f"{span(line.age)} ago" if line.age is not None else "time unknown"
    yield with_small(age, minute(line.time), limit) if line.archive else with_small("never", limit), "short"
    asked = f"asked every {span(vm.max_proof_age)}" if vm.max_proof_age else ""
    if line.proof is not None:
        yield with_small(f"{span(line.proof_age)} ago", f"level {line.proof.level}", asked), "short"
    else:
        yield with_small("none", asked), "short"
    yield size(line.size) if line.archive else "-", "number"
    shared = f"and {size(vm.shared)} shared" if vm.shared else ""
    yield with_small(size(vm.unique), shared), "number"
    yield _change(vm, report.time), "short"
    yield with_small(str(line.archives), f"{line.held} held" if line.held else ""), "number"


def _change(vm: VmReport, now: datetime) -> Content:
    if not vm.nights:
        return None
    known = [point.changed for point in vm.nights if point.changed is not None]
    last = f"last {percent(known[-1])}, {size(vm.nights[-1].added)} added" if known else "first backup"
    return with_small(nights_chart(vm.nights, now), last)


def kept(report: Report) -> Iterable[Content]:
    shown = [vm for vm in report.vms if vm.protection.archives]
    yield element("h2", "What is kept")
    if not shown:
        yield element("p", "No archive yet.", class_="card")
        return
    yield table(
        "Retention, holds and notes of each virtual machine",
        ["VM", "Retention keeps", "Oldest archive", "Held", "Notes of the last backup"],
        (
            [
                (_name(vm, report), ""),
                (vm.retention, ""),
                (minute(vm.oldest), "short"),
                (_lines(_hold(hold) for hold in vm.holds), ""),
                (_lines(vm.notes), ""),
            ]
            for vm in shown
        ),
    )


def _lines(texts: Iterable[str]) -> Content:
    items = [element("li", text) for text in texts]
    return element("ul", *items, class_="lines") if items else None


def _hold(hold: HeldArchive) -> str:
    told = [hold.archive]
    if hold.by:
        told.append(f"by {hold.by}")
    if hold.since:
        told.append(f"since {minute(hold.since)}")
    if hold.until:
        told.append(f"until {minute(hold.until)}")
    return ", ".join(told) + (f": {hold.reason}" if hold.reason else "")


def left_out(report: Report) -> Iterable[Content]:
    names = [vm for vm in report.vms if vm.grade == "none"]
    yield element("h2", "Not backed up")
    if report.engine is None or report.engine_error:
        yield element("p", "Whether the engine has VMs without a backup is not known: it was not asked.")
    if not names:
        if report.engine is not None and not report.engine_error:
            yield element("p", "Every VM of the engine is to be backed up.", class_="card")
        return
    yield table(
        "Virtual machines that are not to be backed up, and why",
        ["VM", "Why", "Archives"],
        (
            [(_name(vm, report), ""), (vm.why or "", ""), (str(vm.protection.archives or ""), "number")]
            for vm in names
        ),
    )
