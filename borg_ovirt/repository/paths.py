"""Where things lie in an archive."""

from __future__ import annotations

MANIFEST = "manifest.json"
OVF = "vm.ovf"
README = "README.txt"
DISKS = "disks/"


def disk_path(disk_id: str) -> str:
    """The item of a disk in image mode: the whole guest-visible disk."""
    return f"{DISKS}{disk_id}.raw"


def chain_path(disk_id: str) -> str:
    """Where the layers of a disk lie in chain mode."""
    return f"{DISKS}{disk_id}"


def layer_path(disk_id: str, image_id: str) -> str:
    """The item of one layer in chain mode; no suffix, since qcow2 layers name their parent by its bare id."""
    return f"{DISKS}{disk_id}/{image_id}"
