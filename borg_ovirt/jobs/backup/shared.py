"""A store as the threads of a run use it: what asks the repositories is done by the thread that stores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

from borg_ovirt.jobs.backup.base import BaseQuery, Choice, Start
from borg_ovirt.jobs.backup.reuse import Found, ItemBase, Wanted
from borg_ovirt.jobs.backup.stores import Archive, Store, Stored
from borg_ovirt.jobs.backup.storing import Storing
from borg_ovirt.jobs.selection import EngineId
from borg_ovirt.repository import layout


class SharedStore:
    """Questions may come from any thread; an archive is written only inside `Storing.do`."""

    def __init__(self, store: Store, storing: Storing) -> None:
        self._store = store
        self._storing = storing
        self.ids = store.ids
        self.locations = store.locations

    def by_grid(self, vm_id: str, mode: str, engine: EngineId) -> Sequence[Store]:
        parts = self._storing.do(lambda: self._store.by_grid(vm_id, mode, engine))
        return [SharedStore(part, self._storing) for part in parts]

    def needed(self, vm_id: str, engine: EngineId) -> set[str]:
        return self._storing.do(lambda: self._store.needed(vm_id, engine))

    def still_needed(self) -> set[str]:
        return self._store.still_needed()

    def choose(self, query: BaseQuery) -> Choice:
        choice = self._storing.do(lambda: self._store.choose(query))
        return replace(choice, base=choice.base and _SharedStart(choice.base, self._storing))

    def all_names(self) -> set[str]:
        return self._store.all_names()

    def writer(self, name: str, *, started: datetime) -> AbstractContextManager[Archive]:
        return self._store.writer(name, started=started)

    def losses(self) -> list[str]:
        return self._store.losses()

    def stored(self) -> list[Stored]:
        return self._store.stored()


class _SharedStart:
    def __init__(self, start: Start, storing: Storing) -> None:
        self._start = start
        self._storing = storing

    @property
    def name(self) -> str:
        return self._start.name

    @property
    def checkpoint(self) -> str | None:
        return self._start.checkpoint

    @property
    def record(self) -> layout.BaseRecord | None:
        return self._start.record

    @property
    def last_read(self) -> int | None:
        return self._start.last_read

    def find(self, wanted: Wanted) -> Found:
        found = self._storing.do(lambda: self._start.find(wanted))
        return found._replace(base=found.base and _SharedBase(found.base, self._storing))


class _SharedBase:
    """All but `same` is known without asking the repository."""

    def __init__(self, base: ItemBase[object], storing: Storing) -> None:
        self._base = base
        self._storing = storing
        self.archive = base.archive
        self.size = base.size
        self.cell = base.cell
        self.reference = base.reference
        self.is_zero = base.is_zero
        self.data_cells = base.data_cells
        self.digest = base.digest

    def same(self, index: int, digest: Any) -> bool:
        return self._storing.do(lambda: self._base.same(index, digest))
