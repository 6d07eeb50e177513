"""The repository of a run: open once for all its VMs, and once more should it break under one of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from types import TracebackType

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.repository.open import Repository

Opener = Callable[[], AbstractContextManager[Repository]]


class OpenedRepository:
    """Holds the repository open. Use as a context."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._stack = ExitStack()
        self._repository: Repository | None = None

    def __enter__(self) -> OpenedRepository:
        self._repository = self._stack.enter_context(self._opener())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._repository = None
        self._stack.__exit__(kind, error, trace)

    @property
    def repository(self) -> Repository:
        """The open repository."""
        if self._repository is None:
            raise ValueError("the repository is not open")
        return self._repository

    def reopen(self, broken: BaseException) -> None:
        """Close the broken repository, which may fail in its turn, and open it afresh."""
        self._repository = None
        stack, self._stack = self._stack, ExitStack()
        with suppress(BorgOvirtError):  # it is broken: that is known
            stack.__exit__(type(broken), broken, broken.__traceback__)
        self._repository = self._stack.enter_context(self._opener())
