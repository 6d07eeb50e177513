"""Copies archives into another repository, under its own key, and moves only what that does not hold yet.

Where both repositories name chunks alike (the same id key, or none) the ids tell what the other holds. Where
they do not, the archives that both have tell: the same disk, chunk by chunk, under two names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from itertools import groupby
from os import cpu_count
from typing import Any, Literal

from borg_ovirt.blocks import Chunk
from borg_ovirt.config.schema import Retention
from borg_ovirt.errors import ArchiveNotFound, NotOurArchive, RepositoryDamaged, UsageError
from borg_ovirt.jobs.archives.find import archive_named, series_named
from borg_ovirt.jobs.archives.retention import apply_rules
from borg_ovirt.pipe.recut import recut
from borg_ovirt.progress import Gauge, Progress
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import MANIFEST, OVF, README
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.reader import ArchiveReader, DiskContent
from borg_ovirt.repository.series import Series
from borg_ovirt.repository.writer import ArchiveWriter, DiskSink

_THREADS = max(2, min(4, cpu_count() or 1))
_UNDER_WAY = 4 * _THREADS
"""Chunks that are being hashed and compressed at a time."""
_COMPARED = 8
"""Chunks of each disk that are read on both sides before a known archive is taken as a dictionary."""

State = Literal["copied", "there", "due", "left"]
"""`due`: would be copied; `left`: cannot be, and `note` says why."""


@dataclass
class CopyLine:
    """What became of one archive. Sizes in bytes."""

    archive: str
    vm: str
    state: State
    note: str = ""
    size: int = 0
    """Of its disks, as their guests see them."""
    read: int = 0
    """Read from the source, decrypted."""
    added: int = 0
    """What the target grew by, compressed."""


@dataclass
class CopyResult:
    """All of them, in the order in which they were made."""

    lines: list[CopyLine] = field(default_factory=list)

    @property
    def warnings(self) -> list[str]:
        return [f"{line.archive} was not copied: {line.note}" for line in self.lines if line.state == "left"]


def choose(
    source: Repository, name: str | None, last: int | None, rules: Retention | None
) -> list[ArchiveInfo]:
    """What is meant, in the order in which it was made: one archive, those of a VM, or all; of each VM the
    `last` newest, or what `rules` would keep."""
    now = datetime.now(timezone.utc)
    alone = archive_named(source, name) if name is not None else None
    every = source.series(now) if name is None or alone else series_named(source, name)
    chosen: list[tuple[datetime, int, ArchiveInfo]] = []
    for series in every:
        kept = series.archives[-last:] if last else series.archives
        if rules is not None:
            kept = tuple(v.archive for v in reversed(apply_rules(series, rules, now)) if v.keep)
        chosen += [
            (series.times[info.name], place, info) for place, info in enumerate(kept) if alone in (None, info)
        ]
    return [info for *_, info in sorted(chosen, key=lambda one: one[:2])]


def copy(
    source: Repository,
    target: Repository,
    wanted: Sequence[ArchiveInfo],
    progress: Progress,
    *,
    dry_run: bool = False,
) -> CopyResult:
    """Copy the archives one by one; each is in the target whole or not at all.

    One that is damaged in the source is left, and so is one whose name is another archive's in the target.
    """
    if source.id == target.id:
        raise UsageError(f"{source.location} and {target.location} are the same repository.")
    job = _Copy(source, target, progress)
    result = CopyResult()
    for info in wanted:
        line = job.look(info)
        result.lines.append(line)
        if line.state == "due" and not dry_run:
            job.carry_over(info, line)
        if line.state == "left":
            progress.warn(result.warnings[-1])
    return result


class _Copy:
    """One copying under way."""

    def __init__(self, source: Repository, target: Repository, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._names = target.all_names()
        self._latest = max((t for s in target.series() for t in s.times.values()), default=None)
        self._alike = source.names_chunks_as(target)
        self._dictionaries: dict[str, dict[bytes, bytes]] = {}
        """VM id -> what a chunk of the source is called in the target."""

    def look(self, info: ArchiveInfo) -> CopyLine:
        """Whether it is to be copied; nothing is changed."""
        line = CopyLine(info.name, info.comment.vm_name, "due")
        damage = self._source.damage(info.name)
        if damage is not None:
            line.state, line.note = "left", f"{damage}."
            return line
        line.size = sum(self._source.archive(info.name).manifest.contents.values())
        if info.name in self._names:
            if self._is_copied(info.name):
                line.state = "there"
            else:
                line.state, line.note = "left", f"{self._target.location} has another archive of that name."
        return line

    def carry_over(self, info: ArchiveInfo, line: CopyLine) -> None:
        """Copy one archive; where its bytes turn out to be lost, leave it."""
        self._progress.step(f"{info.name}: copying into {self._target.location}")
        reader = self._source.archive(info.name)
        known = {} if self._alike else self._dictionary(info)
        learnt: dict[bytes, bytes] = {}
        try:
            number, vm_id = self._newest(info), info.comment.vm_id
            with self._target.writer(info.name, started=info.time, numbered=number, vm_id=vm_id) as writer:
                writer.add_file(OVF, reader.ovf)
                for disk in reader.manifest.disks:
                    for path in [layer.path for layer in disk.layers] or [disk.path]:
                        content = reader.disk(path)
                        sink = writer.disk(path, content.size, disk.cell)
                        with self._progress.disk(f"{info.name} {disk.alias}", content.size) as gauge:
                            line.read += self._disk(content, sink, disk.cell, known, learnt, gauge)
                self._commit(writer, reader, info)
        except (RepositoryDamaged, NotOurArchive) as error:
            line.state, line.note = "left", error.message
            return
        known.update(learnt)
        self._names.add(info.name)
        self._latest = max(info.time, self._latest or info.time)
        line.state, line.added = "copied", writer.added or 0

    def _commit(self, writer: ArchiveWriter, reader: ArchiveReader, info: ArchiveInfo) -> None:
        comment = info.comment.model_copy(update={"under_way": None})
        as_it_was = {path: reader.read_file(path) for path in (MANIFEST, README)}
        writer.commit(comment, reader.manifest, head=as_it_was, took=info.duration)

    def _disk(
        self,
        content: DiskContent,
        sink: DiskSink,
        cell: int,
        known: dict[bytes, bytes],
        learnt: dict[bytes, bytes],
        gauge: Gauge,
    ) -> int:
        """Copy one disk or layer; returns how many bytes of it were read."""
        if not content.chunks.on_grid(cell):  # somebody cut the archive anew
            return _recut(content, sink, cell, gauge)
        asked: set[bytes] = set()

        def there(chunk: Chunk) -> Chunk | None:
            name = chunk.id if self._alike else known.get(chunk.id) or learnt.get(chunk.id)
            same = Chunk(name, chunk.size) if name is not None else None
            return same if same is not None and self._target.has(same) else None

        def lacking() -> Iterator[Chunk]:
            for chunk, _ in groupby(content.chunks):
                if not content.is_zero(chunk) and chunk.id not in asked and there(chunk) is None:
                    asked.add(chunk.id)
                    yield chunk

        read = 0
        with ThreadPoolExecutor(_THREADS) as pool:
            arriving = _prepared(pool, sink, content.fetch(lacking()))
            taken: set[bytes] = set()
            arrived = next(arriving, None)
            for chunk, run in groupby(content.chunks):
                count = len(list(run))
                if content.is_zero(chunk):
                    _zeros(sink, chunk.size, count)
                    gauge.advance(zero=chunk.size * count)
                    continue
                if chunk.id in asked and chunk.id not in taken:
                    assert arrived is not None
                    taken.add(chunk.id)
                    learnt[chunk.id] = arrived.id
                    new = sink.store(arrived)
                    gauge.advance(read=chunk.size, new=chunk.size if new else 0)
                    read += chunk.size
                    count -= 1
                    arrived = next(arriving, None)
                if count:
                    again = there(chunk)
                    if again is None:
                        raise RepositoryDamaged(f"A chunk of {content.path} got lost while it was copied.")
                    sink.reuse(again, count)
                    gauge.advance(reused=chunk.size * count)
        return read

    def _newest(self, info: ArchiveInfo) -> bool:
        """Whether nothing in the target was made later: only then its number there tells its place."""
        return self._latest is None or self._latest <= info.time

    def _is_copied(self, name: str) -> bool:
        with suppress(NotOurArchive, RepositoryDamaged, ArchiveNotFound):
            return self._target.archive(name).read_file(MANIFEST) == self._source.archive(name).read_file(
                MANIFEST
            )
        return False

    def _dictionary(self, info: ArchiveInfo) -> dict[bytes, bytes]:
        """What the target calls the chunks of this VM, as far as an archive that both have tells."""
        vm_id = info.comment.vm_id
        if vm_id not in self._dictionaries:
            self._dictionaries[vm_id] = {}
            both = [a for a in _of_vm(self._source.series(), vm_id) if a.name in self._names]
            for earlier in both:
                if self._is_copied(earlier.name):
                    self._dictionaries[vm_id] = self._pairs(earlier.name)
                    break
        return self._dictionaries[vm_id]

    def _pairs(self, name: str) -> dict[bytes, bytes]:
        """The chunks of one archive as both repositories call them; none of a disk that is not the same."""
        pairs: dict[bytes, bytes] = {}
        ours, theirs = self._source.archive(name), self._target.archive(name)
        for path in ours.manifest.contents:
            with suppress(NotOurArchive, RepositoryDamaged, ArchiveNotFound):
                here, there = ours.disk(path), theirs.disk(path)
                if not here.damaged and not there.damaged:
                    pairs.update(_matched(here, there))
        return pairs


def _of_vm(every: Iterable[Series], vm_id: str) -> list[ArchiveInfo]:
    """Newest first."""
    return [info for series in every if series.vm_id == vm_id for info in series.newest_first]


def _matched(here: DiskContent, there: DiskContent) -> dict[bytes, bytes]:
    """The chunks of one disk under their two names; none unless both are cut alike and samples are equal."""
    mine, others = here.chunks, there.chunks
    if len(mine) != len(others) or any(a.size != b.size for a, b in zip(mine, others, strict=True)):
        return {}
    pairs = {a: b for a, b in zip(mine, others, strict=True) if not here.is_zero(a)}
    every = max(len(pairs) // _COMPARED, 1)
    some = list(pairs.items())[::every]
    read = zip(here.fetch(a for a, _ in some), there.fetch(b for _, b in some), strict=True)
    if any(one != other for one, other in read):
        return {}
    return {a.id: b.id for a, b in pairs.items()}


def _recut(content: DiskContent, sink: DiskSink, cell: int, gauge: Gauge) -> int:
    for data in recut(content.fetch(content.chunks), cell):
        new = _zeros(sink, len(data), 1) if data == bytes(len(data)) else sink.store(sink.prepare(data))
        gauge.advance(read=len(data), new=len(data) if new else 0)
    return content.size


def _zeros(sink: DiskSink, size: int, count: int) -> bool:
    sink.zero(size, count)
    return False


def _prepared(pool: ThreadPoolExecutor, sink: DiskSink, views: Iterable[memoryview]) -> Iterator[Any]:
    """The chunks hashed and compressed by several threads, in order."""
    waiting: deque[Future[Any]] = deque()
    for view in views:
        waiting.append(pool.submit(sink.prepare, view))
        if len(waiting) >= _UNDER_WAY:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
