"""Which archive a backup builds on, and the words when there is none."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.errors import BorgOvirtError, NotOurArchive, RepositoryDamaged, RepositoryError
from borg_ovirt.jobs.backup.base import BaseQuery, choose_base, needed_checkpoints, series_cell
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
    broken: Exception | None = None

    cell: int = 4

    @property
    def manifest(self) -> Any:
        if self.broken is not None:
            raise self.broken
        return SimpleNamespace(run=SimpleNamespace(cell=self.cell))


@dataclass
class OpenedRepository:
    """A repository as far as the choice asks it."""

    infos: list[Info] = field(default_factory=list)
    broken: dict[str, Exception] = field(default_factory=dict)
    cells: dict[str, int] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

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
        self.opened.append(name)
        return Reader(self.broken.get(name), self.cells.get(name, 4))


def choose(repository: OpenedRepository, held: dict[int, str], **more: Any) -> Any:
    options = {"mode": "image", "full": False, "full_every": None, "now": NOW, **more}
    query = BaseQuery(VM, checkpoints={checkpoint(n): s for n, s in held.items()}, **options)
    return choose_base(repository, query)  # type: ignore[arg-type]


def test_the_newest_archive_with_a_checkpoint_is_the_base() -> None:
    repository = OpenedRepository()
    repository.add(2, 1, kind="full")
    newest = repository.add(1, 2)
    choice = choose(repository, {1: "created", 2: "created"})
    assert (choice.base.info.name, choice.base.checkpoint, choice.reason) == (newest, checkpoint(2), None)


def test_other_vms_and_modes_are_no_base() -> None:
    repository = OpenedRepository()
    repository.add(1, 1, vm_id=str(uuid.uuid4()))
    repository.add(1, 2, mode="chain")
    choice = choose(repository, {1: "created", 2: "created"})
    assert choice.base is None
    assert not choice.fallback
    assert "first backup" in choice.reason


@pytest.mark.parametrize(
    ("held", "word"), [({}, "no longer holds"), ({1: "invalid"}, "invalid")], ids=["gone", "invalid"]
)
def test_a_checkpoint_that_is_no_good_is_a_fallback_with_its_reason(held: dict[int, str], word: str) -> None:
    repository = OpenedRepository()
    repository.add(1, 1)
    choice = choose(repository, held)
    assert choice.base is None
    assert choice.fallback
    assert word in choice.reason


@pytest.mark.parametrize("error", [NotOurArchive("It is zeros."), RepositoryDamaged("A chunk is lost.")])
def test_a_damaged_archive_gives_way_to_the_one_before_while_its_checkpoint_is_held(
    error: BorgOvirtError,
) -> None:
    repository = OpenedRepository()
    older = repository.add(2, 1)
    repository.broken[repository.add(1, 2)] = error
    choice = choose(repository, {1: "created", 2: "created"})
    assert choice.base.info.name == older
    assert error.message in choice.damage[0]
    assert choice.cell == 4
    lost = choose(repository, {2: "created"})
    assert lost.base is None
    assert "damaged" in lost.reason


def test_after_a_mark_nothing_older_is_trusted() -> None:
    repository = OpenedRepository()
    repository.add(2, 1)
    repository.add(1, 2, marked=True)
    choice = choose(repository, {1: "created", 2: "created"})
    assert choice.base is None
    assert choice.fallback
    assert "marked" in choice.reason
    assert needed_checkpoints(repository, VM) == set()  # type: ignore[arg-type]


def test_raw_disks_only_is_no_fallback() -> None:
    repository = OpenedRepository()
    repository.add(1, None, kind="full")
    choice = choose(repository, {})
    assert choice.base is None
    assert not choice.fallback


@pytest.mark.parametrize(("age", "full"), [(6.9, False), (7.0, True), (40, True)])
def test_full_every_counts_from_the_last_full_read(age: float, full: bool) -> None:
    repository = OpenedRepository()
    repository.add(age, 1, kind="full")
    repository.add(0.5, 2)
    choice = choose(repository, {2: "created"}, full_every=timedelta(days=7))
    assert (choice.base is None) == full
    assert not choice.fallback
    if full:
        assert "7 days" in choice.reason


def test_full_is_what_the_user_asked_for() -> None:
    repository = OpenedRepository()
    repository.add(1, 1)
    choice = choose(repository, {1: "created"}, full=True)
    assert choice.base is None
    assert not choice.fallback


def test_the_needed_checkpoint_is_the_newest_one() -> None:
    repository = OpenedRepository()
    repository.add(3, 1)
    repository.add(2, 2)
    repository.add(1, None)
    assert needed_checkpoints(repository, VM) == {checkpoint(2)}  # type: ignore[arg-type]


def test_a_lost_connection_is_no_damage() -> None:
    repository = OpenedRepository()
    repository.add(2, 1)
    repository.broken[repository.add(1, 2)] = RepositoryError("The connection failed.")
    with pytest.raises(RepositoryError, match="connection"):
        choose(repository, {1: "created", 2: "created"})


@pytest.mark.parametrize("more", [{"full": True}, {"full_every": timedelta(0)}, {"mode": "chain"}, {}])
def test_the_grid_is_that_of_the_newest_archive_that_can_be_read(more: dict[str, Any]) -> None:
    repository = OpenedRepository()
    for mode in ("image", "chain"):
        repository.cells[repository.add(3, 1, mode=mode)] = 1
        repository.cells[repository.add(2, 1, mode=mode)] = 2
        repository.broken[repository.add(1, 1, mode=mode)] = RepositoryDamaged("A chunk is lost.")
    choice = choose(repository, {}, **more)
    assert choice.cell == 2
    assert series_cell(repository, VM, more.get("mode", "image")) == 2  # type: ignore[arg-type]
    assert len(choice.damage) == 1


def test_archives_are_not_opened_in_vain() -> None:
    repository = OpenedRepository()
    names = [repository.add(days, days, mode="image") for days in (3, 2, 1)]
    choose(repository, {})
    assert repository.opened == [names[-1]]


def test_a_chain_needs_no_checkpoint_but_heeds_all_else() -> None:
    repository = OpenedRepository()
    older = repository.add(9, None, kind="full", mode="chain")
    name = repository.add(1, None, mode="chain")
    assert choose(repository, {}, mode="chain").base.info.name == name
    overdue = choose(repository, {}, mode="chain", full_every=timedelta(days=7))
    assert (overdue.base, overdue.fallback) == (None, False)
    assert "7 days" in overdue.reason
    assert choose(repository, {}, mode="chain", full=True).base is None
    repository.broken[name] = NotOurArchive("It is zeros.")
    assert choose(repository, {}, mode="chain").base.info.name == older
    repository.add(0.5, None, mode="chain", marked=True)
    marked = choose(repository, {}, mode="chain")
    assert (marked.base, marked.fallback) == (None, True)
    assert "found changed" in marked.reason
