"""What passes between the process that reads the disks and those that keep a repository each.

A worker is notified (`Notify`, no answer) and asked (`Request`, one `Reply`). It gives places in the shared
memory back with `Release`, passes on its log with `Log`, and says with `Failed` that it is ending. Bytes of
disks pass through memory that all of them map: a file without a name, which is gone with the last of them,
however they end.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from typing import Any

from borg_ovirt import errors
from borg_ovirt.blocks import MiB
from borg_ovirt.errors import BorgOvirtError, RepositoryError

MEMORY = 32 * MiB
"""Shared by all: cells that were read and are not yet stored everywhere. Holds two of the largest cells."""


@dataclass(frozen=True)
class Spec:
    """How a child opens its repository. It comes over the connection, so that no process list shows it."""

    location: str
    lock_wait: float = 1.0
    compression: str | None = None
    remote_path: str | None = None
    rsh: str | None = None
    upload_limit: int | None = None
    """KiB per second."""
    checkpoint_interval: float | None = None
    passphrase: str | None = field(default=None, repr=False)
    """None leaves it to Borg's variables."""
    threads: int = 2
    log_level: int = 30


@dataclass(frozen=True)
class Notify:
    """Something to do, in order."""

    what: str
    words: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Request:
    """Something to answer, when all that was told before is done."""

    what: str
    words: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Reply:
    """An answer."""

    value: Any = None


@dataclass(frozen=True)
class Release:
    """The child does not need this place of the shared memory any more."""

    slot: int


@dataclass(frozen=True)
class Log:
    """A line of the child's log."""

    name: str
    level: int
    text: str


@dataclass(frozen=True)
class Failed:
    """The child rolls back and ends."""

    kind: str
    message: str
    hint: str | None

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        if isinstance(error, BorgOvirtError):
            return cls(type(error).__name__, error.message, error.hint)
        return cls("RepositoryError", f"{type(error).__name__}: {' '.join(str(error).split())}", None)

    def error(self) -> BorgOvirtError:
        """The error as it was in the child."""
        kind = getattr(errors, self.kind, RepositoryError)
        found: BorgOvirtError = kind(self.message, self.hint)
        return found


def make_memory() -> int:
    """A descriptor of fresh shared memory; it costs nothing until it is written to."""
    descriptor = os.memfd_create("borg-ovirt", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, MEMORY)
    return descriptor


def map_memory(descriptor: int) -> memoryview:
    """The memory behind the descriptor."""
    return memoryview(mmap.mmap(descriptor, MEMORY))
