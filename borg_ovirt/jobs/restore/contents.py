"""The bytes to be restored: an item as it lies, a layer with another parent, layers joined into one image."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from borg_ovirt.jobs.restore.flatten import flatten, image_end, work_place
from borg_ovirt.jobs.restore.plan import LayerPlan
from borg_ovirt.jobs.restore.wanted import WantedDisk
from borg_ovirt.pipe.file_source import FileContent
from borg_ovirt.pipe.file_target import write_sparse
from borg_ovirt.pipe.patched import PatchedContent
from borg_ovirt.pipe.ports import Content
from borg_ovirt.pipe.shared import SharedContent
from borg_ovirt.pipe.trimmed import TrimmedContent
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import LayerRecord
from borg_ovirt.repository.reader import ArchiveReader


class Contents:
    """What an archive holds, as it is to be written. `lock`: around the repository, which serves one thread
    at a time; None where only one asks.
    """

    def __init__(
        self, reader: ArchiveReader, work_dir: Path | None, progress: Progress, lock: threading.Lock | None
    ) -> None:
        self._reader = reader
        self._work_dir = work_dir
        self._progress = progress
        self._lock = lock

    def archived(self, path: str) -> Content:
        """An item as it lies."""
        if self._lock is None:
            return self._reader.disk(path)
        with self._lock:
            content = self._reader.disk(path)
        return SharedContent(content, self._lock)

    def layer(self, disk: WantedDisk, layer: LayerPlan) -> Content:
        """A layer as it is to be uploaded: under its new parent, and no longer than its volume."""
        content = self.archived(layer.record.path)
        if layer.patch is not None:
            content = PatchedContent(content, layer.patch)
        if layer.most is not None:
            with work_place(self._work_dir) as place:
                self._stage(disk, [layer.record], place)
                content = TrimmedContent(content, image_end(place / layer.record.image_id))
        return content

    @contextmanager
    def image(self, disk: WantedDisk) -> Iterator[Content]:
        """A disk as one raw image."""
        if not disk.joined:
            yield self.archived(disk.layers[0].path)
            return
        with work_place(self._work_dir) as place:
            joined = place / "joined.raw"
            self.join(disk, place, joined, "raw")
            with FileContent(joined) as content:
                yield content

    def join(self, disk: WantedDisk, place: Path, target: Path, form: str) -> None:
        """Make one image of a disk in a file; its layers are staged in a directory meanwhile."""
        self._stage(disk, disk.layers, place)
        self._progress.step(f"{disk.name}: joining {len(disk.layers)} layers")
        flatten(disk, place, target, form)

    def _stage(self, disk: WantedDisk, layers: Sequence[LayerRecord], place: Path) -> None:
        """Write layers into a directory under their image ids; holes stay holes."""
        for layer in layers:
            what = f"layer {layer.image_id} of disk {disk.name}"
            with self._progress.disk(what, layer.size) as gauge:
                write_sparse(self.archived(layer.path), place / layer.image_id, progress=gauge, name=what)
