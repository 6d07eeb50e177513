"""What we make in the engine: written down before, found after an unclear answer, struck out at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from borg_ovirt.errors import BorgOvirtError, EngineRefused
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import Unclear
from borg_ovirt.ovirt.tracked.journal import Entry, Journal


class TrackedObject:
    """A transfer, backup or snapshot from the intent to make it until it is gone."""

    def __init__(self, engine: Engine, journal: Journal, kind: str) -> None:
        self.id = ""
        """The engine's id; empty until it is known."""
        self._engine = engine
        self._journal = journal
        self._kind = kind
        self._entry: Entry | None = None
        self._find: Callable[[], str | None] = lambda: None
        self._unclear = False

    def intend(self, **facts: Any) -> dict[str, Any]:
        """Write down what is about to be made; returns the facts, a description among them made unique."""
        self.id, self._unclear = "", False
        self._find = lambda: None  # an earlier one would be taken for this one
        self._entry = self._journal.intend(self._kind, **facts)
        return self._entry.facts

    def make(
        self, what: str, add: Callable[[Any], Any], find: Callable[[], str | None], *, certain: bool = False
    ) -> None:
        """Ask the engine once to make it. `find` looks for its id where no clear answer came.

        `certain`: what `find` finds can only be ours, even after a refusal, since libcurl repeats a POST by
        itself and the second may be refused because of the first.
        """
        engine, self._find = self._engine, find
        self._unclear = True
        try:
            self._made(engine.call(what, add, once=True, wait_for_locks=engine.patience.lock).id)
        except Unclear:
            found = engine.patience.look(find)
            if found is None:
                raise
            self._made(found)
        except EngineRefused as error:
            self._unclear = False
            if certain and (found := find()) is not None:
                self._made(found)
                return
            if error.detail:  # refused before anything was made
                self.gone()
            raise
        except BorgOvirtError:  # no rights, or the engine was never reached: nothing was made
            self._unclear = False
            self.gone()
            raise

    def note(self, **facts: Any) -> None:
        """Write down more of it."""
        if self._entry is not None:
            self._entry.note(**facts)

    def there(self) -> bool:
        """Whether there is something to end.

        What stays unclear stays in the journal: the next run looks again.
        """
        if self._entry is None:
            return False
        if not self.id:
            found = self._engine.patience.look(self._find) if self._unclear else self._find()
            if found is None:
                if not self._unclear:
                    self.gone()
                return False
            self._made(found)
        return True

    @property
    def open(self) -> bool:
        """Whether it may be there, or come to be yet."""
        return self._entry is not None

    def gone(self) -> None:
        """It has ended, or never was."""
        if self._entry is not None:
            self._entry.done()
            self._entry = None

    def _made(self, object_id: str) -> None:
        self.id = object_id
        self._unclear = False
        if self._entry is not None:
            self._entry.made(object_id)
