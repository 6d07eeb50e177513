"""What CONFORMANCE.md says of the box: each rule names where it comes from, and tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TEXT = (TESTS / "ovirtbox" / "CONFORMANCE.md").read_text()
_NAMED = re.compile(r"`([^`]*)`")


def rows() -> list[list[str]]:
    """The rules: what, source, seen or read, tests."""
    lines = [line.strip("|").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
    return [row for row in lines if len(row) == 4 and row[0].strip() != "rule"]


def files(name: str) -> list[Path]:
    """`test_a_{b,c}.py` stands for several; names are relative to the tests of the box."""
    choices = re.search(r"\{(.*)\}", name)
    names = [name.replace(choices[0], one) for one in choices[1].split(",")] if choices else [name]
    base = TESTS if name.startswith("unit/") else TESTS / "integration" / "box"
    return [(base / one).resolve() for one in names]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0].strip()[:60])
def test_every_rule_names_its_tests(row: list[str]) -> None:
    assert re.search(r"seen|read|reasoned", row[2]), row[2]
    named = _NAMED.findall(row[3])
    assert named, "no test holds it"
    last: list[Path] = []
    for name in named:
        path, _, test = name.partition("::")
        last = files(path) if path else last
        for file in last:
            assert file.is_file(), file
        if test:
            prefix = test.removesuffix("...")
            whole = r"\(" if prefix == test else ""
            assert any(re.search(rf"^def {prefix}{whole}", f.read_text(), re.MULTILINE) for f in last), name


def test_there_are_rules() -> None:
    assert len(rows()) > 60
