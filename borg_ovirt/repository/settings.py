"""What a VM has in its engine and no OVF brings back, as the manifest records it."""

from __future__ import annotations

from borg_ovirt.repository.schema import Count, Flag, Record, Uuid


class NumaRecord(Record):
    """A virtual NUMA node. Memory in MiB."""

    index: Count
    memory: Count
    cores: tuple[Count, ...] = ()
    """Indices of virtual CPUs."""
    pins: tuple[Count, ...] = ()
    """Indices of the host's nodes that it is pinned to."""
    tune: str | None = None


class PermissionRecord(Record):
    """A role that a user or a group has on the VM itself."""

    principal: str
    """Name of the user (with its profile) or of the group."""
    group: Flag = False
    role: str


class NicSetup(Record):
    """How cloud-init sets up a network card inside the guest."""

    name: str
    boot_protocol: str | None = None
    on_boot: Flag = False
    address: str | None = None
    netmask: str | None = None
    gateway: str | None = None


class SettingsRecord(Record):
    """Everything is told by name, so that it can be found in another engine."""

    quota: str | None = None
    template: str | None = None
    lease: str | None = None
    """Name of the storage domain that holds the VM's lease."""
    lease_id: Uuid | None = None
    labels: tuple[str, ...] = ()
    """Affinity labels."""
    groups: tuple[str, ...] = ()
    """Affinity groups of its cluster."""
    cloud_init: dict[str, str | Flag] | None = None
    """Cloud-init or sysprep, by the API's names of its fields. The engine gives out no password."""
    cloud_init_nics: tuple[NicSetup, ...] = ()
    numa: tuple[NumaRecord, ...] = ()
    permissions: tuple[PermissionRecord, ...] = ()
    cdrom: str | None = None
    """Id (or name) of the image in its drive."""
    unread: tuple[str, ...] = ()
    """What the engine would not tell, with its reason."""

    @property
    def empty(self) -> bool:
        return self == SettingsRecord()
