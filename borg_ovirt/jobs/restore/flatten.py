"""Joins the layers of a disk into one image: qemu-img reads them, staged in a directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from borg_ovirt.errors import RestoreBlocked, RestoreFailed
from borg_ovirt.jobs.restore.wanted import WantedDisk
from borg_ovirt.pipe.file_target import sync

_LARGE = Path("/var/tmp")
"""Where layers are staged unless told otherwise: memory file systems are no place for disks."""


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


def flatten(disk: WantedDisk, place: Path, target: Path, form: str) -> None:
    """Join the staged layers of a disk into one image of `form` raw or qcow2, on the disk at the end."""
    done = _qemu_img("convert", "-O", form, description(disk, place), str(target))
    if done.returncode:
        target.unlink(missing_ok=True)
        raise RestoreFailed(f"qemu-img could not make an image of disk {disk.name}: {_told(done)}")
    sync(target)


def image_end(layer: Path) -> int:
    """Where the data of a qcow2 file ends: on block storage the volume goes on with what lay there before."""
    node = {"driver": "qcow2", "file": {"driver": "file", "filename": str(layer)}, "backing": None}
    done = _qemu_img("check", "--output=json", "json:" + json.dumps(node))
    try:
        # 3 stands for leaked clusters: space is lost in them, no data.
        if done.returncode not in (0, 3):
            raise ValueError
        return int(json.loads(done.stdout)["image-end-offset"])
    except (ValueError, KeyError):
        raise RestoreFailed(f"qemu-img finds layer {layer.name} damaged: {_told(done)}") from None


def description(disk: WantedDisk, place: Path) -> str:
    """The chain as QEMU opens it: file and format of each layer are told, none is taken from a header."""
    node: dict[str, Any] | None = None
    for layer in disk.layers:
        file = {"driver": "file", "filename": str(place / layer.image_id)}
        if layer.format == "raw":
            node = {"driver": "raw", "file": file, "size": layer.capacity}
        else:
            node = {"driver": "qcow2", "file": file, "backing": node}
    return "json:" + json.dumps(node)


def _qemu_img(*arguments: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("qemu-img")
    if found is None:  # the plan has looked: it was removed since
        raise RestoreFailed("qemu-img is gone.", "Install qemu-utils (or qemu-img).")
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=False)


def _told(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stderr.split()) or f"exit status {done.returncode}"
