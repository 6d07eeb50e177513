"""A damaged archive hides none of the others."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import pytest

from borg_ovirt.errors import RepositoryDamaged, RepositoryError
from borg_ovirt.repository.borg_facts import ArchiveEntry, ArchiveFacts
from borg_ovirt.repository.catalogue import Catalogue
from borg_ovirt.repository.layout import ArchiveComment

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
OURS = ArchiveComment(
    vm_id="11111111-1111-4111-8111-111111111111", vm_name="web01", mode="image", engine="e", kind="full"
)


class Session:
    """Archives by name; the metadata of some cannot be read, those of others are not ours."""

    def __init__(
        self, names: Sequence[str], damaged: Sequence[str] = (), foreign: Sequence[str] = ()
    ) -> None:
        self.names = names
        self.damaged = damaged
        self.foreign = foreign
        self.asked: list[str] = []
        self.error: type[RepositoryError] = RepositoryDamaged

    def entries(self) -> list[ArchiveEntry]:
        return [ArchiveEntry(name, name.encode(), NOON) for name in self.names]

    def facts(self, entries: Sequence[ArchiveEntry]) -> Iterator[ArchiveFacts]:
        for entry in entries:
            self.asked.append(entry.name)
            if entry.name in self.damaged:
                raise self.error(f"{entry.name} is damaged.")
            comment = "" if entry.name in self.foreign else OURS.to_text()
            yield ArchiveFacts(entry, comment, (), (), NOON, 1, 1)


def listed(session: Any) -> list[str]:
    return [info.name for info in Catalogue(session).archives()]


@pytest.mark.parametrize("damaged", [["a"], ["b"], ["d"], ["a", "b"], ["a", "b", "c", "d"]])
def test_the_others_are_listed(damaged: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert listed(Session("abcd", damaged)) == [name for name in "abcd" if name not in damaged]
    assert [record.args[0] for record in caplog.records if record.args] == damaged


def test_a_repository_that_does_not_answer_has_no_list() -> None:
    """Else an older archive would pass for the latest."""
    session = Session("abcd", "d")
    session.error = RepositoryError
    with pytest.raises(RepositoryError, match="d is damaged"):
        listed(session)


def test_foreign_and_unfinished_ones_are_left_out() -> None:
    session = Session(["a", "theirs", "b.checkpoint", "c.checkpoint.2"], foreign=["theirs"])
    assert listed(session) == ["a"]
    assert session.asked == ["a", "theirs"]


def test_each_is_asked_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    session = Session("abc", damaged="c", foreign="b")
    typed: Any = session
    catalogue = Catalogue(typed)
    assert catalogue.archives() == catalogue.archives()
    assert session.asked == ["a", "b", "c"]
    assert len(caplog.records) == 1
    assert catalogue.unreadable == {"c"}


def test_after_a_failure_it_is_asked_again() -> None:
    session = Session("abcd", "c")
    session.error = RepositoryError
    typed: Any = session
    catalogue = Catalogue(typed)
    with pytest.raises(RepositoryError, match="c is damaged"):
        catalogue.archives()
    session.damaged = ()
    assert [info.name for info in catalogue.archives()] == list("abcd")


def test_an_unchanged_list_is_not_read_again() -> None:
    """Borg parses each archive's time: with thousands of them that is felt."""
    session = Session("ab")
    entries = session.entries()
    session.entries = lambda: entries  # type: ignore[method-assign]
    catalogue = Catalogue(session)  # type: ignore[arg-type]
    first = catalogue.archives()
    first.clear()  # the caller's own
    assert [info.name for info in catalogue.archives()] == ["a", "b"]
    entries = [*entries, ArchiveEntry("c", b"c", NOON)]
    assert [info.name for info in catalogue.archives()] == ["a", "b", "c"]
    assert session.asked == ["a", "b", "c"]
