"""The mapping file of a second site: read with the care of the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from borg_ovirt.config.load import load_map
from borg_ovirt.errors import ConfigError


def test_what_takes_the_place_of_what(tmp_path: Path) -> None:
    (path := tmp_path / "map.yaml").write_text("clusters: {A: B}\nnetworks: {lan: none}\nmac: new\n")
    found = load_map(str(path))
    assert (found.clusters, found.storage_domains, found.networks, found.mac) == (
        {"A": "B"},
        {},
        {"lan": "none"},
        "new",
    )
    path.write_text("")
    assert load_map(str(path)).clusters == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("network: {a: b}", r"map.yaml:1: network: there is no such key; did you mean networks\?"),
        ("\nmac: other", "map.yaml:2: mac: 'other' is not one of"),
        ("clusters: {a: b, a: c}", "given twice"),
        (None, "cannot be read: No such file"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "map.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        load_map(str(path))
