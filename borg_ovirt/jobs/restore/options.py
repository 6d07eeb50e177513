"""What a user can say about a restore: the same words for every archive and every destination."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from borg_ovirt.pipe.upload import WRITERS


@dataclass(frozen=True)
class RestoreOptions:
    """Into oVirt, or with `directory` into files."""

    name: str | None = None
    """Restore beside the original, under this name and with new ids."""
    cluster: str | None = None
    """Name or id; None means the one of the manifest."""
    storage_domain: str | None = None
    """Name or id for all disks; None means each disk's own."""
    storage_domains: Mapping[str, str] = field(default_factory=dict)
    """Disk alias or id -> storage domain name or id."""
    disks: tuple[str, ...] = ()
    """Aliases or ids: only these, without the VM."""
    over: str | None = None
    """Id of an existing disk to overwrite with the one disk of `disks`."""
    yes: bool = False
    """The user has seen what is overwritten."""
    flatten: bool = False
    """Of snapshot chains only the latest state, each disk as one image."""
    snapshot: str | None = None
    """Of snapshot chains the state as of this snapshot (description or id)."""
    work_dir: Path | None = None
    """Where layers are staged to be joined."""
    start: bool = False
    keep: bool = False
    """Leave what was made in place when a later step fails."""
    proof: bool = True
    writers: int = WRITERS
    directory: Path | None = None
    """Into files there, without any engine."""
    form: str = "raw"
    """Of the images in files: `raw` or `qcow2`."""
    dry_run: bool = False

    @property
    def fresh(self) -> bool:
        """Everything gets ids of its own: it stands beside the original."""
        return self.name is not None or bool(self.disks)
