"""One open repository: the few things that archives need of Borg, in our words.

Only one thread may be in here at a time, save for `seen`, `id_of` and `framer`, which any thread may use.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timezone
from itertools import groupby, repeat
from typing import Any

from borg.archive import Archive, Statistics
from borg.cache import ChunkListEntry
from borg.constants import LIST_SCAN_LIMIT
from borg.helpers import Manifest
from borg.item import ArchiveItem
from borg.remote import RemoteRepository

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import ArchiveNotFound, RepositoryDamaged, RepositoryError
from borg_ovirt.repository import frames
from borg_ovirt.repository.borg_behind import WriteBehind
from borg_ovirt.repository.borg_compressor import FrameCompressor
from borg_ovirt.repository.borg_console import Warnings
from borg_ovirt.repository.borg_errors import translate_errors
from borg_ovirt.repository.borg_facts import ArchiveEntry, ArchiveFacts
from borg_ovirt.repository.borg_ids import archive_id, id_hash
from borg_ovirt.repository.borg_reading import ChunkReader
from borg_ovirt.repository.borg_segments import Segments


class Session:
    """A repository, its key, its manifest, and when it is open for writing its cache."""

    def __init__(
        self,
        where: str,
        repository: Any,
        manifest: Any,
        key: Any,
        cache: Any | None,
        compression: Any,
        warnings: Warnings,
    ) -> None:
        self.where = where
        self.id: str = repository.id_str
        self.encryption: str = key.ARG_NAME
        self.compression: str = compression.name
        self.append_only: bool | None = getattr(repository, "append_only", None)
        self.warnings = warnings
        self.id_of: frames.IdHash = id_hash(key)
        self.framer = frames.framer(compression.name, getattr(compression, "level", None))
        self._repository = repository
        self._local = not isinstance(repository, RemoteRepository)
        self._segments = Segments(repository) if self._local else None
        self._behind = WriteBehind(repository) if self._local and cache is not None else None
        self._manifest = manifest
        self._key = key
        self._reader = ChunkReader(repository, key)
        self._cache = cache
        self._all_ids: set[bytes] | None = None
        self._listed: tuple[bytes, list[ArchiveEntry]] | None = None
        self._zero_ids: dict[int, bytes] = {}
        self._unusable: str | None = None
        self.rotten: set[bytes] = set()
        """Chunks that are there and cannot be read: as good as lost."""
        self.busy = False
        """An archive is being made; a repository has one transaction at a time."""
        key.compressor = FrameCompressor(key.compressor)

    def translate_errors(self) -> AbstractContextManager[None]:
        """Inside, what Borg raises becomes an error of ours."""
        return translate_errors(self.where)

    # What is there

    def entries(self) -> list[ArchiveEntry]:
        """Every archive of the repository, foreign and unfinished ones too; one list until it changes."""
        if self._listed is None or self._listed[0] != self._manifest.id:
            infos = (self._manifest.archives[name] for name in self._manifest.archives)
            entries = [ArchiveEntry(info.name, info.id, info.ts) for info in infos]
            self._listed = (self._manifest.id, entries)
        return self._listed[1]

    def names(self) -> list[str]:
        """The names of all of them."""
        return list(self._manifest.archives)

    def entry(self, name: str) -> ArchiveEntry:
        """One archive by its exact name."""
        info = self._manifest.archives.get(name)
        if info is None:
            raise ArchiveNotFound(
                f"The repository {self.where} has no archive {name}.", "`borg-ovirt list` shows what it has."
            )
        return ArchiveEntry(info.name, info.id, info.ts)

    def holds_for_sure(self, name: str) -> bool | None:
        """Whether there is an archive of that name, as the repository says now; None if it cannot be read."""
        try:
            fresh, _ = Manifest.load(self._repository, (Manifest.Operation.READ,), key=self._key)
            info = fresh.archives.get(name)
            return info is not None and bool(list(self.facts([ArchiveEntry(info.name, info.id, info.ts)])))
        except Exception:  # whatever it is: what was not read is not known
            return None

    def facts(self, entries: Sequence[ArchiveEntry]) -> Iterator[ArchiveFacts]:
        """The metadata of archives, in order, fetched ahead over `borg serve`."""
        with translate_errors(self.where):
            found = self._repository.get_many([entry.id for entry in entries])
            for entry, data in zip(entries, found, strict=True):
                yield self._facts(entry, data)

    def _facts(self, entry: ArchiveEntry, data: bytes) -> ArchiveFacts:
        plain = self._key.decrypt(entry.id, data)
        # As in stock Borg: archives of old versions have no authentication of their own.
        unpacked, _, _ = self._key.unpack_and_verify_archive(plain, force_tam_not_required=True)
        try:
            return self._plain_facts(entry, ArchiveItem(internal_dict=unpacked))
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            raise RepositoryDamaged(
                f"Archive {entry.name} in {self.where} has metadata that make no sense: {error}.",
                "Run `borg check` on the repository.",
            ) from None

    def _plain_facts(self, entry: ArchiveEntry, meta: Any) -> ArchiveFacts:
        command = tuple(
            word.decode("utf-8", "surrogateescape") if isinstance(word, bytes) else word
            for word in meta.cmdline
        )
        ended = datetime.fromisoformat(meta.get("time_end") or meta.time).replace(tzinfo=timezone.utc)
        return ArchiveFacts(
            entry=entry,
            comment=meta.get("comment") or "",
            command=command,
            items=tuple(meta.items),
            ended=ended,
            original_size=meta.get("size") or 0,
            compressed_size=meta.get("csize") or 0,
        )

    def fetch(self, ids: Iterable[bytes]) -> Iterator[bytes]:
        """Chunks in order, decrypted and checked against their ids. One thread."""
        with translate_errors(self.where):
            yield from self._reader.read(ids)

    def seen(self, chunk: Chunk) -> bool:
        """Whether the repository holds the chunk in that size. Any thread, when open for writing."""
        if self._cache is not None:
            entry = self._cache.chunks.get(chunk.id)
            counted = entry is not None and entry.refcount > 0 and entry.size == chunk.size
            return counted and self._lies_there(chunk.id)
        with translate_errors(self.where):
            if self._local:
                return self._lies_there(chunk.id)
            if self._all_ids is None:
                self._all_ids = set(self._list_ids())
            return chunk.id in self._all_ids

    def _lies_there(self, id_: bytes) -> bool:
        """Whether the repository itself knows the chunk: a damaged one may lack what its cache counts.

        Over `borg serve` only the cache can tell, as for stock Borg.
        """
        return id_ not in self.rotten and (self._segments is None or self._segments.hold(id_))

    def _list_ids(self) -> Iterator[bytes]:
        marker = None
        while found := self._repository.list(limit=LIST_SCAN_LIMIT, marker=marker):
            yield from found
            marker = found[-1]

    def zero_id(self, size: int) -> bytes:
        """The id of a chunk of that many zeros."""
        known = self._zero_ids.get(size)
        if known is None:
            known = self._zero_ids[size] = self.id_of(memoryview(bytes(size)))
        return known

    # Writing one archive

    def begin(self, name: str, started: datetime) -> Any:
        """Start an archive of Borg's; nothing of it shows before it is saved."""
        age = (datetime.now(timezone.utc) - started).total_seconds()
        with translate_errors(self.where):
            len(self._repository)  # loads the index now, before several threads look into it
            return Archive(
                self._repository,
                self._key,
                self._manifest,
                name,
                cache=self._cache,
                create=True,
                # Borg wants times without a zone, in UTC.
                start=started.astimezone(timezone.utc).replace(tzinfo=None),
                start_monotonic=time.monotonic() - max(age, 0.0),
            )

    def unlist(self, archive: Any, *, whole: bool = False) -> None:
        """Take back an archive that was saved; `whole`: its list of items too. Part of a transaction."""
        assert self._cache is not None
        if archive.name not in self._manifest.archives:
            return
        with translate_errors(self.where):
            del self._manifest.archives[archive.name]
            for id_ in [archive.id, *(archive.items_buffer.chunks if whole else [])]:
                self._cache.chunk_decref(id_, archive.meta_stats)

    def check_writable(self) -> None:
        """Refuse to write through a connection or a cache that failed before."""
        if self._cache is None:
            raise RepositoryError(f"The repository {self.where} is open for reading only.")
        if self.busy:  # its commit would take the half of that archive along
            raise RuntimeError("an archive is being made in this repository")
        if self._unusable:
            raise RepositoryError(
                f"The repository {self.where} cannot be written any more in this run: {self._unusable}",
                "Run again.",
            )

    def add(self, id_: bytes, cell: memoryview | frames.Frame | bytes, stats: Any) -> bool:
        """Refer to the chunk, storing it first if it is new; tells whether it was."""
        assert self._cache is not None
        before = stats.usize
        # Written over the record of a chunk that got lost, it is whole again in every archive that names it.
        lost = self._cache.seen_chunk(id_, len(cell)) and not self._lies_there(id_)
        entry = self._cache.add_chunk(id_, cell, stats, overwrite=lost, wait=False)
        if lost:  # Borg counts it as known; the repository grows all the same
            stats.usize += entry.csize
        self.rotten.discard(id_)
        self._repository.async_response(wait=False)
        if self._behind is not None:
            self._behind.put(stats.usize - before)
        return bool(lost or stats.usize != before)

    def refer(self, chunk: Chunk, stats: Any, count: int = 1) -> None:
        """Refer to a chunk that the repository holds, so many times."""
        assert self._cache is not None
        if not self.seen(chunk):
            raise RepositoryError(
                f"The repository {self.where} misses a chunk that was to be used again ({chunk.id.hex()}).",
                "Run with --full, and `borg check` the repository.",
            )
        _, size, compressed = self._cache.chunk_incref(chunk.id, stats)
        if count > 1:  # what Borg does for each: a disk has long runs of zeros
            add = self._cache.chunks.incref
            for _ in range(count - 1):
                add(chunk.id)
            stats.update(size * (count - 1), compressed * (count - 1), False)

    def rows(self, chunks: Iterable[Chunk]) -> list[Any]:
        """Chunks as an item lists them, with their size in the repository."""
        assert self._cache is not None
        index = self._cache.chunks
        rows: list[Any] = []
        for (id_, size), run in groupby(chunks):
            rows += repeat(ChunkListEntry(id_, size, index[id_].csize), len(list(run)))
        return rows

    # Changing archives

    def delete(self, names: Sequence[str]) -> int:
        """Remove archives in one transaction, lost chunks or not; returns the bytes that this frees."""
        self.check_writable()
        for name in names:
            self.entry(name)
        stats = Statistics()

        def work() -> None:
            self._manifest.check_repository_compatibility((Manifest.Operation.DELETE,))
            for name in dict.fromkeys(names):
                self._archive(name).delete(stats, forced=1)

        self.transaction(work)
        return -int(stats.usize)

    def set_comments(self, comments: dict[str, str]) -> None:
        """Give archives new comments in one transaction; their ids change."""
        self.check_writable()
        for name in comments:
            self.entry(name)

        def work() -> None:
            for name, comment in comments.items():
                self._archive(name).set_meta("comment", comment)

        self.transaction(work)

    def compact(self, threshold: int) -> int | None:
        """Give back the space of segments of which at least `threshold` percent is not needed; returns the
        bytes freed: none where it is append-only, None over `borg serve`, which does not tell."""
        self.check_writable()
        before = self.segment_bytes()
        with translate_errors(self.where):
            # A commit wants a transaction, and writing the manifest anew starts one.
            self._repository.put(Manifest.MANIFEST_ID, self._repository.get(Manifest.MANIFEST_ID))
            self._repository.commit(compact=True, threshold=threshold / 100)
        after = self.segment_bytes()
        return None if before is None or after is None else max(before - after, 0)

    def check(self, seconds: int) -> bool:
        """Borg's check of the segments for so long, from where it stopped last; false if one is faulty."""
        self.check_writable()
        with translate_errors(self.where):
            return bool(self._repository.check(max_duration=seconds))

    def segment_bytes(self) -> int | None:
        """What the repository takes on its file system; None over `borg serve`, which does not tell."""
        if not self._local:
            return None
        with translate_errors(self.where):
            return sum(os.path.getsize(file) for _, file in self._repository.io.segment_iterator())

    def _archive(self, name: str) -> Any:
        return Archive(self._repository, self._key, self._manifest, name, cache=self._cache)

    def transaction(self, work: Callable[[], object], *, saves: bool = False) -> None:
        """Do the work and commit it, or roll everything back. `saves`: the work commits by itself."""
        assert self._cache is not None
        with translate_errors(self.where):
            try:
                work()
                if not saves:
                    while self._repository.async_response(wait=True) is not None:
                        pass
                    self._manifest.write()
                    self._repository.commit(compact=False)
                    self._cache.commit()
            except BaseException:
                self.roll_back()
                raise

    def roll_back(self) -> None:
        """Forget what was not committed, so that the next archive starts from a clean repository."""
        assert self._cache is not None
        try:
            self._roll_back_repository()
            if self._cache.txn_active:
                self._cache.rollback()
            self._reload_manifest()
        except Exception as error:
            self._unusable = f"rolling back failed ({' '.join(str(error).split()) or type(error).__name__})"

    def _roll_back_repository(self) -> None:
        if self._local:
            # With the cleanup that Borg itself does after a full disk: the leftovers are what fills it.
            try:
                self._repository._rollback(cleanup=True)
            except OSError:  # closing the segment flushes it, which fails once more on a full disk
                self._repository._rollback(cleanup=True)
            return
        self._repository.rollback()
        for _ in range(len(self._repository.async_responses) + 1):
            try:
                if self._repository.async_response(wait=False) is None:
                    break
            except Exception:  # an answer to something that is rolled back
                continue

    def _reload_manifest(self) -> None:
        """Take the archives from the repository again: only it knows whether a failed commit came through."""
        assert self._cache is not None
        fresh, _ = Manifest.load(self._repository, (Manifest.Operation.WRITE,), key=self._key)
        for field in ("archives", "config", "id", "timestamp", "tam_verified"):
            setattr(self._manifest, field, getattr(fresh, field))
        if self._cache.cache_config._config.get("cache", "manifest") != archive_id(fresh.id):
            self._unusable = "the archive is committed but Borg's cache is not"
