"""How a path inside an archive is typed, and what is said where guestfish is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from borg_ovirt.cli.boundary import run
from borg_ovirt.cli.files import _inside
from borg_ovirt.cli.location import Location


@pytest.mark.parametrize(
    ("text", "repo", "name", "path"),
    [
        ("/r/repo::web01", "/r/repo", "web01", None),
        ("/r/repo::web01:", "/r/repo", "web01", None),
        ("/r/repo::web01:/etc/a::b:/c", "/r/repo", "web01", "/etc/a::b:/c"),
        ("ssh://[2001:db8::1]/r::web01:/etc", "ssh://[2001:db8::1]/r", "web01", "/etc"),
    ],
)
def test_a_path_begins_after_the_name(text: str, repo: str, name: str, path: str | None) -> None:
    assert _inside(text) == (Location(repo, name), path)


def test_without_guestfish_one_line_names_the_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["files", f"{tmp_path}::web01:/etc/fstab"]) == 40
    told = capsys.readouterr().err
    assert "install libguestfs-tools" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("where", ["", ":/", ":///"])
def test_only_what_has_a_name_is_copied(tmp_path: Path, where: str) -> None:
    assert run(["files", f"{tmp_path}::web01{where}", "--to", str(tmp_path)]) == 2
