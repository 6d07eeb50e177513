"""The report as one HTML page that needs nothing besides itself: no network, no script."""

from __future__ import annotations

from collections.abc import Iterable

from borg_ovirt.jobs.report.markup import Content, Markup, element
from borg_ovirt.jobs.report.model import Report
from borg_ovirt.jobs.report.page_bits import FINDINGS, minute, size, verdict
from borg_ovirt.jobs.report.page_repositories import repositories
from borg_ovirt.jobs.report.page_vms import kept, left_out, machines
from borg_ovirt.jobs.report.style import css

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Nothing is ever loaded, whatever a name in the page says."""


def page(report: Report) -> str:
    """The whole document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Backups of {_subject(report)}, {minute(report.time)}"),
        element("style", Markup(css())),
    )
    body = element(
        "body",
        element("header", *_header(report)),
        element(
            "main",
            *_todo(report),
            *machines(report),
            *repositories(report),
            *kept(report),
            *left_out(report),
        ),
        element(
            "footer",
            element(
                "p",
                f"Made by borg-ovirt {report.version} on {report.host} at {minute(report.time)}. "
                "Sizes are binary (1 KiB = 1024 bytes). Stored: compressed, each chunk counted once.",
            ),
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _subject(report: Report) -> str:
    return report.engine or ", ".join(one.name for one in report.repositories) or report.host


def _header(report: Report) -> Iterable[Content]:
    yield element("h1", "Backup report")
    asked = f"engine {report.engine}" if report.engine else "engine not asked"
    yield element("p", f"{minute(report.time)}, {asked}", class_="soft")
    count = {grade: sum(vm.grade == grade for vm in report.vms) for grade in ("good", "warn", "bad", "none")}
    tiles = [
        ("bad" if count["bad"] else "", str(count["bad"]), "not protected as they should be"),
        ("warn" if count["warn"] else "", str(count["warn"]), "protected, with a warning"),
        ("good", str(count["good"]), "protected as their policy asks"),
        ("", str(count["none"]), "not to be backed up"),
    ]
    known = [one.stored for one in report.repositories if one.stored is not None]
    tiles.append(("", size(sum(known)) if known else "-", f"stored in {_repositories_of(report)}"))
    yield element(
        "ul",
        *(element("li", element("b", number), words, class_=style or None) for style, number, words in tiles),
        class_="tiles",
        aria_label="Summary: virtual machines by how they are protected",
    )


def _repositories_of(report: Report) -> str:
    return "1 repository" if len(report.repositories) == 1 else f"{len(report.repositories)} repositories"


def _todo(report: Report) -> Iterable[Content]:
    items = [*_engine_item(report), *_vm_items(report), *_repository_items(report)]
    yield element("h2", "What to look at")
    if items:
        yield element("div", element("ul", *items, class_="todo"), class_="card")
    else:
        yield element("p", "Nothing: every VM is protected as its policy asks.", class_="card")


def _item(style: str, word: str, subject: str, *lines: str) -> Markup:
    what = element("span", element("b", subject), *(element("span", line) for line in lines), class_="what")
    return element("li", element("span", word, class_=f"pill {style}"), what)


def _engine_item(report: Report) -> Iterable[Markup]:
    if report.engine_error is not None:
        told = "VMs without archives are not known; the others are judged by their archives."
        yield _item("bad", "no answer", f"Engine {report.engine}", report.engine_error, told)


def _vm_items(report: Report) -> Iterable[Markup]:
    several = len(report.repositories) > 1
    for vm in report.vms:
        if vm.grade in ("bad", "warn"):
            where = f" in {vm.protection.repository}" if several else ""
            lines = [f"{vm.why[0].upper()}{vm.why[1:]}."] if vm.why else []
            yield _item(vm.grade, verdict(vm), f"{vm.protection.vm}{where}", *lines, *vm.warnings)


def _repository_items(report: Report) -> Iterable[Markup]:
    for one in report.repositories:
        name = f"Repository {one.name}"
        if one.error is not None:
            yield _item("bad", "not opened", name, one.error)
        for finding in one.findings:
            if finding.status != "ok":
                style, word = FINDINGS[finding.status]
                yield _item(style, word, name, finding.text, *([finding.todo] if finding.todo else []))
