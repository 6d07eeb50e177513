"""One archive on its way into the repository, in Borg's terms: items made of chunks, then the commit."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from borg.item import Item
from borg.platform import gid2group, uid2user

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import RepositoryError
from borg_ovirt.repository.borg_session import Session


class BorgArchive:
    """An archive on its way: chunks are stored as they come, its items are added and saved at the end."""

    def __init__(self, session: Session, name: str, started: datetime) -> None:
        self._session = session
        self._started = started
        self._archive = session.begin(name, started)
        self.name = name
        self.stats = self._archive.stats

    def unfinished(self) -> BorgArchive:
        """Another one beside it, under the name that Borg gives to its checkpoint."""
        return BorgArchive(self._session, self._archive.checkpoint_name, self._started)

    def add_item(self, path: str, size: int, chunks: Iterable[Chunk], part: int | None = None) -> None:
        """Add a regular file made of chunks that are stored already; `part`: it is but that part of one."""
        uid, gid = os.getuid(), os.getgid()
        since_epoch = self._archive.start - datetime(1970, 1, 1)
        item = Item(
            path=path,
            mode=stat.S_IFREG | 0o600,
            uid=uid,
            gid=gid,
            user=uid2user(uid),
            group=gid2group(gid),
            mtime=since_epoch // timedelta(microseconds=1) * 1000,
        )
        item.chunks = self._session.rows(chunks)
        item.size = size
        if part is not None:
            item.part = part
        self.stats.nfiles += 1
        self._archive.add_item(item, show_progress=False)

    def added(self) -> int:
        """What the repository grew by so far, in bytes: compressed, deduplicated, the list of items too."""
        self._archive.items_buffer.flush(flush=True)
        return int(self.stats.usize)

    def total(self) -> int:
        """What the repository holds so far, in bytes: compressed, each chunk counted once."""
        _, _, _, unique, _, _ = self._archive.cache.chunks.summarize()
        return int(unique)

    def save_again(self, comment: str, command: Sequence[str], cell: int, stats: Any) -> None:
        """Commit it as it is by now, instead of what was committed of it before; it may go on growing."""
        self._archive.chunker_params = ("fixed", cell, 0)

        def work() -> None:
            self._session.unlist(self._archive)
            facts = {"cmdline": list(command)}
            started = self._archive.start
            self._archive.save(comment=comment, timestamp=started, stats=stats, additional_metadata=facts)

        self._session.transaction(work, saves=True)

    def withdraw(self) -> None:
        """Let go of it and of its list of items; what it is made of is somebody else's by now."""
        self._session.unlist(self._archive, whole=True)

    def save(self, comment: str, command: Sequence[str], cell: int, took: timedelta | None = None) -> bytes:
        """Commit; returns the archive's id. Whatever fails leaves the repository as it was.

        `took`: from the archive's time to its end; by default until now.
        """
        if took is not None:
            self._archive.start_monotonic = time.monotonic() - took.total_seconds()
        # The archive's time is the instant it shows, not the end of the run.
        started = self._archive.start
        self._archive.chunker_params = ("fixed", cell, 0)

        def save() -> None:
            self._archive.save(
                comment=comment,
                timestamp=started,
                # Borg would keep this process's own command line, which may hold what nobody else should see.
                additional_metadata={"cmdline": list(command)},
            )

        try:
            self._session.transaction(save, saves=True)
        except RepositoryError as error:
            there = self._session.holds_for_sure(self.name)
            if there is False:
                raise
            if there:
                told = f"Archive {self.name} is in the repository, as read again just now; but then: {error}"
                raise RepositoryError(told) from error
            raise RepositoryError(
                f"Nobody knows whether archive {self.name} was made, for the repository cannot be read any "
                f"more: {error.message}",
                "Look at `borg-ovirt list` when it can be read again.",
            ) from error
        return bytes(self._archive.id)
