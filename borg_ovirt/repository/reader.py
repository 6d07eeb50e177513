"""Reads one archive: its manifest, its small files, and its disks as lists of chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import groupby

from borg_ovirt.blocks import CELL, Chunk
from borg_ovirt.errors import ArchiveNotFound, NotOurArchive, RepositoryDamaged
from borg_ovirt.repository.borg_facts import ArchiveFacts
from borg_ovirt.repository.borg_ids import archive_id
from borg_ovirt.repository.borg_items import StoredFile, stored_files
from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.layout import (
    DISKS,
    MANIFEST,
    OVF,
    ArchiveComment,
    Manifest,
    comment_of,
    parse_comment,
    parse_manifest,
)
from borg_ovirt.repository.packed import PackedChunks

_LARGEST_FILE = 256 << 20
_AHEAD = 64


class DiskContent:
    """A disk (or a layer of one) as an archive holds it: its chunks in order."""

    def __init__(self, session: Session, archive: str, stored: StoredFile) -> None:
        self.path = stored.path
        self._session = session
        self._archive = archive
        self._stored = stored

    @property
    def size(self) -> int:
        return self._stored.size

    @property
    def chunks(self) -> PackedChunks:
        return self._stored.chunks

    @cached_property
    def damaged(self) -> bool:
        """Whether `borg check --repair` put zeros in place of lost chunks, or a chunk is missing now."""
        return _is_damaged(self._session, self._stored)

    @property
    def repaired(self) -> bool:
        """Whether `borg check --repair` put zeros in place of lost chunks."""
        return self._stored.repaired

    def is_zero(self, chunk: Chunk) -> bool:
        """Whether the chunk is known by its id to be all zeros."""
        return chunk.id == self._session.zero_id(chunk.size)

    def id_of(self, data: memoryview) -> bytes:
        """The id of a chunk of these bytes. Any thread."""
        return self._session.id_of(data)

    def data_chunks(self, first: int, end: int, size: int) -> Iterator[int]:
        """The places first..end of chunks that are not known to be zeros, in a disk of chunks of `size`."""
        zero = Chunk(self._session.zero_id(size), size)
        for place in self.chunks.others(zero, first, end):
            if not self.is_zero(self.chunks[place]):
                yield place

    def fetch(self, chunks: Iterable[Chunk]) -> Iterator[memoryview]:
        """The plain bytes of the chunks, decrypted and verified, in order. One thread.

        Chunks of zeros are not fetched at all.
        """
        zeros = memoryview(b"")
        for window in self._windows(chunks):
            stored = self._session.fetch([chunk.id for chunk, zero in window if not zero])
            for chunk, zero in window:
                if zero:
                    if len(zeros) != chunk.size:
                        zeros = memoryview(bytes(chunk.size))
                    yield zeros
                else:
                    yield self._checked(chunk, next(stored))

    def _windows(self, chunks: Iterable[Chunk]) -> Iterator[list[tuple[Chunk, bool]]]:
        window: list[tuple[Chunk, bool]] = []
        to_fetch = 0
        for chunk in chunks:
            zero = self.is_zero(chunk)
            window.append((chunk, zero))
            to_fetch += not zero
            if to_fetch == _AHEAD or len(window) == 64 * _AHEAD:
                yield window
                window, to_fetch = [], 0
        if window:
            yield window

    def _checked(self, chunk: Chunk, data: bytes) -> memoryview:
        if len(data) != chunk.size:
            raise RepositoryDamaged(
                f"A chunk of {self.path} in archive {self._archive} has {len(data)} bytes, not {chunk.size}.",
                "Run `borg check --verify-data` on the repository.",
            )
        return memoryview(data)


def _is_damaged(session: Session, stored: StoredFile) -> bool:
    # Zeros come in long runs: each run is looked up once.
    return stored.repaired or not all(session.seen(chunk) for chunk, _ in groupby(stored.chunks))


class ArchiveReader:
    """One archive of ours, checked as far as it is read."""

    def __init__(self, session: Session, facts: ArchiveFacts) -> None:
        self.name = facts.entry.name
        self.id = archive_id(facts.entry.id)
        self.time = facts.entry.time
        self._session = session
        self._facts = facts

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, validated; `NotOurArchive` if it is not ours, was changed or is of a newer layout."""
        if MANIFEST not in self._small:
            if parse_comment(self._facts.comment, self.name) is not None:  # `borg check --repair` took it out
                raise self._damage(MANIFEST)
            raise NotOurArchive(
                f"Archive {self.name} was not made by borg-ovirt: it has no {MANIFEST}.",
                "Use `borg extract` for it.",
            )
        return parse_manifest(self.read_file(MANIFEST), self.name)

    @cached_property
    def comment(self) -> ArchiveComment:
        """The archive's comment, made again from the manifest where it was lost."""
        return parse_comment(self._facts.comment, self.name) or comment_of(self.manifest)

    @property
    def ovf(self) -> bytes:
        """The OVF, byte for byte as the engine gave it."""
        return self.read_file(OVF)

    def read_file(self, path: str) -> bytes:
        """The content of one of the small files."""
        stored = self._small.get(path)
        if stored is None:
            raise ArchiveNotFound(f"Archive {self.name} has no file {path}.")
        size = max(stored.size, stored.chunks.total())
        if size > _LARGEST_FILE:
            raise NotOurArchive(f"{path} of archive {self.name} is too large: {size} bytes.")
        if stored.repaired:
            raise self._damage(path)
        return b"".join(self._session.fetch([chunk.id for chunk in stored.chunks]))

    def damaged(self, path: str) -> bool:
        """Whether one of the small files is missing, lacks chunks, or was filled with zeros by a repair."""
        stored = self._small.get(path)
        return stored is None or _is_damaged(self._session, stored)

    def disk(self, path: str) -> DiskContent:
        """A disk or layer by its path; `NotOurArchive` where it is not as the manifest says."""
        expected = self.manifest.contents.get(path)
        if expected is None:
            raise ArchiveNotFound(f"Archive {self.name} has no disk {path}.")
        stored = self._disks.get(path)
        if stored is None:
            raise NotOurArchive(f"Archive {self.name} lacks {path}, which its manifest names.")
        if not stored.size == expected == stored.chunks.total():
            raise NotOurArchive(
                f"{path} of archive {self.name} has {stored.size} bytes; its manifest says {expected}."
            )
        return DiskContent(self._session, self.name, stored)

    def _damage(self, path: str) -> RepositoryDamaged:
        return RepositoryDamaged(
            f"Archive {self.name} is damaged: the repository lost {path}.",
            "An older archive of the VM may be whole: see `borg-ovirt list`.",
        )

    @cached_property
    def _small(self) -> dict[str, StoredFile]:
        """The files before the disks. Reading ends there: a disk's item can be megabytes long."""
        files: dict[str, StoredFile] = {}
        for stored in stored_files(self._session, self._facts.items, most=_LARGEST_FILE // CELL):
            if stored.path.startswith(DISKS):
                break
            files[stored.path] = stored
        return files

    @cached_property
    def _disks(self) -> dict[str, StoredFile]:
        found = stored_files(self._session, self._facts.items)
        return {stored.path: stored for stored in found if stored.path.startswith(DISKS)}
