"""What the engine knows: plain records of data centers, domains, VMs, disks, layers and snapshots.

All ids are lower-case UUID strings and all sizes are bytes. One lock, `World.lock`, guards everything.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ovirtbox.beside import Beside

BLANK = "00000000-0000-0000-0000-000000000000"
"""The id of the Blank template, and the parent of a base layer."""


def new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class DataCenter:
    id: str
    name: str
    status: str = "up"


@dataclass
class Cluster:
    id: str
    name: str
    data_center: str
    level: tuple[int, int] = (4, 7)
    """Compatibility level: below 4.5 no cold backups, from 4.7 hybrid backups."""
    mac_pool: str | None = None
    networks: frozenset[str] | None = None
    """Names of those attached to it; None: all."""


@dataclass
class Host:
    id: str
    name: str
    cluster: str
    address: str = "localhost"
    status: str = "up"


@dataclass
class StorageDomain:
    id: str
    name: str
    data_center: str
    kind: str
    """`file` (nfs) or `block` (iscsi)."""
    path: Path
    capacity: int
    status: str = "active"
    backup: bool = False
    reserve: int = 0
    """GiB: where less is free no disk is made (`critical_space_action_blocker`; an engine's default is 5)."""
    full: bool = False
    """Fault: refuses new volumes and fails writes that grow."""


@dataclass
class Layer:
    """A volume of a disk: one file under `<domain>/images/<disk id>/<image id>`."""

    image_id: str
    disk_id: str
    format: str
    """`cow` or `raw`."""
    sparse: bool
    virtual_size: int
    path: Path
    parent: str | None = None
    """Image id of the layer below; a template's image for a thin VM."""
    snapshot_id: str | None = None
    """VM snapshot that owns the layer (the active snapshot owns the active layer); None when floating."""
    status: str = "ok"
    """`ok`, `locked` or `illegal`."""
    volume_size: int = 0
    """Block domains: size of the logical volume, the limit of a qcow2 file upload."""
    new: bool = False
    """Just made: the host has not yet told what it is."""
    lost: bool = False
    """It stands in the database alone: the host could not make the volume."""
    created: datetime | None = None


@dataclass
class Disk:
    id: str
    alias: str
    domain: str
    virtual_size: int
    format: str
    """As asked on creation: the format of the base layer."""
    sparse: bool
    description: str = ""
    backup: str = "none"
    content_type: str = "data"
    storage_type: str = "image"
    """`image`, `lun`, `managed_block_storage`."""
    shareable: bool = False
    wipe_after_delete: bool = False
    propagate_errors: bool = False
    quota: str | None = None
    layers: list[Layer] = field(default_factory=list)
    """Base first; the last one is active."""
    is_template: bool = False

    @property
    def active(self) -> Layer:
        return self.layers[-1]

    @property
    def status(self) -> str:
        states = {layer.status for layer in self.layers[-1:]}
        return next(iter(states), "ok")

    def layer(self, image_id: str) -> Layer | None:
        return next((layer for layer in self.layers if layer.image_id == image_id), None)


@dataclass
class Attachment:
    disk_id: str
    interface: str = "virtio_scsi"
    active: bool = True
    bootable: bool = False
    read_only: bool = False
    pass_discard: bool = False


@dataclass
class Nic:
    id: str
    name: str
    mac: str
    network: str = "ovirtmgmt"
    """Empty: no profile."""
    profile: str = "ovirtmgmt"
    """Name of its vNIC profile."""
    plugged: bool = True
    linked: bool = True
    boot_order: int = 0


@dataclass
class Profile:
    """A vNIC profile of a network."""

    id: str
    name: str
    network: str = "ovirtmgmt"


@dataclass
class Snapshot:
    id: str
    description: str
    date: datetime
    type: str = "regular"
    """`active`, `regular`, `preview`, `stateless` (of a VM that runs so)."""
    status: str = "ok"
    memory: bool = False
    configuration: str | None = None
    """The OVF stored when the snapshot was taken."""
    images: dict[str, str] = field(default_factory=dict)
    """disk id -> the image id frozen by this snapshot."""


@dataclass
class Vm:
    id: str
    name: str
    cluster: str
    status: str = "down"
    description: str = ""
    memory: int = 1 << 30
    cores: int = 1
    host: str | None = None
    origin: str = "ovirt"
    """`hosted_engine` for the Hosted Engine VM."""
    bios_type: str = "q35_sea_bios"
    tpm: bool = False
    next_run: bool = False
    """A changed configuration waits for its next start."""
    level: tuple[int, int] | None = None
    """Custom compatibility level, else the cluster's."""
    template: str = BLANK
    agent: bool = False
    """A guest agent answers: file systems can be frozen."""
    frozen: bool = False
    delete_protected: bool = False
    generation: int = 1
    created: datetime | None = None
    started: datetime | None = None
    """While it runs."""
    stopped: datetime | None = None
    """When it stopped last."""
    attachments: list[Attachment] = field(default_factory=list)
    nics: list[Nic] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    """Oldest first; exactly one is active and it is last."""
    tags: list[str] = field(default_factory=list)
    preview: bool = False
    properties: dict[str, str] = field(default_factory=dict)
    """What else the OVF says of it: lease, emulated machine, queues, custom properties, quota ..."""
    devices: list[tuple[str, str, str]] = field(default_factory=list)
    """Type, device and model parameters of what hangs on it besides: rng, watchdog, balloon, sound ..."""

    @property
    def active_snapshot(self) -> Snapshot:
        return next(s for s in self.snapshots if s.type == "active")


@dataclass
class Transfer:
    id: str
    disk_id: str
    image_id: str
    """The layer that is moved."""
    direction: str
    """`download` or `upload`."""
    format: str | None
    """As asked: `raw`, `cow` or None."""
    shallow: bool = False
    backup_id: str | None = None
    by_snapshot: bool = False
    """Asked for with `snapshot=DiskSnapshot(id)`."""
    phase: str = "initializing"
    inactivity_timeout: int = 60
    timeout_policy: str = "legacy"
    host: str = ""
    ticket: str | None = None
    size: int = 0
    """Size of the ticket, in bytes."""
    active: bool = False
    transferred: int | None = None
    updated: float = 0.0
    quiet_polls: int = 0
    """Polls in a row that saw everything transferred and nobody connected."""
    transfer_url: str | None = None
    proxy_url: str | None = None
    polls: int = 0
    next_poll: float = 0.0
    busy: bool = False
    """A thread works on it: the state machine leaves it alone meanwhile."""
    stuck: bool = False
    """Its host does not answer: it cannot end."""


@dataclass
class Backup:
    id: str
    vm_id: str
    disks: list[str]
    kind: str
    """`live`, `cold` or `hybrid`."""
    description: str
    created: datetime
    modified: datetime
    from_checkpoint: str | None = None
    to_checkpoint: str | None = None
    phase: str = "initializing"
    modes: dict[str, str] = field(default_factory=dict)
    """disk id -> `full` or `incremental`."""
    snapshot_id: str | None = None
    """Hybrid: the auto-generated snapshot."""
    host: str | None = None
    updated: float = 0.0
    own_id: bool = False
    """The client chose the id: an engine restart marks such a backup failed."""
    require_consistency: bool = False
    stopped: bool = False
    """Asked to end; a hybrid backup stays ready until the next tick."""
    busy: bool = False
    """A thread works on it: the state machine leaves it alone meanwhile."""


@dataclass
class Checkpoint:
    id: str
    vm_id: str
    parent: str | None
    disks: list[str]
    description: str
    created: datetime
    state: str = "created"
    """`created` or `invalid`."""


@dataclass
class Event:
    index: int
    code: int
    severity: str
    description: str
    time: datetime
    vm_id: str | None = None
    disk_id: str | None = None
    correlation_id: str | None = None
    origin: str = "oVirt"
    custom_id: int = -1


@dataclass
class Role:
    """A set of permits; only an administrative one may hold `backup_disk`."""

    id: str
    name: str
    permits: frozenset[str]
    administrative: bool = True


@dataclass(frozen=True)
class Grant:
    """A role on an object: the id of a data center, cluster, storage domain, VM or disk; None: the system."""

    role: str
    """Id of the role."""
    on: str | None = None


@dataclass
class User:
    id: str
    name: str
    """With its profile, as in admin@internal."""
    password: str
    grants: list[Grant] = field(default_factory=list)
    everything: bool = False
    """SuperUser on the system."""
    added: bool = False
    """From its directory, by an administrator."""

    @property
    def listed_as(self) -> str:
        """With the provider that knows it: `internal` is the profile by which it logs in."""
        return re.sub("@internal$", "@internal-authz", self.name)

    @property
    def is_known(self) -> bool:
        """To the engine; a directory holds others."""
        return self.everything or self.added or bool(self.grants)


@dataclass
class Template:
    id: str
    name: str
    cluster: str
    disks: list[str] = field(default_factory=list)
    created: datetime | None = None
    status: str = "ok"


@dataclass
class Tag:
    id: str
    name: str
    parent: str | None = None
    description: str = ""


@dataclass
class Job:
    id: str
    description: str
    start: datetime
    correlation_id: str | None = None
    status: str = "started"
    end: datetime | None = None
    updated: float = 0.0


@dataclass
class World:
    """Everything the engine holds, by id."""

    root: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    data_centers: dict[str, DataCenter] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    domains: dict[str, StorageDomain] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    vms: dict[str, Vm] = field(default_factory=dict)
    templates: dict[str, Template] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    backups: dict[str, Backup] = field(default_factory=dict)
    checkpoints: dict[str, list[Checkpoint]] = field(default_factory=dict)
    """VM id -> root to leaf."""
    events: list[Event] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    profiles: dict[str, Profile] = field(default_factory=dict)
    """vNIC profiles, by id."""
    given_macs: set[str] = field(default_factory=set)
    """Addresses that other NICs were given a moment ago, in lower case: an import does not refuse them."""
    tags: dict[str, Tag] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)

    def vms_of_disk(self, disk_id: str) -> Iterator[Vm]:
        """The VMs a disk is attached to."""
        for vm in self.vms.values():
            if any(a.disk_id == disk_id for a in vm.attachments):
                yield vm

    def vm_level(self, vm: Vm) -> tuple[int, int]:
        """The compatibility level that decides how a VM is backed up."""
        return vm.level or self.clusters[vm.cluster].level

    def layer(self, image_id: str) -> Layer | None:
        """A layer by its image id, whichever disk holds it."""
        for disk in self.disks.values():
            found = disk.layer(image_id)
            if found:
                return found
        return None
