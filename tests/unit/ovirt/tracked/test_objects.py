"""What we make in the engine stays in the journal until it is known to be gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from borg_ovirt.errors import EngineRefused
from borg_ovirt.ovirt.session.faults import Unclear
from borg_ovirt.ovirt.session.waiting import Patience
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.tracked.objects import TrackedObject


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path, "engine") as made:
        yield made


QUICK = Patience(unclear=0.0, lock=0.0, engine=0.0)


def ours(journal: Journal, *answers: Any, patience: Patience = QUICK) -> TrackedObject:
    """Of an engine that answers so, the last for ever; it is looked for once each time."""
    left = list(answers)

    def call(what: str, ask: Any, **_: Any) -> Any:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, BaseException):
            raise answer
        return SimpleNamespace(id=answer)

    engine: Any = SimpleNamespace(call=call, patience=patience)
    made = TrackedObject(engine, journal, "backup")
    made.intend(vm="v", description="x")
    return made


def test_made_and_gone(journal: Journal) -> None:
    one = ours(journal, "id-1")
    one.make("make it", lambda s: None, lambda: None)
    assert (one.id, one.there()) == ("id-1", True)
    assert [entry.id for entry in journal.unfinished] == ["id-1"]
    one.gone()
    assert (one.there(), journal.unfinished) == (False, [])


def test_without_an_answer_it_is_looked_for(journal: Journal) -> None:
    one = ours(journal, Unclear("no answer"))
    one.make("make it", lambda s: None, lambda: "id-2")
    assert one.id == "id-2"
    assert [entry.id for entry in journal.unfinished] == ["id-2"]


def test_what_is_unclear_stays_for_the_next_run(journal: Journal) -> None:
    one = ours(journal, Unclear("no answer"))
    with pytest.raises(Unclear):
        one.make("make it", lambda s: None, lambda: None)
    assert not one.there()
    assert len(journal.unfinished) == 1


def test_what_shows_up_late_is_ended(journal: Journal) -> None:
    one = ours(journal, Unclear("no answer"))
    found: list[str] = []
    with pytest.raises(Unclear):
        one.make("make it", lambda s: None, lambda: found[0] if found else None)
    found.append("id-3")
    assert (one.there(), one.id) == (True, "id-3")


@pytest.mark.parametrize(("detail", "left"), [("Cannot do that.", 0), ("", 1)])
def test_a_refusal_with_its_reason_made_nothing(journal: Journal, detail: str, left: int) -> None:
    one = ours(journal, EngineRefused("refused", status=400, detail=detail))
    with pytest.raises(EngineRefused):
        one.make("make it", lambda s: None, lambda: None)
    assert len(journal.unfinished) == left
    assert not one.there()  # the engine was asked, and has none
    assert journal.unfinished == []


def test_what_is_not_there_after_a_lost_answer_is_asked_for_again(journal: Journal) -> None:
    one = ours(journal, Unclear("502"), Unclear("502"), "id-4", patience=replace(QUICK, engine=5.0))
    one.make("make it", lambda s: None, lambda: None)
    assert one.id == "id-4"


def test_a_refusal_because_of_our_own_is_none(journal: Journal) -> None:
    """Something in between sent it twice: the second was refused, by a lock of the first."""
    one = ours(journal, EngineRefused("refused", status=409, detail="Disk is locked."))
    one.make("make it", lambda s: None, lambda: "id-5")
    assert one.id == "id-5"


def test_a_refusal_after_a_lost_answer_leaves_it_to_the_next_run(journal: Journal) -> None:
    refused = EngineRefused("refused", status=409, detail="No room.")
    one = ours(journal, Unclear("lost"), refused, patience=replace(QUICK, engine=5.0))
    with pytest.raises(EngineRefused):
        one.make("make it", lambda s: None, lambda: None)
    assert len(journal.unfinished) == 1


def test_our_own_that_is_still_at_work_is_no_refusal(journal: Journal) -> None:
    """An import holds its name before the VM can be seen (ImportVmCommandBase): the second one is told that
    the name is in use, and this VM is nobody else's."""
    busy = "The VM name is already in use, please choose a unique name and try again."
    answers = (Unclear("no answer"), EngineRefused(busy, status=409, detail=busy))
    asked: list[str] = []
    looks = [None, "id-9"]  # after the refusal

    def find() -> str | None:
        return looks.pop(0) if len(asked) == 2 else None

    one = ours(journal, *answers, patience=Patience(unclear=1.0, lock=0.0, engine=60.0))
    answer = one._engine.call
    one._engine.call = lambda what, ask, **_: asked.append(what) or answer(what, ask)  # type: ignore[method-assign, func-returns-value, return-value]
    one.make("make it", lambda s: None, find)
    assert one.id == "id-9"


def test_a_lock_is_waited_for(journal: Journal) -> None:
    locked = EngineRefused("refused", status=409, detail="Disk is locked. Please try again later.")
    one = ours(journal, locked, locked, "id-6", patience=replace(QUICK, lock=5.0))
    one.make("make it", lambda s: None, lambda: None)
    assert one.id == "id-6"


def test_an_earlier_one_is_not_taken_for_the_next(journal: Journal) -> None:
    """A transfer is renewed, and interrupted before the engine was asked: the old one has ended."""
    one = ours(journal, "id-1")
    one.make("make it", lambda s: None, lambda: "id-1")
    one.gone()
    one.intend(vm="v", description="x")
    assert not one.there()
    assert journal.unfinished == []
