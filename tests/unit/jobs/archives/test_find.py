"""What a name stands for: an archive, or a VM's latest one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from borg_ovirt.errors import ArchiveNotFound, RepositoryDamaged
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import ArchiveComment

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
ONE, TWO = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


@dataclass
class OpenedRepository:
    location: str = "/repo"
    infos: list[ArchiveInfo] = field(default_factory=list)
    foreign: set[str] = field(default_factory=set)

    def add(
        self, name: str, vm_id: str, vm_name: str, engine: str = "engine", days: int | None = None
    ) -> None:
        number = len(self.infos) + 1
        comment = ArchiveComment(
            vm_id=vm_id, vm_name=vm_name, mode="image", engine=engine, kind="full", number=number
        )
        when = NOW + timedelta(days=number if days is None else days)
        self.infos.append(ArchiveInfo(name, name, when, comment, timedelta(0), 0, 0))

    def archives(self) -> list[ArchiveInfo]:
        return list(self.infos)

    def all_names(self) -> set[str]:
        return {info.name for info in self.infos} | self.foreign

    def unreadable(self) -> set[str]:
        return {name for name in self.foreign if name.startswith("lost")}


def find(shelf: OpenedRepository, name: str) -> str:
    return find_archive(shelf, name).name  # type: ignore[arg-type]


@pytest.fixture
def shelf() -> Any:
    made = OpenedRepository()
    made.add("web-1", ONE, "web")
    made.add("web-2", ONE, "web")
    made.add("db-1", TWO, "db")
    return made


def test_an_exact_name_goes_first(shelf: OpenedRepository) -> None:
    shelf.add("later", TWO, "web-1")
    assert find(shelf, "web-1") == "web-1"


def test_a_vm_stands_for_its_latest_archive(shelf: OpenedRepository) -> None:
    assert find(shelf, "web") == "web-2"
    assert find(shelf, ONE.upper()) == "web-2"


def test_a_prefix_is_no_name(shelf: OpenedRepository) -> None:
    with pytest.raises(ArchiveNotFound):
        find(shelf, "we")


def test_names_that_are_near_are_named(shelf: OpenedRepository) -> None:
    shelf.add("website-1", TWO, "web site")
    for name, near in (("WEB1", "web"), ("dbx", "db"), ("website-2", "web site"), ("db_1", "db")):
        with pytest.raises(ArchiveNotFound, match=f"Did you mean .*{near}") as caught:
            find(shelf, name)
        assert "`borg-ovirt list REPO`" in str(caught.value.hint)
    with pytest.raises(ArchiveNotFound) as caught:
        find(shelf, "something else")
    assert "Did you mean" not in str(caught.value.hint)


def test_two_vms_of_one_name_are_told_apart_by_the_user(shelf: OpenedRepository) -> None:
    shelf.add("web-3", TWO, "web")
    with pytest.raises(ArchiveNotFound) as caught:
        find(shelf, "web")
    assert ONE in str(caught.value)
    assert TWO in str(caught.value)
    assert "web-2" in str(caught.value)
    assert find(shelf, TWO) == "web-3"


def test_a_renamed_vm_is_found_by_every_name_it_had(shelf: OpenedRepository) -> None:
    shelf.add("shop-1", ONE, "shop")
    for name in ("shop", "web", ONE):
        assert find(shelf, name) == "shop-1"


def test_a_foreign_archive_is_called_so(shelf: OpenedRepository) -> None:
    shelf.foreign.add("home")
    with pytest.raises(ArchiveNotFound, match="not made by borg-ovirt"):
        find(shelf, "home")


def test_the_latest_is_the_last_one_made_whatever_the_clocks_said(shelf: OpenedRepository) -> None:
    shelf.add("ahead", ONE, "web", days=9999)
    shelf.add("after", ONE, "web", days=5)
    assert find(shelf, "web") == "after"
    shelf.add("behind", ONE, "web", days=-2)
    assert find(shelf, "web") == "behind"


def test_a_vm_of_two_engines_is_told_apart_by_the_user(shelf: OpenedRepository) -> None:
    shelf.add("web-3", ONE, "web", engine="other")
    for name in ("web", ONE):
        with pytest.raises(ArchiveNotFound, match=r"2 engines: engine \(latest archive web-2\); other"):
            find(shelf, name)
    assert find(shelf, "web-2") == "web-2"


def test_an_archive_that_cannot_be_read_is_called_so(shelf: OpenedRepository) -> None:
    shelf.foreign.add("lost-1")
    with pytest.raises(RepositoryDamaged, match="lost-1 in /repo cannot be read"):
        find(shelf, "lost-1")


def test_an_older_archive_is_not_taken_for_a_latest_that_cannot_be_read() -> None:
    shelf = OpenedRepository()
    shelf.add("lost-2026-03-01T120000Z", ONE, "lost")
    shelf.add("web-2026-03-01T120000Z", TWO, "web")
    shelf.foreign |= {"lost-2026-03-02T120000Z", "lost-2026-02-01T120000Z"}
    with pytest.raises(RepositoryDamaged, match="lost-2026-03-02T120000Z, which cannot be read") as raised:
        find(shelf, "lost")
    assert "lost-2026-03-01T120000Z" in (raised.value.hint or "")
    assert find(shelf, "web") == "web-2026-03-01T120000Z"
    assert find(shelf, "lost-2026-03-01T120000Z") == "lost-2026-03-01T120000Z"
