"""Several repositories of a run, each open in a process of its own, for all its VMs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace

from borg_ovirt import waits
from borg_ovirt.errors import BorgOvirtError, WrongPassphrase
from borg_ovirt.jobs.backup.opened import OpenedRepositories, RepositoryState
from borg_ovirt.jobs.backup.stores import Store
from borg_ovirt.jobs.backup.workers.messages import Spec
from borg_ovirt.jobs.backup.workers.opening import open_spec
from borg_ovirt.jobs.backup.workers.pool import WorkerPool
from borg_ovirt.jobs.backup.workers.store import PoolStore
from borg_ovirt.jobs.selection import EngineId, LastArchive
from borg_ovirt.redact import redact
from borg_ovirt.repository.open import Repository

STALL = 300.0
"""Seconds that one repository may keep the others waiting."""
_LETTING_GO = 30.0
"""Seconds that the server of one that was cut off may take to let go of its lock."""
Ask = Callable[[str], str | None]
"""The passphrase of the repository at a location, from whoever sits at the terminal; None: nobody does."""


class SeveralRepositories(OpenedRepositories):
    """One that fails, or keeps the others waiting longer than `stall` seconds, costs them nothing else."""

    def __init__(
        self,
        specs: Mapping[str, Spec],
        stall: float = STALL,
        ask: Ask = lambda location: None,
    ) -> None:
        self.states = [RepositoryState(name, redact(spec.location)) for name, spec in specs.items()]
        self._specs = dict(specs)
        self._pool = WorkerPool(stall)
        self._ask = ask

    @contextmanager
    def opened(self) -> Iterator[None]:
        with self._pool:
            self._open(self.states)
            yield

    def last_good(self, engine: EngineId) -> Sequence[Mapping[str, LastArchive]]:
        return list(self._pool.request("last_good", engine, patient=True).values())

    def store(self) -> Store:
        return PoolStore(self._pool.narrowed(self._pool.live))

    def conclude(self, store: Store, error: Exception | None) -> bool:
        lost = self._pool.take_lost()
        for state in self.states:
            if state.name in lost:
                state.failed(lost[state.name])
            elif error is None and state.error is None:
                state.stored()
        return error is None or not (isinstance(store, PoolStore) and store.outdated)

    def opened_here(self, location: str, *, write: bool) -> AbstractContextManager[Repository]:
        name = next(state.name for state in self.states if state.location == location)
        return open_spec(replace(self._specs[name], lock_wait=_LETTING_GO), write=write)

    def _open(self, states: Sequence[RepositoryState]) -> None:
        """Start a process for each. Those that want a passphrase are asked for it, one after the other."""
        with suppress(BorgOvirtError):
            self._start(states)
        wanting = {worker.name for worker, error in self._pool.lost if isinstance(error, WrongPassphrase)}
        for state in states:
            spec = self._specs[state.name]
            if state.name not in wanting or spec.passphrase is not None:
                continue
            passphrase = self._ask(state.location)
            if passphrase is not None:
                self._pool.forget_lost(state.name)
                self._specs[state.name] = replace(spec, passphrase=passphrase)
                with suppress(BorgOvirtError):
                    self._start([state])
        if not self._pool.live:
            raise self._pool.lost[-1][1]

    def _start(self, states: Sequence[RepositoryState], lock_wait: float = 0.0) -> None:
        specs = {state.name: self._specs[state.name] for state in states}
        patient = {
            name: replace(spec, lock_wait=max(spec.lock_wait, lock_wait)) for name, spec in specs.items()
        }
        with waits.wait(f"opening {_named(states)}"):
            opened = self._pool.open(patient)
        for worker in opened:
            state = next(state for state in states if state.name == worker.name)
            state.location, state.error = worker.location, None

    def _open_again(self, states: Sequence[RepositoryState]) -> None:
        with suppress(BorgOvirtError):  # the last of all: who failed is asked next
            self._start(states, _LETTING_GO)
        for name, error in self._pool.take_lost().items():
            next(state for state in states if state.name == name).failed(error)


def _named(states: Sequence[RepositoryState]) -> str:
    names = ", ".join(state.name for state in states)
    return f"the repositories {names}" if len(states) > 1 else f"the repository {names}"
