"""Bits that several parts of the page show: times, sizes, verdicts, and a table for narrow pages, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from borg_ovirt.jobs.report.markup import Content, Markup, element, together
from borg_ovirt.units import format_size


def minute(time: datetime | None) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else ""


def size(size: int | None) -> str:
    return "-" if size is None else format_size(size)


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[tuple[Content, str]]]) -> Markup:
    """The first cell of each row is its heading. Roles are said again: narrow pages lay tables out anew."""
    head = element(
        "thead",
        element("tr", *(element("th", c, scope="col", role="columnheader") for c in columns), role="row"),
        role="rowgroup",
    )
    body = []
    for row in rows:
        (first, _), *others = row
        cells = [element("th", first, scope="row", role="rowheader")]
        for label, (content, style) in zip(columns[1:], others, strict=True):
            inside = element("div", content) if content else None
            cells.append(element("td", inside, class_=style or None, role="cell", data_label=label))
        body.append(element("tr", *cells, role="row"))
    table = element(
        "table",
        element("caption", caption, class_="hidden"),
        head,
        element("tbody", *body, role="rowgroup"),
        role="table",
    )
    return element("div", table, class_="framed")


def with_small(main: Content, *more: str) -> Markup:
    return together([main, *(element("small", text) for text in more if text)])
