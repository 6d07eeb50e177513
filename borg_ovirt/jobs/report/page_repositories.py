"""The repositories on the page: what they hold, how they grow, when they are full, what their checks say."""

from __future__ import annotations

from collections.abc import Iterable

from borg_ovirt.blocks import KiB
from borg_ovirt.jobs.report.charts import growth_chart, growth_in_words
from borg_ovirt.jobs.report.markup import Content, element
from borg_ovirt.jobs.report.model import Report, RepositoryReport
from borg_ovirt.jobs.report.page_bits import size, with_small
from borg_ovirt.jobs.report.todo import FINDINGS
from borg_ovirt.units import format_size


def repositories(report: Report) -> Iterable[Content]:
    yield element("h2", "Repositories")
    for one in report.repositories:
        yield element(
            "section", *_repository(one), class_="card repository", aria_label=f"Repository {one.name}"
        )


def _pace(per_day: float | None) -> str:
    if per_day is None:
        return "not known yet"
    return f"{format_size(per_day)} a day" if abs(per_day) >= KiB else "none"


def _repository(one: RepositoryReport) -> Iterable[Content]:
    yield element("h3", with_small(one.name, one.location if one.location != one.name else ""))
    if one.error is not None:
        yield element("p", element("span", "not opened", class_="pill bad"), " ", one.error)
        return
    facts = [
        ("Archives", str(one.archives)),
        ("Stored", size(one.stored)),
        ("Smaller than its archives", f"{one.ratio:.1f} times" if one.ratio else "-"),
        ("On its file system", size(one.taken)),
        ("Free there", size(one.free)),
    ]
    if one.growth is not None:
        facts.append(("Growth", _pace(one.growth.per_day)))
    pairs = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    if one.growth is not None:
        full = (element("dt", "Full"), element("dd", one.growth.forecast))
        pairs.append(element("div", *full, class_="wide"))
    yield element("dl", *pairs, class_="facts")
    if one.growth is not None and len(one.growth.points) > 1:
        points = one.growth.points
        yield element("h4", "Held over time")
        yield growth_chart(points)
        dates = (
            element("span", f"{when:%Y-%m-%d}, {format_size(held)}") for when, held in (points[0], points[-1])
        )
        yield element("p", *dates, class_="span soft small", title=growth_in_words(points))
    items = [
        element(
            "li",
            element("span", FINDINGS[finding.status][1], class_=f"pill {FINDINGS[finding.status][0]}"),
            element("span", finding.text, class_="what"),
        )
        for finding in one.findings
    ]
    if items:
        yield element("h4", "Checks")
        yield element("ul", *items, class_="todo")
