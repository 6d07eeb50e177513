"""What answers are held against is what the SDK knows: names of collections, their elements, the actions."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from ovirtsdk4 import readers, services
from ovirtsdk4.reader import Reader

import borg_ovirt
from borg_ovirt.ovirt.session.sense import _ACTIONS, _COLLECTIONS

ELSEWISE = {"numanodes", "options"}
"""Answered by elements that are not called as their path is: not checked."""


@cache
def _sdk() -> str:
    assert services.__file__ is not None
    assert readers.__file__ is not None  # registers all of Reader._readers
    return Path(services.__file__).read_text()


@cache
def _product() -> str:
    assert borg_ovirt.__file__ is not None
    return "\n".join(p.read_text() for p in Path(borg_ovirt.__file__).parent.rglob("*.py"))


@cache
def _paths() -> dict[str, set[tuple[str, str]]]:
    """Accessor of a collection -> the classes it gives, and their part of the path."""
    found: dict[str, set[tuple[str, str]]] = {}
    pattern = (
        r"def (\w+_service)\(self\):\n(?:(?!\n    def ).)*?return (\w+)\(self\._connection, '(?:%s/)?(\w+)'"
    )
    for name, service, path in re.findall(pattern, _sdk(), flags=re.DOTALL):
        found.setdefault(name, set()).add((service, path))
    return found


def test_every_collection_that_is_asked_for_is_held_against_its_path() -> None:
    asked = set(re.findall(r"\.(\w+_service)\(\)", _product())) - {"system_service"}
    paths = {path for name in asked for _, path in _paths()[name]}
    assert paths - ELSEWISE == _COLLECTIONS


@pytest.mark.parametrize("collection", sorted(_COLLECTIONS))
def test_a_collection_and_its_element_are_called_as_the_path_is(collection: str) -> None:
    tags = {tag.replace("_", ""): tag for tag in Reader._readers}
    assert collection in tags
    assert f"{tags[collection.removesuffix('s')].replace('_', '')}s" == collection
    served = {service for found in _paths().values() for service, path in found if path == collection}
    for service in served:
        source = re.search(rf"^class {service}\(.*?(?=^class )", _sdk(), flags=re.DOTALL | re.MULTILINE)
        added = source and re.search(r"def add\(.*?types\.(\w+)\)", source[0], flags=re.DOTALL)
        if added:  # what is added is what is answered
            assert f"{added[1].lower()}s" == collection, service


def test_every_action_that_is_asked_for_is_one() -> None:
    """The SDK names them by their path; ours ask for some of them."""
    calls = re.findall(
        r"def (\w+)\(\n(?:(?!\n    def ).)*?_internal_action\(action, '(\w+)'", _sdk(), flags=re.DOTALL
    )
    methods = dict(calls)
    assert set(methods.values()) >= _ACTIONS
    asked = set(re.findall(r"(?:service|_service\([^()]*\))\s*\.(?=(\w+)\()", _product())) & set(methods)
    assert {methods[name] for name in asked} <= _ACTIONS
    assert asked >= {"finalize", "freeze_filesystems", "thaw_filesystems"}
