"""What a user can say about a restore: the same words for every archive and every destination.

Nothing is imported here that the help of a command could not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from borg_ovirt.blocks import MiB

NONE = "none"
"""The word for no network."""


@dataclass(frozen=True)
class SiteMap:
    """What takes the place of what at another site, by name; what is not named stays."""

    clusters: Mapping[str, str] = field(default_factory=dict)
    storage_domains: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    mac: str | None = None


@dataclass(frozen=True)
class RestoreOptions:
    """Into oVirt, or with `directory` into files."""

    name: str | None = None
    """Restore beside the original, under this name and with new ids."""
    cluster: str | None = None
    """Name or id; None means the one of the manifest."""
    storage_domains: Mapping[str, str] = field(default_factory=dict)
    """Disk alias or id, or empty for all others -> storage domain name or id; else each disk's own."""
    disks: tuple[str, ...] = ()
    """Aliases or ids, each with `=NEW` if it is to be called otherwise: only these, without the VM."""
    attach: str | None = None
    """Name or id of a VM that gets the disks."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Archived network -> NETWORK, NETWORK/PROFILE or `none`."""
    nics_off: bool = False
    """No network card is linked."""
    without_nics: bool = False
    """The VM gets no network card at all."""
    mac: str | None = None
    """`keep`, `new` or `new-if-taken`; None keeps them, and gives new ones beside the original."""
    no_tags: bool = False
    mapping: SiteMap = field(default_factory=SiteMap)
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
    no_proof: bool = False
    """Do not compare what was restored with the archive."""
    writers: int | None = None
    """Connections per disk."""
    directory: Path | None = None
    """Into files there, without any engine."""
    form: str | None = None
    """Of the images in files: `raw` (as None), or `qcow2`."""
    hypervisor: str | None = None
    """`libvirt`: with the files, the VM as a domain of its."""

    @property
    def fresh(self) -> bool:
        """Everything gets ids of its own: it stands beside the original."""
        return self.name is not None or bool(self.disks)


@dataclass(frozen=True)
class RollbackOptions:
    """What goes back, and how."""

    disks: tuple[str, ...] = ()
    """Aliases or ids; none for all of the archive."""
    no_safety: bool = False
    """Make no archive of the present state."""
    yes: bool = False
    """The present state may really be lost."""
    writers: int | None = None


@dataclass(frozen=True)
class ServeOptions:
    """What is served, and where."""

    disks: tuple[str, ...] = ()
    """Aliases or ids; none for all."""
    snapshot: str | None = None
    write: bool = False
    """Writes are taken, into an overlay that is thrown away."""
    socket_dir: Path | None = None
    """Where the sockets are; None for a directory of our own."""
    listen: str | None = None
    """HOST:PORT instead of a socket, with TLS; for one disk."""
    tls: Path | None = None
    """Directory of `ca-cert.pem`, `server-cert.pem` and `server-key.pem`."""
    cache: int = 256 * MiB
    """Bytes."""


@dataclass(frozen=True)
class FilesOptions:
    """What is looked for, and where."""

    disks: tuple[str, ...] = ()
    """Aliases or ids; none for all, as the guest's system needs them."""
    snapshot: str | None = None
    mount: str | None = None
    """A file system of the disks, as the list of them names it, instead of the guest's own tree."""
    directory: Path | None = None
    """Copy there, instead of listing."""
