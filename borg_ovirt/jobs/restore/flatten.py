"""Joins the layers of an archived chain into one image: qemu-img reads them, staged in a directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.pipe.file_target import write_sparse
from borg_ovirt.progress import Progress
from borg_ovirt.qcow2 import HEAD, BadHeader, read_header
from borg_ovirt.repository.layout import DiskRecord, LayerRecord
from borg_ovirt.repository.reader import ArchiveReader

_LARGE = Path("/var/tmp")
"""Where layers are staged unless told otherwise: memory file systems are no place for disks."""


def qemu_img() -> str:
    """Where qemu-img is; nothing is begun without it."""
    found = shutil.which("qemu-img")
    if found is None:
        raise RestoreBlocked(
            "Joining layers needs qemu-img.", "Install qemu-utils (or qemu-img), or restore the whole chain."
        )
    return found


@contextmanager
def work_place(work_dir: Path | None) -> Iterator[Path]:
    """A directory of our own that is gone afterwards."""
    where = work_dir or (_LARGE if _LARGE.is_dir() else None)
    try:
        place = tempfile.TemporaryDirectory(prefix="borg-ovirt-", dir=where)
    except OSError as error:
        raise RestoreBlocked(
            f"No work directory can be made in {where}: {error.strerror}.", "Choose another with --work-dir."
        ) from None
    with place as name:
        yield Path(name)


def stage(
    reader: ArchiveReader,
    disk: DiskRecord,
    layers: Sequence[LayerRecord],
    place: Path,
    progress: Progress,
) -> None:
    """Write layers of a disk into a directory under their image ids; holes stay holes."""
    name = disk.alias or disk.id
    for layer in layers:
        content = reader.disk(layer.path)
        if content.damaged:
            raise RestoreBlocked(
                f"Layer {layer.image_id} of disk {name} in archive {reader.name} is damaged.",
                "Use another archive; `borg check` tells more.",
            )
        what = f"layer {layer.image_id} of disk {name}"
        with progress.disk(what, layer.size) as gauge:
            write_sparse(content, place / layer.image_id, progress=gauge, name=what)


def flatten(disk: DiskRecord, place: Path, target: Path, form: str, progress: Progress) -> None:
    """Join the staged layers of a disk into one image of `form` raw or qcow2."""
    progress.step(f"{disk.alias or disk.id}: joining {len(disk.layers)} layers")
    command = [qemu_img(), "convert", "-O", form, _description(disk, place), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        target.unlink(missing_ok=True)
        raise RestoreFailed(f"qemu-img could not join the layers of {disk.alias or disk.id}: {_told(done)}")


def image_end(layer: Path) -> int:
    """Where the data of a qcow2 file ends: on block storage the volume goes on with what lay there before."""
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": str(layer)}, "backing": None}
    command = [qemu_img(), "check", "--output=json", "json:" + json.dumps(node)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        # 3 stands for leaked clusters: space is lost in them, no data.
        if done.returncode not in (0, 3):
            raise ValueError
        return int(json.loads(done.stdout)["image-end-offset"])
    except (ValueError, KeyError):
        raise RestoreFailed(f"qemu-img finds layer {layer.name} damaged: {_told(done)}") from None


def _description(disk: DiskRecord, place: Path) -> str:
    """The chain as QEMU opens it: file and format of each layer are told, none is taken from a header."""
    node: dict[str, Any] | None = None
    for layer in disk.layers:
        path = place / layer.image_id
        file = {"driver": "file", "filename": str(path)}
        if layer.format == "raw":
            node = {"driver": "raw", "file": file, "size": layer.capacity}
        else:
            _check(disk, layer, path)
            node = {"driver": "qcow2", "file": file, "backing": node}
    return "json:" + json.dumps(node)


def _check(disk: DiskRecord, layer: LayerRecord, path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(HEAD)
    try:
        header = read_header(head)
    except BadHeader as error:
        raise RestoreFailed(f"Layer {layer.image_id} of disk {disk.alias} is not sound: {error}.") from None
    if header.backing != layer.parent:
        raise RestoreFailed(
            f"Layer {layer.image_id} of disk {disk.alias} names parent {header.backing}, "
            f"the manifest {layer.parent}."
        )


def _told(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split()) or f"exit status {done.returncode}"
