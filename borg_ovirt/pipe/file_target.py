"""Restores an archived disk to a sparse raw file: a file is a target like any other, new and all zeros."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from borg_ovirt.blocks import KiB
from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.pipe.ports import Content, Meter
from borg_ovirt.pipe.upload import UploadStats, upload

_WRITERS = 2
"""One copies into the page cache while the other's pages are made; more only fight for the file's lock."""
_HOLE = 64 * KiB
"""Zeros of at least this length become holes."""


def write_sparse(
    content: Content, path: Path, *, progress: Meter | None = None, name: str = "the disk"
) -> UploadStats:
    """Make a new file of exactly the content, on the disk when this returns; on failure there is none."""
    with _telling(name, path):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise RestoreBlocked(f"{path} exists already.", "Choose another place, or remove it.") from None
        try:
            os.ftruncate(descriptor, content.size)
            stats = upload(
                content,
                FileTarget(descriptor, content.size),
                target_is_zero=True,
                writers=_WRITERS,
                min_gap=_HOLE,
                progress=progress,
                name=name,
            )
            os.fsync(descriptor)  # the size, too, of a file without any data
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    return stats


def write_small(path: Path, data: bytes) -> None:
    """A new small file, on the disk when this returns."""
    with _telling(path.name, path), path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class FileTarget:
    """A raw file as the upload sees a target."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self._descriptor = descriptor

    def open(self) -> _FileWriter:
        return _FileWriter(self._descriptor)

    def checksum(self, algorithm: str, block_size: int) -> None:
        """A file has nobody to ask."""

    def open_reader(self) -> _FileReader:
        return _FileReader(self._descriptor)


class _FileWriter:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, offset: int, views: Sequence[memoryview]) -> None:
        for view in views:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset += written
                view = view[written:]

    def zero(self, offset: int, length: int) -> None:
        """Only for files that are zero already; kept honest all the same."""
        zeros = memoryview(bytes(min(length, 64 * KiB)))
        while length > 0:
            taken = min(length, len(zeros))
            self.write(offset, [zeros[:taken]])
            offset += taken
            length -= taken

    def flush(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        """The descriptor is its opener's."""


class _FileReader:
    resumes = 0

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, offset: int, views: Sequence[memoryview]) -> Iterator[memoryview]:
        for view in views:
            rest = view
            while rest:
                count = os.preadv(self._descriptor, [rest], offset)
                if not count:
                    return
                offset += count
                rest = rest[count:]
            yield view

    def close(self) -> None:
        """The descriptor is its opener's."""


@contextmanager
def _telling(name: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RestoreFailed(
            f"Cannot write {name} to {path}: {error.strerror or error}.",
            "Check the directory and its free space.",
        ) from error


def sync(path: Path) -> None:
    """A file that another program wrote, or the names in a directory: on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
