"""Volumes as vdsm keeps them: one file per layer, named by its image id, parents named by bare image id."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from ovirtbox.model import Disk, Layer, StorageDomain
from ovirtbox.processes import ToolFailed, tool

MIB = 1 << 20
EXTENT = 128 * MIB
"""Logical volumes of a block domain come in multiples of this."""
DEFAULT_LV = 1 << 30
GARBAGE = (b"\xa5stale data of a volume that was here before\x5a" * 23000)[:MIB]
"""What a block domain hands out is never zero."""


def qemu_format(layer: Layer) -> str:
    return "qcow2" if layer.format == "cow" else "raw"


def round_up(size: int, step: int) -> int:
    return -(-size // step) * step


def path_of(layer: Layer, domain: StorageDomain) -> Path:
    return domain.path / "images" / layer.disk_id / layer.image_id


def create_volume(
    layer: Layer, domain: StorageDomain, parent: Layer | None = None, initial_size: int | None = None
) -> None:
    """Make the file of a new, empty layer; sets `path`, `volume_size` (block) and `parent`."""
    if initial_size and initial_size > round_up(layer.virtual_size * 11 // 10, EXTENT):
        raise ToolFailed(f"Initial size {initial_size} is larger than the volume can become")
    if domain.full:
        raise ToolFailed(f"No space left on storage domain {domain.name}")
    layer.path = path_of(layer, domain)
    layer.path.parent.mkdir(parents=True, exist_ok=True)
    if parent is not None:
        layer.parent = parent.image_id
        _link_template(layer, parent)
    if layer.format == "cow":
        _create_qcow2(layer, parent)
    else:
        with open(layer.path, "xb") as file:
            file.truncate(layer.virtual_size)
    if domain.kind == "block":
        _lay_on_block(layer, initial_size)


def _create_qcow2(layer: Layer, parent: Layer | None) -> None:
    backing: list[str] = []
    if parent is not None:
        # The bare image id, resolved beside the layer; -u: nothing is opened, the size is ours.
        backing = ["-u", "-b", parent.image_id, "-F", qemu_format(parent)]
    tool("qemu-img", "create", "-q", "-f", "qcow2", *backing, layer.path, str(layer.virtual_size))


def _link_template(layer: Layer, parent: Layer) -> None:
    """A thin disk finds the image of its template in its own directory."""
    beside = layer.path.parent / parent.image_id
    if parent.path.parent != layer.path.parent and not beside.exists():
        beside.symlink_to(parent.path)


def _lay_on_block(layer: Layer, initial_size: int | None) -> None:
    """Round up to whole extents; what was not written by QEMU is old data of somebody else."""
    if layer.format == "raw" or not layer.sparse:
        asked = layer.virtual_size
    else:
        asked = (initial_size or 0) * 11 // 10 or min(DEFAULT_LV, layer.virtual_size)
    written = os.path.getsize(layer.path) if layer.format == "cow" else 0
    layer.volume_size = round_up(max(asked, written), EXTENT)
    with open(layer.path, "r+b") as file:
        file.truncate(layer.volume_size)
        for start in stale_places(written, layer.volume_size, layer.virtual_size):
            file.seek(start)
            file.write(GARBAGE[: min(MIB, layer.volume_size - start)])


def stale_places(written: int, volume_size: int, virtual_size: int) -> list[int]:
    """Where garbage shows: a few MiB, however large the volume is, always beyond the virtual size too."""
    places = {written, volume_size - MIB}
    if virtual_size < volume_size:
        places.add(virtual_size)
    step = max(round_up((volume_size - written) // 8, MIB), MIB)
    places |= set(range(round_up(written, MIB), volume_size, step))
    return sorted(place for place in places if written <= place < volume_size)


def extend_lv(layer: Layer) -> None:
    """A qcow2 on block that grew past its logical volume: the host has extended it meanwhile."""
    if layer.volume_size and layer.path.exists():
        size = os.path.getsize(layer.path)
        if size % EXTENT or size > layer.volume_size:
            layer.volume_size = round_up(size, EXTENT)
            os.truncate(layer.path, layer.volume_size)


def resize(layer: Layer, size: int) -> None:
    """Grow a volume that nobody has open; the caller sets `virtual_size`."""
    if layer.format == "cow":
        tool("qemu-img", "resize", "-q", "-f", "qcow2", layer.path, str(size))
        extend_lv(layer)
    elif layer.volume_size:
        layer.volume_size = max(layer.volume_size, round_up(size, EXTENT))
        os.truncate(layer.path, layer.volume_size)
    else:
        os.truncate(layer.path, size)


def remove_disk(disk: Disk, domain: StorageDomain) -> None:
    shutil.rmtree(domain.path / "images" / disk.id, ignore_errors=True)


def remove_volume(layer: Layer) -> None:
    layer.path.unlink(missing_ok=True)


def actual_size(layer: Layer) -> int:
    """Bytes taken on storage by this layer alone."""
    if layer.volume_size:
        extend_lv(layer)
        return layer.volume_size
    if layer.format == "raw" and not layer.sparse:
        return layer.virtual_size
    try:
        return layer.path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def apparent_size(layer: Layer) -> int:
    """Length of the volume as a client can read it."""
    extend_lv(layer)
    return os.path.getsize(layer.path)


def set_backing(layer: Layer, parent: Layer | None) -> None:
    """Rewrite the header only: the parent's bare id, or none."""
    name = ["-b", parent.image_id, "-F", qemu_format(parent)] if parent else ["-b", ""]
    tool("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", *name, layer.path)


def verify_upload(layer: Layer) -> str | None:
    """What a host demands of a volume that a client wrote: None, or the reason it is refused."""
    try:
        info = json.loads(tool("qemu-img", "info", "--force-share", "--output=json", layer.path))
    except ToolFailed as error:
        return str(error)
    if info["format"] != qemu_format(layer):
        return f"Volume's format {qemu_format(layer)} is not the image's: {info['format']}"
    if layer.format == "cow":
        if info["virtual-size"] > layer.virtual_size:
            return f"Image virtual size {info['virtual-size']} is larger than {layer.virtual_size}"
        if info.get("backing-filename") != layer.parent:
            return f"Image backing file {info.get('backing-filename')!r} is not {layer.parent!r}"
    return None
