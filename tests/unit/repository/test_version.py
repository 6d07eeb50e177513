"""Only releases of Borg that were tested are let in."""

from __future__ import annotations

import importlib.metadata

import pytest

from borg_ovirt.errors import RepositoryError
from borg_ovirt.repository import version


@pytest.mark.parametrize(
    ("found", "good"),
    [
        ("1.4.3", True),
        ("1.4.5", True),
        ("1.4.2", False),
        ("1.4.6", False),
        ("1.4.5rc1", False),
        ("1.2.8", False),
        ("2.0.0", False),
        ("2.0.0b23", False),
        ("1.4", False),
    ],
)
def test_releases(found: str, good: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "version", lambda _: found)
    if good:
        version.check_borg_version()
    else:
        with pytest.raises(RepositoryError, match=f"BorgBackup {found} is installed"):
            version.check_borg_version()


def test_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> str:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(version, "version", missing)
    with pytest.raises(RepositoryError, match="not installed"):
        version.check_borg_version()


def test_the_one_installed_here() -> None:
    version.check_borg_version()
