"""The report as one HTML page that needs nothing besides itself: no network, no script."""

from __future__ import annotations

from collections.abc import Iterable

from borg_ovirt.jobs.report.markup import Content, Markup, element
from borg_ovirt.jobs.report.model import Report
from borg_ovirt.jobs.report.page_bits import minute, size
from borg_ovirt.jobs.report.page_repositories import repositories
from borg_ovirt.jobs.report.page_vms import kept, left_out, machines
from borg_ovirt.jobs.report.style import css
from borg_ovirt.jobs.report.todo import Item, counts, items

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
    tiles = [
        (grade if (count and grade != "none") or grade == "good" else "", str(count), words)
        for grade, count, words in counts(report)
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
    yield element("h2", "What to look at")
    found = [_item(item) for item in items(report)]
    if found:
        yield element("div", element("ul", *found, class_="todo"), class_="card")
    else:
        yield element("p", "Nothing: every VM is protected as its policy asks.", class_="card")


def _item(item: Item) -> Markup:
    told = (element("span", line) for line in item.lines)
    what = element("span", element("b", item.subject), *told, class_="what")
    return element("li", element("span", item.word, class_=f"pill {item.grade}"), what)
