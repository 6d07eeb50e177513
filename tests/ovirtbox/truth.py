"""What every disk must hold: a shadow of each guest write, kept beside QEMU and never read from it."""

from __future__ import annotations

import ctypes
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Truth:
    """One sparse raw file per disk, and independent copies of it at chosen instants.

    The caller serialises writes and freezes of one disk. A disk that changed in a way no guest write tells
    (an upload) is forgotten, and adopted again from what QEMU reads.
    """

    def __init__(self, root: Path, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._root = root
        self._now = root / "now"
        self._now.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def switch_off(self) -> None:
        """For benchmarks: nothing is recorded any more, and instants are not kept."""
        self.enabled = False
        self._known.clear()

    # --- the present ---

    def knows(self, disk_id: str) -> bool:
        return disk_id in self._known

    def begin(self, disk_id: str, size: int) -> None:
        """A new disk that reads as zeros."""
        if self.enabled:
            with open(self.content(disk_id), "wb") as file:
                file.truncate(size)
            self._known.add(disk_id)

    def adopted(self, disk_id: str) -> None:
        """The caller has put the content at `content(disk_id)`."""
        self._known.add(disk_id)

    def forget(self, disk_id: str) -> None:
        self._known.discard(disk_id)
        self.content(disk_id).unlink(missing_ok=True)

    def write(self, disk_id: str, offset: int, data: bytes) -> None:
        if disk_id in self._known:
            with open(self.content(disk_id), "r+b") as file:
                file.seek(offset)
                file.write(data)

    def zero(self, disk_id: str, offset: int, length: int) -> None:
        if disk_id in self._known and length:
            with open(self.content(disk_id), "r+b") as file:
                if _libc.fallocate(file.fileno(), _PUNCH_HOLE_KEEP_SIZE, offset, length):
                    raise OSError(ctypes.get_errno(), "fallocate")

    def resize(self, disk_id: str, size: int) -> None:
        if disk_id in self._known:
            os.truncate(self.content(disk_id), size)

    def content(self, disk_id: str) -> Path:
        return self._now / disk_id

    # --- instants ---

    def freeze(self, key: str, disk_ids: Iterable[str]) -> None:
        """Keep what the disks hold now under `key` (a backup's id, a frozen layer's image id)."""
        for disk_id in disk_ids:
            if disk_id in self._known:
                copy_sparse(self.content(disk_id), self.content_at(key, disk_id))

    def content_at(self, key: str, disk_id: str) -> Path:
        directory = self._root / "at" / key
        directory.mkdir(parents=True, exist_ok=True)
        return directory / disk_id

    def has(self, key: str, disk_id: str) -> bool:
        return (self._root / "at" / key / disk_id).exists()

    def move(self, disk_id: str, old: str, new: str) -> None:
        """A layer was merged: its content goes by the name of the layer it went into."""
        if self.has(old, disk_id):
            self.content_at(old, disk_id).replace(self.content_at(new, disk_id))
        else:
            self.drop(new, disk_id)

    def also_as(self, disk_id: str, key: str, other: str) -> None:
        """The same instant under another name: a hybrid backup's and its snapshot's."""
        if self.has(key, disk_id):
            self.drop(other, disk_id)
            os.link(self.content_at(key, disk_id), self.content_at(other, disk_id))

    def drop(self, key: str, disk_id: str) -> None:
        self.content_at(key, disk_id).unlink(missing_ok=True)

    def go_back(self, disk_id: str, key: str) -> None:
        """The disk returns to an earlier content."""
        self.forget(disk_id)
        if self.enabled and self.has(key, disk_id):
            copy_sparse(self.content_at(key, disk_id), self.content(disk_id))
            self._known.add(disk_id)

    def clear(self) -> None:
        self._known.clear()
        shutil.rmtree(self._root, ignore_errors=True)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy only what holds data; holes stay holes."""
    with open(source, "rb") as old, open(target, "wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        position = 0
        while position < size:
            try:
                start = os.lseek(old.fileno(), position, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            position = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            while start < position:
                done = os.copy_file_range(old.fileno(), new.fileno(), position - start, start, start)
                if not done:
                    break
                start += done
