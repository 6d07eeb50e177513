"""The page of the report: whole HTML, escaped, loading nothing, its structure told to who hears it."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import reports

from borg_ovirt.jobs.report.charts import growth_chart, nights_chart, nights_in_words
from borg_ovirt.jobs.report.markup import Markup, element
from borg_ovirt.jobs.report.model import Report
from borg_ovirt.jobs.report.page import page
from borg_ovirt.jobs.report.style import DARK, LIGHT

VOID = {"meta", "rect", "line", "path", "polyline"}


class Tree(HTMLParser):
    """Elements with their attributes and the way to them, and all text; tags that do not fit are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes, _ in self.elements if tag in tags]


@pytest.fixture(scope="module")
def text() -> str:
    return page(reports.report())


@pytest.fixture(scope="module")
def tree(text: str) -> Tree:
    return Tree(text)


def test_it_is_a_whole_document(text: str, tree: Tree) -> None:
    assert text.startswith('<!DOCTYPE html>\n<html lang="en"><head>')
    assert [tag for tag, _, way in tree.elements if way == ("html",)] == ["head", "body"]
    assert [tag for tag, _, way in tree.elements if way == ("html", "body")] == ["header", "main", "footer"]
    assert "title" in [tag for tag, _, way in tree.elements if way == ("html", "head")]
    levels = [int(tag[1]) for tag, _, _ in tree.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))


def test_nothing_is_loaded_and_nothing_runs(text: str, tree: Tree) -> None:
    loads = {"script", "link", "img", "iframe", "object", "embed", "image", "use", "base", "form", "a"}
    assert loads.isdisjoint(tag for tag, _, _ in tree.elements)
    names = {name for _, attributes, _ in tree.elements for name in attributes}
    assert {"src", "href", "style", "srcset"}.isdisjoint(names)
    assert not [name for name in names if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in str([meta.get("content") for meta in tree.all("meta")])


def test_what_others_wrote_is_text(text: str, tree: Tree) -> None:
    assert "<script" not in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    shown = [data for data in tree.text if "alert(1)" in data]
    # Name, cells of three tables, hold (reason and who), note.
    assert len(shown) >= 5
    assert all("<script>alert(1)</script>\"'&\\u202e\\x1b[2J" in data for data in shown)
    hostile = element("p", reports.HOSTILE, title=reports.HOSTILE)
    ((_, attributes, _),) = Tree(hostile).elements
    assert attributes == {"title": "<script>alert(1)</script>\"'&\\u202e\\x1b[2J"}
    assert element("b", Markup("<i></i>"), "<i>") == "<b><i></i>&lt;i&gt;</b>"


def test_tables_say_what_heads_what(tree: Tree) -> None:
    for attributes, way in [(a, w) for tag, a, w in tree.elements if tag == "th"]:
        head = "thead" in way
        assert attributes["scope"] == ("col" if head else "row")
        assert attributes["role"] == ("columnheader" if head else "rowheader")
    assert {a.get("role") for a in tree.all("table")} == {"table"}
    assert {a.get("role") for a in tree.all("tr")} == {"row"}
    assert {a.get("role") for a in tree.all("td")} == {"cell"}
    assert all(a.get("data-label") for a in tree.all("td"))
    assert len(tree.all("caption")) == len(tree.all("table")) == 3


def test_charts_are_told_in_words(tree: Tree) -> None:
    drawings = tree.all("svg")
    assert len(drawings) == 12 - 2 + 1  # all VMs with archives that are to be backed up, one repository
    assert all(a["role"] == "img" and a["aria-label"] for a in drawings)
    hot = reports.nights(3, 0.012, 0.41, reports.HEAT)
    assert nights_in_words(hot).endswith("and 41%, on the last 41%; 1 unusual")
    assert nights_chart(hot, reports.NOW).count('class="bar hot"') == 1
    assert nights_in_words([]) == "no nights to compare"
    one = growth_chart([(reports.NOW, 0)])
    assert "Held 0 B on 2026-06-30" in one


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(palette: dict[str, str]) -> None:
    """WCAG 2.2: text 4.5 to 1, what is drawn 3 to 1."""
    pairs = [(text, back, 4.5) for text in ("text", "soft") for back in ("page", "card")]
    pairs += [(grade, f"{grade}-back", 4.5) for grade in ("good", "warn", "bad", "none")]
    pairs += [(bar, "card", 3.0) for bar in ("bar", "hot")]
    low = {(a, b): contrast(palette[a], palette[b]) for a, b, least in pairs}
    assert not [pair for pair, (_, _, least) in zip(low, pairs, strict=True) if low[pair] < least], low


def test_what_is_to_be_done_stands_first(tree: Tree) -> None:
    told = " ".join(tree.text)
    assert told.index("What to look at") < told.index("Virtual machines")
    assert "Its last archive is 3d10h old, and may be 1d02h." in told
    assert "41% of its data changed" in told
    assert "Borg found its files faulty on 2026-06-28" in told
    assert "in 83 days at 11.3 GiB a day" in told


def test_nothing_to_do_and_nothing_known() -> None:
    whole = reports.report()
    calm = replace(
        whole,
        vms=[vm for vm in whole.vms if vm.grade == "good"],
        repositories=[replace(one, findings=[]) for one in whole.repositories],
    )
    assert not calm.failed
    assert "Nothing: every VM is protected as its policy asks." in page(calm)
    assert "Every VM of the engine is to be backed up." in page(calm)
    lost = [replace(one, error="it is locked") for one in whole.repositories]
    empty = Report(whole.time, "0.1.0", "h", "e", "no route to host", [], lost)
    assert empty.failed
    told = " ".join(Tree(page(empty)).text)
    assert "no route to host" in told
    assert "it is locked" in told
    assert "it was not asked" in told
