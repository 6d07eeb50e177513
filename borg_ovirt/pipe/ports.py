"""How the bridge sees the banks: a source of extents and bytes, a sink of chunks, and back.

The banks satisfy these protocols by shape; they do not import them. All offsets and sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from borg_ovirt.blocks import Extent


class Meter(Protocol):
    """Shows how far one disk is: read, zero and reused bytes add up to its size. Called from any thread."""

    def advance(
        self, *, read: int = 0, zero: int = 0, reused: int = 0, new: int = 0, resumes: int = 0
    ) -> None: ...


class Reader(Protocol):
    """One connection to the source of a disk. Not shared between threads."""

    resumes: int
    """How often a cut connection was taken up again."""

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        """Fill the views with the bytes from `offset` on, in one request, and yield each when it is full.

        A body that ends early is resumed at the next byte; where it cannot be: `TransferFailed`.
        """
        ...

    def close(self) -> None:
        """End the connection; again and again if need be.

        Called from another thread it makes a read under way fail at once, without another attempt.
        """
        ...


class Source(Protocol):
    """A disk as an image transfer offers it for reading."""

    @property
    def size(self) -> int:
        """Size of the guest-visible disk, in bytes."""
        ...

    def extents(self, context: str) -> Iterator[Extent]:
        """The whole disk in order without gaps, parsed as a stream; `context` is "zero" or "dirty"."""
        ...

    def open(self) -> Reader:
        """A reader with a connection of its own; may be called from any thread."""
        ...


P = TypeVar("P")
"""What a sink makes of a cell, hashed and perhaps compressed, ready to be stored: its own affair."""
R_co = TypeVar("R_co", covariant=True)
R_contra = TypeVar("R_contra", contravariant=True)
"""How a base names a cell to the sink that takes it again: their own affair."""


class Base(Protocol[R_co]):
    """An item of an earlier archive, cell by cell, as a read builds on it.

    Whoever makes one has seen that every chunk lies on the grid, and that the repository holds it.
    """

    @property
    def size(self) -> int: ...

    @property
    def cell(self) -> int:
        """Size of the base's grid cells, in bytes."""
        ...

    def reference(self, index: int) -> R_co:
        """The cell as `Sink.reuse` takes it."""
        ...

    def is_zero(self, index: int) -> bool:
        """Whether the cell (a short last one too) is known to be all zeros."""
        ...

    def data_cells(self, first: int, end: int) -> Iterable[int]:
        """Those of the cells first..end that are not known to be zeros, ascending."""
        ...

    def digest(self, data: memoryview) -> Any:
        """What `same` takes of the bytes of a cell. Any thread; good while `data` is not changed."""
        ...

    def same(self, index: int, digest: Any) -> bool:
        """Whether the cell has these bytes. One thread."""
        ...


class Sink(Protocol[P, R_contra]):
    """One item's list of chunks as it grows, cell after cell, in order."""

    def prepare(self, data: memoryview) -> P:
        """Hash (and where it pays, compress) one cell. Any thread. `data` may be reused after `store`."""
        ...

    def store(self, prepared: P) -> bool:
        """Append the cell; true if its bytes were new to the repository. One thread, in order."""
        ...

    def zero(self, size: int, count: int = 1) -> None:
        """Append so many cells of `size` zeros without bytes."""
        ...

    def reuse(self, reference: R_contra) -> None:
        """Append a cell that the repository holds already."""
        ...


class Piece(Protocol):
    """A part of a content, as this content alone understands it: for everybody else a size, in bytes."""

    @property
    def size(self) -> int: ...


class Content(Protocol):
    """A disk as an archive holds it: its chunks in order. They are opaque: only their content reads them."""

    @property
    def size(self) -> int: ...

    @property
    def chunks(self) -> Sequence[Piece]: ...

    def is_zero(self, chunk: Any) -> bool:
        """Whether the chunk is known, without reading it, to be all zeros."""
        ...

    def fetch(self, chunks: Iterable[Any]) -> Iterator[memoryview]:
        """The plain bytes of the chunks, decrypted and verified, in order, prefetched. One thread.

        A view stays good after the next one is taken: it may wait for its turn to be written.
        """
        ...


class Writer(Protocol):
    """One connection to the target of a disk. Not shared between threads."""

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        """Write the views one after the other from `offset` on, in one request; not flushed."""
        ...

    def zero(self, offset: int, length: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None:
        """End the connection, like that of a reader."""
        ...


class Target(Protocol):
    """A disk as an image transfer offers it for writing."""

    @property
    def size(self) -> int: ...

    def open(self) -> Writer:
        """A writer with a connection of its own; may be called from any thread."""
        ...

    def checksum(self, algorithm: str, block_size: int) -> str | None:
        """The daemon's hash of block hashes over the whole export, in hex; None where it offers none."""
        ...

    def open_reader(self) -> Reader:
        """Reads back what was written, through the same ticket."""
        ...
