"""What an engine knows of VMs beside their OVF, and of networks: plain records.

None of it comes back with an import (seen: labels, quota, cloud-init, NUMA; the rest read or reasoned).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass
class Network:
    """A logical network of the data center."""

    name: str
    id: str = field(default_factory=_new_id)


@dataclass
class MacPool:
    """Whose addresses must be unique, unless it allows duplicates; each cluster has one."""

    name: str
    allow_duplicates: bool = False
    id: str = field(default_factory=_new_id)
    first: int = 0x566F1A000001
    last: int = 0x566F1AFFFFFF
    """Its one range of addresses."""


def mac_text(number: int) -> str:
    """A MAC address as the API spells it."""
    return number.to_bytes(6, "big").hex(":")


@dataclass
class Quota:
    name: str
    id: str = field(default_factory=_new_id)


@dataclass
class AffinityLabel:
    name: str
    vms: list[str] = field(default_factory=list)
    id: str = field(default_factory=_new_id)


@dataclass
class AffinityGroup:
    name: str
    cluster: str
    vms: list[str] = field(default_factory=list)
    id: str = field(default_factory=_new_id)


@dataclass
class NumaNode:
    index: int
    memory: int
    """MiB."""
    cores: list[int]
    pins: list[int] = field(default_factory=list)
    """Indices of the host's nodes."""
    tune: str | None = None
    id: str = field(default_factory=_new_id)


@dataclass
class Permission:
    user: str
    """Id of a user."""
    role: str
    """Id of a role."""
    id: str = field(default_factory=_new_id)


@dataclass
class VmBeside:
    """What one VM has of it."""

    quota: str | None = None
    initialization: str | None = None
    """Cloud-init, as its XML; the engine never gives out the password in it."""
    numa: list[NumaNode] = field(default_factory=list)
    permissions: list[Permission] = field(default_factory=list)
    cdrom: str | None = None
    """Id of the file in its drive."""


@dataclass
class Beside:
    """All that there is, by id."""

    networks: dict[str, Network] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)
    labels: dict[str, AffinityLabel] = field(default_factory=dict)
    groups: dict[str, AffinityGroup] = field(default_factory=dict)
    mac_pools: dict[str, MacPool] = field(default_factory=dict)
    vms: dict[str, VmBeside] = field(default_factory=dict)

    def of(self, vm_id: str) -> VmBeside:
        return self.vms.setdefault(vm_id, VmBeside())

    def network(self, name: str) -> Network:
        """The network of that name, made where there is none."""
        found = next((n for n in self.networks.values() if n.name == name), None)
        if found is None:
            found = Network(name)
            self.networks[found.id] = found
        return found
