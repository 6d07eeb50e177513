"""What makes an archive one that cannot be restored whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.errors import ArchiveNotFound, NotOurArchive, RepositoryDamaged, RepositoryError
from borg_ovirt.repository.health import damage


class Reader:
    """An archive of two disks; `bad` are those that lost chunks."""

    def __init__(self, bad: tuple[str, ...] = (), ovf: Exception | None = None) -> None:
        self.manifest = SimpleNamespace(contents={"disks/a.raw": 1, "disks/b.raw": 1})
        self._bad = bad
        self._ovf = ovf

    @property
    def ovf(self) -> bytes:
        if self._ovf:
            raise self._ovf
        return b"<ovf/>"

    def disk(self, path: str) -> Any:
        return SimpleNamespace(damaged=path in self._bad)


def told(reader: Any) -> str | None:
    return damage(lambda: reader)


def test_a_whole_archive() -> None:
    assert told(Reader()) is None


@pytest.mark.parametrize("bad", [("disks/a.raw",), ("disks/b.raw",), ("disks/a.raw", "disks/b.raw")])
def test_each_disk_that_lost_chunks_is_named(bad: tuple[str, ...]) -> None:
    assert told(Reader(bad)) == f"the repository lost chunks of {', '.join(bad)}"


@pytest.mark.parametrize("error", [RepositoryDamaged("vm.ovf is lost."), ArchiveNotFound("No vm.ovf.")])
def test_an_ovf_that_cannot_be_read(error: Exception) -> None:
    assert told(Reader(ovf=error)) == str(error).rstrip(".")


def test_an_archive_that_cannot_be_read_at_all() -> None:
    def read() -> Any:
        raise NotOurArchive("The manifest is not valid.")

    assert damage(read) == "The manifest is not valid"


def test_a_repository_that_does_not_answer_says_nothing_about_the_archive() -> None:
    with pytest.raises(RepositoryError, match="open files"):
        told(Reader(ovf=RepositoryError("Too many open files.")))
