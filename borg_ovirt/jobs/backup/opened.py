"""The repositories of a run, open for all its VMs: who fails under one VM is opened again for the next.

One that fails twice in a row, by storing nothing of a VM or by not opening again, is given up for the rest
of the run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass

from borg_ovirt.errors import BorgOvirtError, RepositoryDamaged, RepositoryError
from borg_ovirt.jobs.backup.stores import SingleStore, Store
from borg_ovirt.jobs.selection import EngineId, LastArchive, last_good
from borg_ovirt.repository.open import Repository

Opener = Callable[[], AbstractContextManager[Repository]]
Tell = Callable[[str], None]

_PATIENCE = 2
"""Failures in a row after which a repository is given up."""


@dataclass
class RepositoryState:
    """One repository of a run, and whether it is still there."""

    name: str
    """As the user names it."""
    location: str
    error: str | None = None
    """Why it is not open; None while it is."""
    failures: int = 0
    """In a row."""

    @property
    def given_up(self) -> bool:
        """Whether it is tried no more."""
        return self.failures >= _PATIENCE

    def failed(self, error: BorgOvirtError) -> None:
        """It stored nothing of a VM, or did not open again."""
        self.error = str(error)
        self.failures += 1

    def stored(self) -> None:
        """It has the archive of a VM."""
        self.error = None
        self.failures = 0


class OpenedRepositories(ABC):
    """What a run knows of its repositories, one or many."""

    states: Sequence[RepositoryState]

    @abstractmethod
    def opened(self) -> AbstractContextManager[None]:
        """Hold them open. Raises why when none can be opened."""

    @abstractmethod
    def last_good(self, engine: EngineId) -> Sequence[Mapping[str, LastArchive]]:
        """For each that is open: VM id -> its newest archive of this engine."""

    @abstractmethod
    def store(self) -> Store:
        """Takes the next VM into those that are open."""

    def broke(self, store: Store, error: Exception) -> None:
        """This went wrong under that VM, and others wait: they are not to meet what is broken."""
        return  # where each is in a process of its own they do not

    @abstractmethod
    def conclude(self, store: Store, error: Exception | None) -> bool:
        """One VM's backup into `store` has ended, with this error or well: who failed under it?

        False where it can be tried again: its repository had been lost under another VM.
        """

    @abstractmethod
    def _open_again(self, states: Sequence[RepositoryState]) -> None:
        """Open those afresh; marks who failed again."""

    def opened_here(self, location: str, *, write: bool) -> AbstractContextManager[Repository]:
        """One of them, in this process; only while they are not held open."""
        raise NotImplementedError

    def recover(self, tell: Tell) -> None:
        """Between two VMs: open again who failed under the last one; `tell` hears what becomes of it."""
        broken = [state for state in self.states if state.error is not None and not state.given_up]
        for state in broken:
            tell(f"the repository {state.name} failed ({state.error}); opening it again")
        if broken:
            self._open_again(broken)
        for state in broken:
            if state.given_up:
                tell(f"the repository {state.name} is given up for the rest of the run: {state.error}")

    @property
    def all_lost(self) -> str | None:
        """Why no further VM can be stored anywhere; None as long as one can."""
        if not all(state.given_up for state in self.states):
            return None
        if len(self.states) == 1:
            return f"not tried: the repository failed twice in a row ({self.states[0].error})"
        told = "; ".join(f"{state.name}: {state.error}" for state in self.states)
        return f"not tried: every repository failed twice in a row ({told})"


class OneRepository(OpenedRepositories):
    """One, in this process: Borg may ask for its passphrase on the terminal."""

    def __init__(self, name: str, location: str, opener: Opener) -> None:
        self._state = RepositoryState(name, location)
        self.states = [self._state]
        self._opener = opener
        self._stack = ExitStack()
        self._repository: Repository | None = None
        self._broke_under: Store | None = None

    @contextmanager
    def opened(self) -> Iterator[None]:
        self._open()
        try:
            yield
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        self._stack.close()

    def last_good(self, engine: EngineId) -> Sequence[Mapping[str, LastArchive]]:
        return [last_good(self._opened().archives(), engine)]

    def store(self) -> Store:
        return SingleStore(self._opened())

    def broke(self, store: Store, error: Exception) -> None:
        if not isinstance(error, RepositoryError) or isinstance(error, RepositoryDamaged):
            return
        if self._is_current(store):
            self._broke_under = store
            self._state.failed(error)
            self._close_broken(error)

    def conclude(self, store: Store, error: Exception | None) -> bool:
        if error is not None:
            self.broke(store, error)
            return self._is_current(store) or store is self._broke_under
        if self._is_current(store):
            self._state.stored()
        return True

    def _is_current(self, store: Store) -> bool:
        return isinstance(store, SingleStore) and store.repository is self._repository

    def _open(self) -> None:
        self._repository = self._stack.enter_context(self._opener())
        self._state.location = self._repository.location

    def _open_again(self, states: Sequence[RepositoryState]) -> None:
        try:
            self._open()
            self._state.error = None
        except BorgOvirtError as error:
            self._state.failed(error)

    def _close_broken(self, error: RepositoryError) -> None:
        self._repository = None
        stack, self._stack = self._stack, ExitStack()
        with suppress(BorgOvirtError):  # it is broken: that is known
            stack.__exit__(type(error), error, error.__traceback__)

    def _opened(self) -> Repository:
        if self._repository is None:
            raise RepositoryError(f"The repository {self._state.name} is not open: {self._state.error}")
        return self._repository
