"""Level data: every chunk of an archive read, decrypted and hashed; each once in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

from borg_ovirt.blocks import Chunk
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader

_WINDOW = 64
"""Chunks between two looks at the clock."""


@dataclass
class ChunksSeen:
    """What this run knows of the chunks of a repository."""

    sound: set[bytes] = field(default_factory=set)
    rotten: dict[bytes, str] = field(default_factory=dict)
    """Id -> what is wrong."""
    bytes_read: int = 0


@dataclass(frozen=True)
class Reading:
    """How far it came."""

    done: int
    """Chunks of the archive that are behind us."""
    complete: bool
    fault: str | None
    rotten: tuple[bytes, ...] = ()
    """The chunks of this archive that are so."""


def read_data(
    repository: Repository,
    reader: ArchiveReader,
    seen: ChunksSeen,
    go_on: Callable[[], bool],
    progress: Progress,
    start: int = 0,
) -> Reading:
    """Read the disks of an archive from its chunk number `start` on, for as long as `go_on` says."""
    place = start
    rotten: dict[str, str] = {}
    ids: dict[bytes, None] = {}
    with progress.disk(reader.name, sum(reader.manifest.contents.values())) as gauge:
        for at, path, window in _windows(reader, start):
            if not go_on():
                return Reading(place, False, _told(rotten), tuple(ids))
            fresh = [c for c in dict.fromkeys(window) if c.id not in seen.sound and c.id not in seen.rotten]
            for chunk, fault in repository.read_all(fresh):
                seen.bytes_read += chunk.size
                gauge.advance(read=chunk.size)
                if fault is None:
                    seen.sound.add(chunk.id)
                else:
                    seen.rotten[chunk.id] = fault
            gauge.advance(reused=sum(c.size for c in window) - sum(c.size for c in fresh))
            for chunk in window:
                if chunk.id in seen.rotten:
                    rotten.setdefault(path, seen.rotten[chunk.id])
                    ids[chunk.id] = None
            place = at + len(window)
    return Reading(place, True, _told(rotten), tuple(ids))


def holds_rotten(reader: ArchiveReader, seen: ChunksSeen) -> Reading:
    """Whether an archive refers to chunks that another one's reading found rotten; nothing is read."""
    found: dict[str, str] = {}
    ids: dict[bytes, None] = {}
    for path in reader.manifest.contents:
        for chunk, _ in groupby(reader.disk(path).chunks):
            if chunk.id in seen.rotten:
                found.setdefault(path, seen.rotten[chunk.id])
                ids[chunk.id] = None
    return Reading(0, False, _told(found), tuple(ids))


def _windows(reader: ArchiveReader, start: int) -> Iterator[tuple[int, str, list[Chunk]]]:
    """Number of the first chunk, item, and chunks, item after item in the order of the manifest."""
    before = 0
    for path in reader.manifest.contents:
        chunks = reader.disk(path).chunks
        for first in range(max(start - before, 0), len(chunks), _WINDOW):
            yield before + first, path, list(chunks[first : first + _WINDOW])
        before += len(chunks)


def _told(rotten: dict[str, str]) -> str | None:
    if not rotten:
        return None
    path, why = next(iter(rotten.items()))
    more = f" (and {len(rotten) - 1} other items)" if len(rotten) > 1 else ""
    return f"{path}{more}: {why}"
