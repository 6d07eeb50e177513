"""What we make in the engine: written down before, found after an unclear answer, struck out at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from borg_ovirt.errors import BorgOvirtError, EngineRefused
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import Unclear
from borg_ovirt.ovirt.session.trouble import Locked, Lost
from borg_ovirt.ovirt.tracked.journal import Entry, Journal


def make_once(
    engine: Engine,
    what: str,
    add: Callable[[Any], Any],
    find: Callable[[], str | None],
    lost: Lost,
    *,
    certain: bool = True,
) -> str:
    """Ask the engine to make something, and return its id. `find` looks for it.

    An answer that was lost, or a refusal, is believed only after a look: a request may have been done
    though its answer was not heard, and have been sent again by something in between. What is not there
    after a lost answer is asked for again. With `certain` false what is found after a refusal is ours only
    where an answer was lost. `lost` tells afterwards whether one was.
    """
    locked = Locked(engine.patience.lock)
    for pause in engine.patience.pauses():
        try:
            return str(engine.call(what, add, once=True).id)
        except Unclear:
            again = not lost.too_often(pause)
            found = engine.patience.look(find)
            if found is None and not again:
                raise
            lost.repeated |= found is None
        except EngineRefused as error:
            # Where an answer was lost, the first of ours may be at work still, and be what is in the way.
            found = engine.patience.look(find) if lost.any else find() if certain else None
            if found is None and not locked.may_pass(error, pause):
                raise
        if found is not None:
            return found
        time.sleep(pause)
    raise AssertionError("pauses never end")


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
        self.doubtful = False
        """An answer was lost and it was asked for again: there may be two."""

    def intend(self, **facts: Any) -> dict[str, Any]:
        """Write down what is about to be made; returns the facts, a description among them made unique."""
        self.id, self._unclear, self.doubtful = "", False, False
        self._find = lambda: None  # an earlier one would be taken for this one
        self._entry = self._journal.intend(self._kind, **facts)
        return self._entry.facts

    def make(
        self,
        what: str,
        add: Callable[[Any], Any],
        find: Callable[[], str | None],
        *,
        left: Callable[[], str | None] | None = None,
        certain: bool = True,
    ) -> None:
        """Ask the engine to make it. `find` looks for its id, by what is its own alone.

        With `certain` false a thing of its id may be somebody else's: after a refusal it is taken for ours
        only where an answer was lost before. `left` finds also what came to nothing and must be ended.
        """
        self._find = left or find
        self._unclear = True
        lost = Lost(self._engine.patience)
        try:
            found = make_once(self._engine, what, add, find, lost, certain=certain)
        except EngineRefused as error:
            # The engine was asked after it had refused, and has none; what was lost before may yet show.
            self._unclear = lost.any
            # What has an id out of an archive, and is there now, is somebody else's who was faster.
            if error.detail and not lost.any and (not certain or self._find() is None):
                self.gone()
            raise
        except Unclear:
            raise
        except BorgOvirtError:  # no rights, or the engine was never reached: nothing was made
            if not lost.any:
                self._unclear = False
                self.gone()
            raise
        finally:
            self.doubtful = lost.repeated
        self._made(found)

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
