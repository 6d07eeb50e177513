"""What of a VM's settings is set again after its import, and what is not restored. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.site import Held
from borg_ovirt.repository.layout import Manifest, NicSetup, NumaRecord, SettingsRecord


@dataclass(frozen=True)
class Named:
    """Something of the engine's."""

    name: str
    id: str


@dataclass(frozen=True)
class Permit:
    """A role to be given on the VM."""

    principal: Named
    role: Named
    group: bool


@dataclass(frozen=True)
class Again:
    """What is set on the VM once it is there."""

    tags: tuple[str, ...] = ()
    new_tags: tuple[str, ...] = ()
    """Those of `tags` that the engine does not have."""
    labels: tuple[Named, ...] = ()
    groups: tuple[Named, ...] = ()
    quota: Named | None = None
    lease: Named | None = None
    cloud_init: Mapping[str, str | bool] | None = None
    cloud_init_nics: tuple[NicSetup, ...] = ()
    numa: tuple[NumaRecord, ...] = ()
    permits: tuple[Permit, ...] = ()
    cdrom: str | None = None

    def lines(self) -> list[str]:
        """In words."""
        words = []
        if self.tags:
            made = f" ({', '.join(self.new_tags)} to be made)" if self.new_tags else ""
            words.append(f"tags {', '.join(self.tags)}{made}")
        words += [f"affinity label {label.name}" for label in self.labels]
        words += [f"affinity group {group.name}" for group in self.groups]
        words += [f"quota {self.quota.name}"] if self.quota else []
        words += [f"lease on {self.lease.name}"] if self.lease else []
        words += ["cloud-init"] if self.cloud_init is not None else []
        words += [f"{len(self.numa)} NUMA nodes"] if self.numa else []
        words += [f"role {p.role.name} for {p.principal.name}" for p in self.permits]
        words += [f"CD {self.cdrom}"] if self.cdrom else []
        return [f"set again: {word}" for word in words]


@dataclass
class _Sorting:
    """What is found in the engine, and what is not."""

    held: Held
    lost: list[str] = field(default_factory=list)

    def find(self, kind: str, names: tuple[str, ...], table: Mapping[str, str]) -> tuple[Named, ...]:
        self.lost += [
            f"{kind} {name}: the engine has none of that name" for name in names if name not in table
        ]
        return tuple(Named(name, table[name]) for name in names if name in table)

    def one(self, kind: str, name: str | None, table: Mapping[str, str]) -> Named | None:
        return next(iter(self.find(kind, (name,) if name else (), table)), None)


def plan_again(manifest: Manifest, held: Held, options: RestoreOptions) -> tuple[Again, tuple[str, ...]]:
    """What is set again, and words for what is not restored."""
    record = manifest.vm.settings or SettingsRecord()
    tags = () if options.no_tags else manifest.vm.tags
    sorting = _Sorting(held)
    lost = sorting.lost
    if options.no_tags and manifest.vm.tags:
        lost.append(f"tags {', '.join(manifest.vm.tags)}: left by --no-tags")
    if record.template:
        lost.append(f"the VM's tie to template {record.template}: an import makes it independent")
    again = Again(
        tags=tags,
        new_tags=tuple(tag for tag in tags if held.tags is not None and tag not in held.tags),
        labels=sorting.find("affinity label", record.labels, held.labels),
        groups=sorting.find("affinity group", record.groups, held.groups),
        quota=sorting.one("quota", record.quota, held.quotas),
        lease=_lease(record, sorting, options),
        cloud_init=record.cloud_init,
        cloud_init_nics=record.cloud_init_nics,
        numa=record.numa,
        permits=_permits(record, sorting),
        cdrom=record.cdrom if held.cdrom else None,
    )
    if record.cdrom and not held.cdrom:
        lost.append(f"CD {record.cdrom}: the engine does not have it")
    if record.cloud_init is not None:
        lost.append("passwords of cloud-init: the engine gives none out; set them again before its next use")
    lost += [f"what the backup could not read of {what}" for what in record.unread]
    if manifest.vm.settings is None:
        lost.append(
            "affinity, quota, cloud-init, NUMA, permissions, CD, where the VM had them: this archive was "
            "made before they were recorded"
        )
    return again, tuple(lost)


def _lease(record: SettingsRecord, sorting: _Sorting, options: RestoreOptions) -> Named | None:
    name = options.mapping.storage_domains.get(record.lease or "", record.lease)
    return sorting.one("lease on storage domain", name, sorting.held.domains)


def _permits(record: SettingsRecord, sorting: _Sorting) -> tuple[Permit, ...]:
    found = []
    for permission in record.permissions:
        known = sorting.held.principals.get((permission.principal, permission.group))
        role = sorting.held.roles.get(permission.role)
        if known and role:
            who = Named(permission.principal, known)
            found.append(Permit(who, Named(permission.role, role), permission.group))
        else:
            what = f"role {permission.role} for {permission.principal}"
            missing = "user or group" if not known else "role"
            sorting.lost.append(f"{what}: the engine knows no such {missing}")
    return tuple(found)
