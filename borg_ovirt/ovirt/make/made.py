"""What a restore makes, from the intent to make it until it is the user's, or gone again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from borg_ovirt.errors import EngineRefused
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.tracked.objects import TrackedObject


class Made:
    """A disk or a VM under an id that was chosen before.

    `fresh`: the id is new, so whatever has it is this one; an id out of an archive may be somebody else's.
    """

    def __init__(
        self, engine: Engine, journal: Journal, kind: str, object_id: str, name: str, *, fresh: bool
    ) -> None:
        self.id = object_id
        self.name = name
        """For messages: "disk root"."""
        self._engine = engine
        self._kind = kind
        self._fresh = fresh
        self._tracked = TrackedObject(engine, journal, kind)

    def make(self) -> None:
        """Make it and wait until it can be used."""
        raise NotImplementedError

    def exists(self) -> bool:
        """Whether the engine knows it."""
        raise NotImplementedError

    def _remove(self) -> None:
        raise NotImplementedError

    def _request(self, what: str, add: Callable[[Any], Any], **facts: Any) -> None:
        """Write down the intent, then ask; an import or a creation can go on though its answer was lost."""
        if not self._fresh and self.exists():
            raise EngineRefused(f"Cannot {what}: one of its id ({self.id}) is there already.")
        self._tracked.intend(id=self.id, **facts)
        self._tracked.make(what, add, lambda: self.id if self.exists() else None, certain=self._fresh)

    def remove(self) -> bool:
        """Take it away; false where it is not there, but may come to be yet: it stays in the journal."""
        if self._tracked.there():
            self._remove()
            self._tracked.gone()
        return not self._tracked.open

    def keep(self) -> None:
        """It is the user's from now on."""
        self._tracked.gone()
