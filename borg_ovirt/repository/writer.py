"""Writes one archive: disks cell by cell as they come; then it becomes visible whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from borg_ovirt.blocks import CELL, LARGEST_CELL, Chunk
from borg_ovirt.errors import RepositoryError, UsageError
from borg_ovirt.repository.borg_archive import BorgArchive
from borg_ovirt.repository.borg_ids import archive_id
from borg_ovirt.repository.borg_session import Session
from borg_ovirt.repository.checkpoint import Checkpoint, Rhythm, forget_checkpoints
from borg_ovirt.repository.frames import Frame
from borg_ovirt.repository.layout import MANIFEST, OVF, README, TOOL, ArchiveComment, Manifest, figures_of
from borg_ovirt.repository.packed import PackedChunks
from borg_ovirt.repository.readme import readme


@dataclass(frozen=True)
class StoreStats:
    """Sizes in bytes, as `borg create --stats` counts them."""

    original: int
    compressed: int
    deduplicated: int
    """Compressed bytes that are new to the repository."""


class PreparedCell:
    """A cell's content, hashed, and compressed if the repository does not hold it."""

    __slots__ = ("_id", "_size", "data", "frame")

    def __init__(self, id_: bytes, data: memoryview, frame: Frame | None) -> None:
        self._id = id_
        self._size = len(data)
        self.data: memoryview | None = data
        self.frame = frame

    @property
    def id(self) -> bytes:
        return self._id

    @property
    def size(self) -> int:
        return self._size

    def take(self) -> memoryview | Frame:
        """The content, once: afterwards the buffer is no longer referred to."""
        content = self.frame or self.data
        if content is None:
            raise ValueError("a cell can be stored only once")
        self.data = self.frame = None
        return content


def prepare(session: Session, data: memoryview) -> PreparedCell:
    """Hash and compress what any disk of any archive may hold. Any thread."""
    id_ = session.id_of(data)
    framer = session.framer
    if framer is None or session.seen(Chunk(id_, len(data))):
        return PreparedCell(id_, data, None)
    return PreparedCell(id_, data, framer(data))


class DiskSink:
    """One disk's list of chunks as it grows, cell after cell, in the order of the disk."""

    def __init__(self, writer: ArchiveWriter, session: Session, path: str, size: int, cell: int) -> None:
        self.path = path
        self.size = size
        self.cell = cell
        self.chunks = PackedChunks()
        self.data = 0
        """Bytes in cells that are not all zeros."""
        self._writer = writer
        self._session = session
        self._filled = 0

    @property
    def zero_id(self) -> bytes:
        """The id of a full cell of zeros."""
        return self._session.zero_id(self.cell)

    def prepare(self, data: memoryview) -> PreparedCell:
        """Hash one cell, and compress it if it is new. Any thread; `data` may change again after `store`."""
        return prepare(self._session, data)

    def store(self, prepared: PreparedCell) -> bool:
        """Append the cell; true if its bytes were new to the repository. One thread, in order."""
        with self._writer.adding():
            self._check_fit(prepared.size)
            new = self._session.add(prepared.id, prepared.take(), self._writer.borg.stats)
            self._append(prepared.id, prepared.size)
            if new:
                self._writer.keep_if_due()
            return new

    def zero(self, size: int, count: int = 1) -> None:
        """Append so many cells of `size` zeros."""
        chunk = Chunk(self._session.zero_id(size), size)
        if not self._session.seen(chunk):
            self.store(self.prepare(memoryview(bytes(size))))
            count -= 1
        if count:
            self.reuse(chunk, count)

    def reuse(self, chunk: Chunk, count: int = 1) -> None:
        """Append a chunk that the repository holds already, so many times."""
        self._writer.check_open()
        try:  # not `adding`: this runs a quarter of a million times for each TiB
            self._check_fit(chunk.size, count)
            self._session.refer(chunk, self._writer.borg.stats, count)
            self._append(chunk.id, chunk.size, count)
        except BaseException as error:
            self._writer.spoil(error)
            raise

    def close(self) -> None:
        """Check that the disk is complete."""
        if self._filled != self.size:
            self._writer.refuse(f"{self.path} has {self._filled} of {self.size} bytes")

    def _check_fit(self, size: int, count: int = 1) -> None:
        room = self.size - self._filled
        if size != min(self.cell, room) or not 0 < size * count <= room:
            self._writer.refuse(f"{self.path} got a cell of {size} bytes at {self._filled} of {self.size}")

    def _append(self, id_: bytes, size: int, count: int = 1) -> None:
        self.chunks.append(id_, size, count)
        self._filled += size * count
        if id_ != self.zero_id:
            self.data += size * count


class ArchiveWriter:
    """An archive that is being made. Leaving it without `commit` leaves the repository as it was."""

    def __init__(
        self, session: Session, name: str, started: datetime, number: int | None, rhythm: Rhythm
    ) -> None:
        self.name = name
        self._number = number
        self.committed = False
        self.added: int | None = None
        """What the repository grew by, once it is committed: compressed, deduplicated bytes."""
        session.check_writable()
        session.warnings.forget()
        self.borg = BorgArchive(session, name, started)
        self._checkpoint = Checkpoint(session, self.borg, rhythm)
        self._session = session
        self._files: dict[str, PackedChunks] = {}
        self._sinks: list[DiskSink] = []
        self._spoilt: str | None = None

    @property
    def stats(self) -> StoreStats:
        """What is in the archive so far."""
        stats = self.borg.stats
        return StoreStats(stats.osize, stats.csize, stats.usize)

    def add_file(self, path: str, data: bytes) -> None:
        """Add a small file; it lies in the archive before the disks."""
        if path in self._files or path in (MANIFEST, README):
            raise ValueError(f"{path} is there already")
        self._files[path] = self._store_file(data)

    def disk(self, path: str, size: int, cell: int = CELL) -> DiskSink:
        """Start a disk of exactly `size` bytes on a grid of `cell`; several may be open at once."""
        if not 0 < cell <= LARGEST_CELL:
            raise UsageError(f"Chunks of {cell} bytes are not possible: Borg stores up to {LARGEST_CELL}.")
        if any(sink.path == path for sink in self._sinks):
            raise ValueError(f"{path} is there already")
        sink = DiskSink(self, self._session, path, size, cell)
        self._sinks.append(sink)
        return sink

    def commit(
        self,
        comment: ArchiveComment,
        manifest: Manifest,
        *,
        head: Mapping[str, bytes] | None = None,
        took: timedelta | None = None,
    ) -> str:
        """Make the archive visible, whole; returns its id. Any doubt is an error, and nothing is kept.

        For a copy: `head` is its manifest and README, byte for byte, and `took` what its backup took.
        """
        self._check_complete(comment, manifest)
        with self.adding():
            head = head or {MANIFEST: manifest.to_json(), README: readme(manifest, self.name).encode()}
            stored = {path: self._store_file(data) for path, data in head.items()}
            files = {MANIFEST: stored[MANIFEST], **self._files, README: stored[README]}
            for path, chunks in files.items():
                self.borg.add_item(path, sum(chunk.size for chunk in chunks), chunks)
            for sink in self._sinks:
                self.borg.add_item(sink.path, sink.size, sink.chunks)
            data = sum(sink.data for sink in self._sinks)
            figures = figures_of(manifest, data, self.borg.added(), self.borg.total())
            warned = self._session.warnings.heard()
            if warned:
                self.refuse(f"Borg warned: {'; '.join(warned)}")
            cell = self._sinks[0].cell if self._sinks else CELL
            comment = comment.model_copy(update={"number": self._number, "figures": figures})
            self._checkpoint.withdraw()
            id_ = self.borg.save(comment.to_text(), (TOOL, "create", manifest.vm.name), cell, took)
        self.committed = True
        self.added = figures.added
        return archive_id(id_)

    def keep_if_due(self) -> None:
        """Now and then: keep what is there, in case that this is interrupted."""
        if self._checkpoint.due:
            sinks = {sink.path: sink.chunks for sink in self._sinks}
            self._checkpoint.keep({**self._files, **sinks}, self._sinks[0].cell)

    @contextmanager
    def adding(self) -> Iterator[None]:
        """Whatever goes wrong inside spoils the archive, also when somebody catches the error."""
        self.check_open()
        try:
            yield
        except BaseException as error:
            self.spoil(error)
            raise

    def check_open(self) -> None:
        """Refuse to add to an archive that is spoilt or done."""
        if self._spoilt or self.committed:
            raise RepositoryError(
                f"Archive {self.name} {self._spoilt or 'is committed'}: nothing can be added."
            )

    def spoil(self, error: BaseException) -> None:
        """No commit from here on; raises the error in our words where it is Borg's."""
        self._spoilt = self._spoilt or f"failed ({' '.join(str(error).split()) or type(error).__name__})"
        with self._session.translate_errors():
            raise error

    def refuse(self, why: str) -> None:
        """Spoil the archive for good."""
        self._spoilt = f"is not good: {why}"
        raise RepositoryError(f"Archive {self.name} is not good, so none was made: {why}.")

    def _store_file(self, data: bytes) -> PackedChunks:
        chunks = PackedChunks()
        view = memoryview(data)
        with self.adding():
            for start in range(0, len(data), CELL):
                piece = view[start : start + CELL]
                id_ = self._session.id_of(piece)
                self._session.add(id_, piece, self.borg.stats)
                chunks.append(id_, len(piece))
        return chunks

    def _check_complete(self, comment: ArchiveComment, manifest: Manifest) -> None:
        for sink in self._sinks:
            sink.close()
        sizes = {sink.path: sink.size for sink in self._sinks}
        if sizes != manifest.contents:
            self.refuse(f"the manifest tells of {_listing(manifest.contents)}, stored was {_listing(sizes)}")
        if OVF not in self._files:
            self.refuse(f"it has no {OVF}")
        if (comment.vm_id, comment.mode) != (manifest.vm.id, manifest.mode):
            self.refuse("comment and manifest are of different VMs or modes")


def _listing(sizes: dict[str, int]) -> str:
    return ", ".join(f"{path} ({size} bytes)" for path, size in sorted(sizes.items())) or "no disk"


@contextmanager
def writing(
    session: Session, name: str, started: datetime, number: int | None, rhythm: Rhythm
) -> Iterator[ArchiveWriter]:
    """A writer whose archive is rolled back unless it was committed; `number` is for its comment."""
    writer = ArchiveWriter(session, name, started, number, rhythm)
    session.busy = True
    try:
        yield writer
    finally:
        session.busy = False
        if not writer.committed:
            session.roll_back()
    if writer.committed:
        forget_checkpoints(session, rhythm.vm_id)
