"""What is known of a VM, its disks and its snapshots: plain records, read once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

BLANK_TEMPLATE = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class DiskFacts:
    """A disk and how it is attached. Sizes are bytes; None where the engine told nothing."""

    id: str
    alias: str
    size: int
    """The exact virtual size (`provisioned_size`); the OVF rounds it."""
    format: str
    """`cow` or `raw`, of the active layer."""
    sparse: bool
    storage_type: str
    """`image`, `lun`, `managed_block_storage`, `cinder`."""
    description: str = ""
    image_id: str | None = None
    """The active layer."""
    actual_size: int | None = None
    total_size: int | None = None
    storage_domain: str | None = None
    content_type: str = "data"
    backup: str = "none"
    """`incremental` if the disk may keep bitmaps."""
    qcow_version: str | None = None
    status: str | None = None
    """`ok`, `locked` or `illegal`."""
    shareable: bool = False
    wipe_after_delete: bool = False
    propagate_errors: bool = False
    disk_profile: str | None = None
    quota: str | None = None
    interface: str | None = None
    bootable: bool = False
    active: bool = True
    """Plugged in: the VM sees the disk."""
    read_only: bool = False
    pass_discard: bool = False
    uses_scsi_reservation: bool = False

    @property
    def skip_reason(self) -> str | None:
        """Why no backup of the disk can be made, None if it can."""
        if self.storage_type == "lun":
            return "direct LUN"
        if self.storage_type in ("managed_block_storage", "cinder"):
            return "managed block storage"
        if self.storage_type != "image":
            return f"storage type {self.storage_type}"
        if self.shareable:
            return "shareable"
        if self.content_type != "data":
            return f"content type {self.content_type}"
        if self.status == "illegal":
            return "illegal"
        return None


@dataclass(frozen=True)
class SnapshotFacts:
    """A snapshot of a VM."""

    id: str
    description: str
    date: datetime
    type: str
    """`active`, `regular`, `preview`, `stateless`."""
    status: str
    """`ok`, `locked`, `in_preview`."""
    memory: bool = False


@dataclass(frozen=True)
class VmFacts:
    """A VM as far as a backup is concerned."""

    id: str
    name: str
    status: str
    """As the API spells it: `up`, `down`, `paused`, `migrating` ...; `unknown` where it tells none."""
    cluster_id: str
    cluster_name: str
    level: tuple[int, int]
    """Compatibility level: the VM's own where it has one, else its cluster's."""
    data_center_id: str | None = None
    description: str = ""
    host_id: str | None = None
    origin: str = ""
    bios_type: str = ""
    has_tpm: bool = False
    template_id: str = BLANK_TEMPLATE
    next_run: bool = False
    """Some of its configuration waits for its next start; the OVF has what holds now."""
    quota: str | None = None
    guest_agent: bool = False
    """A guest agent has reported something, so it can probably freeze file systems."""
    tags: tuple[str, ...] = ()
    disks: tuple[DiskFacts, ...] = ()
    snapshots: tuple[SnapshotFacts, ...] = ()

    @property
    def is_hosted_engine(self) -> bool:
        return "hosted_engine" in self.origin

    @property
    def in_preview(self) -> bool:
        return any(s.type == "preview" or s.status == "in_preview" for s in self.snapshots)

    @property
    def runs_stateless(self) -> bool:
        """What the VM writes now is thrown away when it stops."""
        return self.status != "down" and any(s.type == "stateless" for s in self.snapshots)

    @property
    def has_nvram(self) -> bool:
        """UEFI with variables of its own, which the engine's OVF leaves out."""
        return self.bios_type in ("q35_ovmf", "q35_secure_boot")

    @property
    def lost_state(self) -> tuple[str, ...]:
        """State of the VM that no OVF over REST carries."""
        found = (("UEFI variables", self.has_nvram), ("TPM state", self.has_tpm))
        return tuple(name for name, has in found if has)


@dataclass(frozen=True)
class VmSummary:
    """One line of a list of VMs."""

    id: str
    name: str
    status: str
    cluster_id: str
    tags: tuple[str, ...] = ()
