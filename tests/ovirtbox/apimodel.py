"""The API's own model, as the SDK's readers know it: what an element may hold, and of which type.

An invented or misspelt element of an answer would be skipped by the SDK without a word, and one of a request
is refused by the engine. Both are told here by name.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_BRANCH = re.compile(r"tag == '(\w+)':\s*\n\s*(.+)")
_LINK = re.compile(r"rel == \"(\w+)\"")
_CALL = re.compile(r"(?P<reader>\w+)\.(?P<method>\w+)\((?:types\.(?P<enum>\w+))?")

EVERYWHERE = {"link", "actions"}
BESIDE_THE_MODEL = {"backups", "checkpoints"}
"""Links that an engine sends though the model has none: they are reached as services of a VM."""


@dataclass(frozen=True)
class _Known:
    """What a reader reads: element -> how, and the links it follows."""

    elements: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)
    links: frozenset[str] = frozenset()


@cache
def _readers() -> dict[str, _Known]:
    """Every reader of the SDK, from its source: what they know stands in their branches alone."""
    from ovirtsdk4 import readers

    assert readers.__file__ is not None
    _, *classes = re.split(r"^class (?=\w+Reader\()", Path(readers.__file__).read_text(), flags=re.MULTILINE)
    found = {}
    for source in classes:
        elements = {}
        for name, statement in _BRANCH.findall(source):
            call = _CALL.search(statement)
            if call:
                elements[name] = (call["reader"], call["method"], call["enum"])
        found[source.partition("(")[0]] = _Known(elements, frozenset(_LINK.findall(source)))
    return found


def _known(reader: str) -> _Known:
    return _readers()[reader]


@cache
def _reader_of(tag: str) -> tuple[str, str] | None:
    """The class and method that read a root element."""
    from ovirtsdk4 import readers
    from ovirtsdk4.reader import Reader

    found: Callable[..., Any] | None = Reader._readers.get(tag)
    if found is None or not hasattr(readers, found.__qualname__.split(".")[0]):
        return None
    reader, method = found.__qualname__.split(".")
    return reader, method


def unknown_elements(root: ET.Element) -> bool:
    """Whether a request has an element that the model does not know (bad values are told elsewhere)."""
    return any(problem.endswith("no such element") for problem in strange(root, links=False))


def links_of(tag: str) -> tuple[frozenset[str], frozenset[str]]:
    """The sub-collections that entities of a tag link to, and the single entities they refer to."""
    reader = _reader_of(tag)
    if reader is None:
        return frozenset(), frozenset()
    known = _known(reader[0])
    return known.links, frozenset(n for n, (_, how, _) in known.elements.items() if how == "read_one")


def strange(root: ET.Element, *, links: bool = True) -> list[str]:
    """What the model does not know in a document: names, types, enumeration values, links."""
    reader = _reader_of(root.tag)
    if reader is None:
        return [f"{root.tag}: no such element"]
    return list(_look(root, *reader, None, root.tag, links))


def _look(
    element: ET.Element, reader: str, method: str, enum: str | None, path: str, links: bool
) -> Iterator[str]:
    if method == "read_many":
        for child in element:
            yield from _look(child, reader, "read_one", None, f"{path}.{child.tag}", links)
        if element.text and element.text.strip():
            yield f"{path}: text in a list"
    elif method == "read_one":
        yield from _look_into(element, _known(reader), path, links)
    elif method.endswith("s"):
        for child in element:
            yield from _value(child, method[:-1], enum, f"{path}.{child.tag}")
    else:
        yield from _value(element, method, enum, path)


def _look_into(element: ET.Element, known: _Known, path: str, links: bool) -> Iterator[str]:
    seen: set[str] = set()
    for child in element:
        here = f"{path}.{child.tag}"
        if child.tag == "link" and links:
            rel = child.get("rel", "")
            if rel not in known.links | BESIDE_THE_MODEL and path != "api":
                yield f"{path}: no link {rel}"
            continue
        if child.tag in EVERYWHERE:
            continue
        if child.tag in seen:
            yield f"{here}: twice"
        seen.add(child.tag)
        how = known.elements.get(child.tag)
        if how is None:
            yield f"{here}: no such element"
        else:
            yield from _look(child, *how, here, links)


def _value(element: ET.Element, method: str, enum: str | None, path: str) -> Iterator[str]:
    from ovirtsdk4 import types
    from ovirtsdk4.reader import Reader

    text = element.text or ""
    if len(element):
        yield f"{path}: elements where a value belongs"
        return
    if method == "read_enum":
        assert enum is not None
        if text not in {member.value for member in getattr(types, enum)}:
            yield f"{path}: {text!r} is no {enum}"
        return
    parse = getattr(Reader, method.replace("read_", "parse_"), None)
    if parse is None:
        return
    try:
        parse(text)
    except (ValueError, IndexError):
        yield f"{path}: {text!r} is no {method.removeprefix('read_')}"
