"""Opens a Borg repository and offers what the jobs need of it: its archives, one to read, one to write."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import ArchiveNotFound
from borg_ovirt.repository.version import check_borg_version

if TYPE_CHECKING:
    from borg_ovirt.repository.borg_session import Session
    from borg_ovirt.repository.borg_usage import Usage
    from borg_ovirt.repository.catalogue import ArchiveInfo
    from borg_ovirt.repository.layout import HoldRecord
    from borg_ovirt.repository.reader import ArchiveReader
    from borg_ovirt.repository.series import Series
    from borg_ovirt.repository.writer import ArchiveWriter, PreparedCell


@dataclass(frozen=True)
class Space:
    """Room on the file system of a repository, in bytes."""

    taken: int
    """By the repository."""
    free: int


@contextmanager
def open_repository(
    location: str,
    *,
    write: bool,
    lock_wait: float = 1.0,
    compression: str | None = None,
    remote_path: str | None = None,
    rsh: str | None = None,
    umask: int = 0o077,
    upload_limit: int | None = None,
    glance: bool = False,
    bypass_lock: bool = False,
    checkpoint_interval: float | None = None,
) -> Iterator[Repository]:
    """Open the repository at a path or `ssh://` location (empty: BORG_REPO) as stock Borg would.

    For writing it is locked for itself and its cache is brought up to date; for reading it is shared, and
    read without a lock where that cannot be had and the repository is on this machine, or `bypass_lock` is
    given: as with Borg's option of that name, the server may then finish a commit that is being made.
    `lock_wait` and `checkpoint_interval` (0: no checkpoints) are in seconds, `upload_limit` in KiB/s. A
    `glance` is for names alone: no lock, no question, nothing written into it; only on this machine.
    Where an option is None, its BORG_* variable counts. No question is ever asked without a terminal.
    """
    check_borg_version()
    from borg_ovirt.repository import borg_connect  # Borg takes a while to import

    access = borg_connect.Access(
        write=write,
        lock_wait=lock_wait,
        compression=compression or "lz4",
        remote_path=remote_path,
        rsh=rsh,
        umask=umask,
        upload_limit=upload_limit or 0,
        bypass_lock=bypass_lock,
        glance=glance,
    )
    stack = ExitStack()
    where = location
    try:
        session = borg_connect.connect(location, access, stack)
        where = session.where
        yield Repository(session, checkpoint_interval)
    except BaseException:
        borg_connect.close(stack, where, sys.exc_info()[1], written=write)
        raise
    borg_connect.close(stack, where, None, written=write)


class Repository:
    """An open repository. One thread, save for `has` and `prepare`."""

    def __init__(self, session: Session, checkpoint_interval: float | None = None) -> None:
        from borg_ovirt.repository.catalogue import Catalogue

        self._session = session
        self._checkpoint_interval = checkpoint_interval
        self._catalogue = Catalogue(session)
        self._damage: dict[bytes, str | None] = {}

    @property
    def id(self) -> str:
        """The repository's id in hex."""
        return self._session.id

    @property
    def location(self) -> str:
        """Where it is, without secrets."""
        return self._session.where

    @property
    def encryption(self) -> str:
        """Borg's word for the mode: `none`, `repokey`, `keyfile-blake2` ..."""
        return self._session.encryption

    @property
    def append_only(self) -> bool | None:
        """Whether the repository only grows; None over `borg serve`, which does not tell."""
        return self._session.append_only

    def archives(self) -> list[ArchiveInfo]:
        """Every archive of ours, oldest first; foreign and unfinished ones are not among them."""
        return self._catalogue.archives()

    def series(self, now: datetime | None = None) -> list[Series]:
        """The archives of each VM of each engine in each mode, in the order in which they were made."""
        from borg_ovirt.repository.series import all_series

        return all_series(self.archives(), now or datetime.now(timezone.utc))

    def damage(self, name: str) -> str | None:
        """What keeps an archive from being restored whole: a proof that it failed, or what it lacks; None if
        nothing does, as far as can be told without reading its data."""
        from borg_ovirt.repository.proof import failed_proof, in_words

        info = next((info for info in self.archives() if info.name == name), None)
        failed = failed_proof(info.comment.proofs) if info else None
        return in_words(failed) if failed else self.lost(name)

    def lost(self, name: str) -> str | None:
        """What an archive lacks, whatever was proven of it before."""
        from borg_ovirt.repository.health import damage

        id_ = self._session.entry(name).id
        if id_ not in self._damage:
            self._damage[id_] = damage(lambda: self.archive(name))
        return self._damage[id_]

    def unreadable(self) -> set[str]:
        """Names of archives, whoever made them, whose metadata are damaged."""
        self.archives()
        return self._catalogue.unreadable

    def all_names(self) -> set[str]:
        """The names of all archives, whoever made them."""
        return set(self._session.names())

    def archive(self, name: str) -> ArchiveReader:
        """An archive by its exact name."""
        from borg_ovirt.repository.reader import ArchiveReader

        (facts,) = self._session.facts([self._session.entry(name)])
        return ArchiveReader(self._session, facts)

    def usage(self) -> Usage:
        """What each VM needs of the repository for itself, and what it shares; reads the list of chunks of
        every archive, about a second for each TiB of disks in each."""
        from borg_ovirt.repository.borg_usage import usage

        return usage(self._session, self.archives())

    def space(self) -> Space | None:
        """What it takes on its file system, and what is free there; None where it is not on this machine."""
        taken = self._session.segment_bytes()
        try:
            there = os.statvfs(self.location) if taken is not None else None
        except OSError:
            there = None
        return None if taken is None or there is None else Space(taken, there.f_bavail * there.f_frsize)

    def has(self, chunk: Chunk) -> bool:
        """Whether the repository holds the chunk."""
        return self._session.seen(chunk)

    def prepare(self, data: memoryview) -> PreparedCell:
        """Hash one cell, and compress it if it is new; no archive need be open. Any thread.

        `data` must not change before the cell is stored.
        """
        from borg_ovirt.repository.writer import prepare

        return prepare(self._session, data)

    def names_chunks_as(self, other: Repository) -> bool:
        """Whether the same bytes have the same id in both."""
        probe = memoryview(b"borg-ovirt")
        return bool(self._session.id_of(probe) == other._session.id_of(probe))

    def writer(
        self, name: str, *, started: datetime, numbered: bool = True, vm_id: str = ""
    ) -> AbstractContextManager[ArchiveWriter]:
        """Make an archive of that VM; `started` becomes its time. Without a commit nothing of it stays but
        what a checkpoint kept.

        `numbered`: it is later than all others that are there; the number in its comment says so.
        A chunk that a proof found rotten, and that is so still, is stored anew where it is met.
        """
        from borg_ovirt.repository.borg_proof import still_rotten
        from borg_ovirt.repository.checkpoint import INTERVAL, Rhythm
        from borg_ovirt.repository.writer import writing

        archives = self.archives()
        told = {id_ for info in archives for proof in info.comment.proofs for id_ in proof.rotten}
        self._session.rotten = still_rotten(self._session, map(bytes.fromhex, told))
        numbers = [info.comment.number or 0 for info in archives]
        number = max(numbers, default=0) + 1 if numbered else None
        interval = INTERVAL if self._checkpoint_interval is None else self._checkpoint_interval
        return writing(self._session, name, started, number, Rhythm(vm_id, interval))

    def delete(self, names: Collection[str]) -> int:
        """Remove archives in one transaction; returns the bytes that `compact` can now give back."""
        return self._session.delete(list(names))

    def hold(self, names: Collection[str], why: HoldRecord | None = None) -> list[str]:
        """Mark archives as never to be removed by our retention; returns those that were not yet held so."""
        return self.note({name: {"held": True, "hold": why} for name in names})

    def release(self, names: Collection[str]) -> list[str]:
        """Take the mark of `hold` away; returns those that had it."""
        return self.note({name: {"held": False, "hold": None} for name in names})

    def read_all(self, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, str | None]]:
        """Read each chunk and prove it by its id; with it comes what is wrong, or None."""
        from borg_ovirt.repository.borg_proof import read_all

        return read_all(self._session, chunks)

    def check(self, seconds: int) -> bool:
        """Let Borg check the repository's files for so long, as `borg check --repository-only
        --max-duration` does; false if it found faults, which it logs."""
        return self._session.check(seconds)

    def compact(self, threshold: int = 10) -> int | None:
        """Free space, as `borg compact --threshold` does (in percent); returns the bytes freed, if known."""
        return self._session.compact(threshold)

    def note(self, changes: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Change fields in the comments of archives, in one transaction; returns those that changed.

        The ids of these archives change, as with `borg recreate --comment`.
        """
        ours = {info.name: info.comment for info in self.archives()}
        for name in changes:
            if name not in ours:
                raise ArchiveNotFound(f"The repository {self.location} has no archive {name} of ours.")
        after = {name: ours[name].model_copy(update=dict(fields)) for name, fields in changes.items()}
        texts = {name: comment.to_text() for name, comment in after.items() if comment != ours[name]}
        if texts:
            self._session.set_comments(texts)
        return list(texts)
