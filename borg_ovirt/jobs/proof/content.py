"""Level content: what a guest would find on the disks, and whether it agrees with itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.proof.filesystems import recognize
from borg_ovirt.jobs.proof.partitions import Partition, read_table
from borg_ovirt.jobs.proof.view import ChainView, ImageView, View
from borg_ovirt.jobs.restore.flatten import description, image_end, work_place
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.site import has_qemu_img
from borg_ovirt.jobs.restore.wanted import WantedDisk, want
from borg_ovirt.pipe.file_target import write_sparse
from borg_ovirt.progress import Progress
from borg_ovirt.repository.reader import ArchiveReader


@dataclass
class Inside:
    """What was found on the disks of an archive."""

    found: list[str] = field(default_factory=list)
    """A few words for each disk."""
    faults: list[str] = field(default_factory=list)
    """What cannot be right, whatever the guest does."""
    doubts: list[str] = field(default_factory=list)
    """What looks wrong, and may be so in the guest."""


def look_inside(reader: ArchiveReader, work_dir: Path | None, progress: Progress) -> Inside:
    """Look at every disk. Chains are staged in a work directory, where qemu-img checks each layer."""
    inside = Inside()
    for disk in want(reader.name, reader.manifest, RestoreOptions()).disks:
        with _opened(reader, disk, work_dir, progress, inside) as view:
            if view is not None:
                _look(disk.name, view, inside)
    return inside


def _look(name: str, view: View, inside: Inside) -> None:
    table = read_table(view)
    inside.faults += [f"disk {name}: {fault}" for fault in table.faults]
    inside.doubts += [f"disk {name}: {doubt}" for doubt in table.doubts]
    names = []
    for part in table.partitions or [Partition(0, 0, view.size)]:
        found = recognize(view, part.start, part.size)
        names.append(found.name if found else "unknown")
        where = f"partition {part.number} of disk {name}" if part.number else f"disk {name}"
        for words, into in ((found.faults, inside.faults), (found.doubts, inside.doubts)) if found else ():
            into += [f"{where} ({names[-1]}): {text}" for text in words]
    kind = f"{table.kind}: " if table.kind != "none" else ""
    inside.found.append(f"{name} ({kind}{', '.join(names)})")


@contextmanager
def _opened(
    reader: ArchiveReader, disk: WantedDisk, work_dir: Path | None, progress: Progress, inside: Inside
) -> Iterator[View | None]:
    """None where a layer is so damaged that nothing can be read through it."""
    if not disk.record.layers:
        yield ImageView(reader.disk(disk.layers[0].path))
        return
    if not has_qemu_img():
        raise RestoreBlocked(
            "qemu-img is missing: no chain can be read.", "Install qemu-utils (or qemu-img)."
        )
    faults = []
    with work_place(work_dir) as place:
        for layer in disk.layers:
            what = f"layer {layer.image_id} of disk {disk.name}"
            with progress.disk(what, layer.size) as gauge:
                write_sparse(reader.disk(layer.path), place / layer.image_id, progress=gauge, name=what)
            if layer.format == "cow":
                try:
                    image_end(place / layer.image_id)
                except RestoreFailed as error:
                    faults.append(error.message.rstrip("."))
        inside.faults += faults
        yield None if faults else ChainView(description(disk, place), disk.record.size, place)
