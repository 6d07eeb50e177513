"""Which archive a backup builds on, and the words when there is none."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.jobs.backup.base import BaseQuery, choose_base, needed_checkpoints
from borg_ovirt.repository.layout import ArchiveComment

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
VM = str(uuid.uuid4())


def checkpoint(number: int) -> str:
    return str(uuid.UUID(int=number))


@dataclass
class Info:
    name: str
    time: datetime
    comment: ArchiveComment
    id: str = "id"


@dataclass
class Reader:
    broken: bool = False

    @property
    def manifest(self) -> str:
        if self.broken:
            raise NotOurArchive("The manifest is gone.")
        return "manifest"


@dataclass
class OpenedRepository:
    """A repository as far as the choice asks it."""

    infos: list[Info] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def add(self, days_ago: float, number: int | None, *, kind: str = "incremental", **more: Any) -> str:
        name = f"a{len(self.infos)}"
        comment = ArchiveComment(
            vm_id=more.pop("vm_id", VM),
            vm_name="web01",
            mode=more.pop("mode", "image"),
            engine="e",
            checkpoint=None if number is None else checkpoint(number),
            kind=kind,  # type: ignore[arg-type]
            **more,
        )
        self.infos.append(Info(name, NOW - timedelta(days=days_ago), comment))
        return name

    def archives(self) -> list[Info]:
        return list(self.infos)

    def archive(self, name: str) -> Reader:
        return Reader(name in self.broken)


def choose(shelf: OpenedRepository, held: dict[int, str], **more: Any) -> Any:
    options = {"full": False, "full_every": None, "now": NOW, **more}
    query = BaseQuery(VM, {checkpoint(n): s for n, s in held.items()}, **options)
    return choose_base(shelf, query)  # type: ignore[arg-type]


def test_the_newest_archive_with_a_checkpoint_is_the_base() -> None:
    shelf = OpenedRepository()
    shelf.add(2, 1, kind="full")
    newest = shelf.add(1, 2)
    choice = choose(shelf, {1: "created", 2: "created"})
    assert (choice.base.info.name, choice.base.checkpoint, choice.reason) == (newest, checkpoint(2), None)


def test_other_vms_and_modes_are_no_base() -> None:
    shelf = OpenedRepository()
    shelf.add(1, 1, vm_id=str(uuid.uuid4()))
    shelf.add(1, 2, mode="chain")
    choice = choose(shelf, {1: "created", 2: "created"})
    assert choice.base is None
    assert not choice.fallback
    assert "first backup" in choice.reason


@pytest.mark.parametrize(
    ("held", "word"), [({}, "no longer holds"), ({1: "invalid"}, "invalid")], ids=["gone", "invalid"]
)
def test_a_checkpoint_that_is_no_good_is_a_fallback_with_its_reason(held: dict[int, str], word: str) -> None:
    shelf = OpenedRepository()
    shelf.add(1, 1)
    choice = choose(shelf, held)
    assert choice.base is None
    assert choice.fallback
    assert word in choice.reason


def test_a_damaged_archive_gives_way_to_the_one_before_while_its_checkpoint_is_held() -> None:
    shelf = OpenedRepository()
    older = shelf.add(2, 1)
    shelf.broken.add(shelf.add(1, 2))
    assert choose(shelf, {1: "created", 2: "created"}).base.info.name == older
    lost = choose(shelf, {2: "created"})
    assert lost.base is None
    assert "damaged" in lost.reason


def test_after_a_mark_nothing_older_is_trusted() -> None:
    shelf = OpenedRepository()
    shelf.add(2, 1)
    shelf.add(1, 2, marked=True)
    choice = choose(shelf, {1: "created", 2: "created"})
    assert choice.base is None
    assert choice.fallback
    assert "marked" in choice.reason
    assert needed_checkpoints(shelf, VM) == set()  # type: ignore[arg-type]


def test_raw_disks_only_is_no_fallback() -> None:
    shelf = OpenedRepository()
    shelf.add(1, None, kind="full")
    choice = choose(shelf, {})
    assert choice.base is None
    assert not choice.fallback


@pytest.mark.parametrize(("age", "full"), [(6.9, False), (7.0, True), (40, True)])
def test_full_every_counts_from_the_last_full_read(age: float, full: bool) -> None:
    shelf = OpenedRepository()
    shelf.add(age, 1, kind="full")
    shelf.add(0.5, 2)
    choice = choose(shelf, {2: "created"}, full_every=timedelta(days=7))
    assert (choice.base is None) == full
    assert not choice.fallback
    if full:
        assert "7 days" in choice.reason


def test_full_is_what_the_user_asked_for() -> None:
    shelf = OpenedRepository()
    shelf.add(1, 1)
    choice = choose(shelf, {1: "created"}, full=True)
    assert choice.base is None
    assert not choice.fallback


def test_the_needed_checkpoint_is_the_newest_one() -> None:
    shelf = OpenedRepository()
    shelf.add(3, 1)
    shelf.add(2, 2)
    shelf.add(1, None)
    assert needed_checkpoints(shelf, VM) == {checkpoint(2)}  # type: ignore[arg-type]
