"""A repository read without its lock, because another Borg holds that or it cannot be written at all.

Borg appends: what was committed stays where it is until somebody compacts. A chunk that compacting moved is
found again through the index as it is then, and every chunk is proven by its id; so what is read is either
what was committed when it was opened, or an error. Nothing is written: Borg's own `--bypass-lock` would,
where the index is not that of the last commit.
"""

from __future__ import annotations

import os
import time
from typing import Any

from borg.cache import SecurityManager
from borg.crypto.file_integrity import FileIntegrityError, IntegrityCheckedFile
from borg.hashindex import NSIndex
from borg.helpers import IntegrityError
from borg.repository import LoggedIO, Repository

from borg_ovirt.errors import RepositoryError, RepositoryLocked

_COMMIT = 30.0
"""Seconds that a commit may take from its mark in the segments to its index."""
_TRIES = 5


class UnlockedRepository(Repository):  # type: ignore[misc]  # Borg is not typed
    """Reads, and takes up what other processes commit only where it has to."""

    def __init__(self, path: str) -> None:
        self.io: Any = None
        super().__init__(path, exclusive=False, lock=False)
        self._opened_at: int | None = None
        self._read_at: int | None = None
        """The commits whose index was taken: first, and last."""

    def check_transaction(self) -> None:
        """Wait for the index of a commit that is being made. Borg would make it itself."""
        until = time.monotonic() + _COMMIT
        while self.get_index_transaction_id() != self.io.get_segments_transaction_id():
            if time.monotonic() > until:
                raise RepositoryLocked(
                    f"The last commit of the repository {self.path} is not complete, and its lock cannot be "
                    "had.",
                    "Wait for whoever uses it; a killed Borg's commit is completed by the next that has the "
                    "lock.",
                )
            time.sleep(0.1)

    def open_index(self, transaction_id: int | None, auto_recover: bool = True) -> Any:
        """The index as it is. Borg would remove one that it cannot read."""
        for _ in range(_TRIES):
            try:
                return self._index(transaction_id)
            except (ValueError, OSError, FileIntegrityError):  # of a transaction that was overtaken?
                newest = self.get_transaction_id()
                if newest == transaction_id:
                    raise
                transaction_id = newest
        raise RepositoryLocked(f"The repository {self.path} changes too fast to be read.", "Try again.")

    def _index(self, transaction_id: int | None) -> Any:
        self._read_at = transaction_id
        self._opened_at = self._opened_at or transaction_id
        if transaction_id is None:
            return NSIndex()
        path = os.path.join(self.path, f"index.{transaction_id}")
        integrity = self._read_integrity(transaction_id, b"index")
        with IntegrityCheckedFile(path, write=False, integrity_data=integrity) as file:
            return NSIndex.read(file)

    def get(self, id: bytes) -> Any:  # noqa: A002  (Borg's name)
        """A chunk, from where it lies now."""
        while True:
            try:
                return super().get(id)
            except (Repository.ObjectNotFound, OSError, IntegrityError) as error:
                newest = self.get_transaction_id()
                if newest == self._opened_at:
                    raise
                if not self.follow():
                    raise RepositoryError(
                        f"The repository {self.path} lost a chunk while it was read: archives were removed.",
                        "Run the command again.",
                    ) from error

    def follow(self) -> bool:
        """Take the index of the last commit; whether that is another one than it has."""
        newest = self.get_transaction_id()
        if newest == self._read_at:
            return False
        self.io.close()
        self.io = LoggedIO(self.path, self.max_segment_size, self.segments_per_dir)
        self.index = self.open_index(newest)
        return True


def assert_secure(repository: Any, manifest: Any) -> None:
    """As Borg's own of that name, without the cache, which the other process holds."""
    manager = SecurityManager(repository)
    manager.assert_access_unknown(True, manifest, manifest.key)
    manager._assert_secure(manifest, manifest.key)
