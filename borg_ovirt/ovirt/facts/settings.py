"""What a VM has in its engine that no OVF brings back: affinity, quota, cloud-init, NUMA, rights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from borg_ovirt.errors import BorgOvirtError, EngineUnreachable
from borg_ovirt.ovirt.facts.model import BLANK_TEMPLATE, VmFacts
from borg_ovirt.ovirt.session.engine import Engine

CLOUD_INIT = (
    *("host_name", "domain", "timezone", "user_name", "authorized_ssh_keys", "regenerate_ssh_keys"),
    *("dns_servers", "dns_search", "custom_script", "active_directory_ou", "org_name", "input_locale"),
    *("ui_language", "system_locale", "user_locale"),
)
"""The fields of `initialization` that hold one word each, without passwords and keys of licences."""


@dataclass
class SettingsFacts:
    """By name, as far as the engine tells. The fields are those of the manifest's record."""

    quota: str | None = None
    template: str | None = None
    lease: str | None = None
    lease_id: str | None = None
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    cloud_init: dict[str, str | bool] | None = None
    cloud_init_nics: list[dict[str, Any]] = field(default_factory=list)
    numa: list[dict[str, Any]] = field(default_factory=list)
    permissions: list[dict[str, Any]] = field(default_factory=list)
    cdrom: str | None = None
    unread: list[str] = field(default_factory=list)


def read_settings(engine: Engine, vm: VmFacts) -> SettingsFacts:
    """All of it. What the engine would not tell is named in `unread`: a backup is made all the same."""
    found = SettingsFacts()
    parts: tuple[tuple[str, Callable[[Engine, VmFacts, SettingsFacts], None]], ...] = (
        ("quota, lease and cloud-init", _of_the_vm),
        ("template", _template),
        ("affinity labels", _labels),
        ("affinity groups", _groups),
        ("NUMA nodes", _numa),
        ("permissions", _permissions),
        ("CD", _cdrom),
    )
    for name, read in parts:
        try:
            read(engine, vm, found)
        except EngineUnreachable as error:  # it was waited for once: that is enough for what is optional
            found.unread.append(f"{name}, and what comes behind it: {error.message}")
            break
        except BorgOvirtError as error:
            found.unread.append(f"{name}: {error.message}")
    return found


def _call(engine: Engine, vm: VmFacts, what: str, ask: Callable[[Any], Any]) -> Any:
    return engine.call(f"read the {what} of VM {vm.name}", lambda s: ask(s.vms_service().vm_service(vm.id)))


def _of_the_vm(engine: Engine, vm: VmFacts, found: SettingsFacts) -> None:
    told = _call(engine, vm, "settings", lambda s: s.get())
    if told.quota is not None and vm.data_center_id:
        found.quota = next(
            (n for n, i in quotas(engine, vm.data_center_id).items() if i == told.quota.id), None
        )
    if told.lease is not None and told.lease.storage_domain is not None:
        found.lease_id = told.lease.storage_domain.id
        domains = engine.call("list the storage domains", lambda s: s.storage_domains_service().list())
        found.lease = next((d.name for d in domains or () if d.id == found.lease_id), None)
    init = told.initialization
    if init is not None:
        fields = {name: value for name in CLOUD_INIT if (value := getattr(init, name)) not in (None, "")}
        found.cloud_init_nics = [_nic_setup(nic) for nic in init.nic_configurations or ()]
        found.cloud_init = fields or ({} if found.cloud_init_nics else None)


def _nic_setup(nic: Any) -> dict[str, Any]:
    ip = nic.ip
    return {
        "name": nic.name or "",
        "boot_protocol": str(nic.boot_protocol) if nic.boot_protocol else None,
        "on_boot": bool(nic.on_boot),
        "address": ip.address if ip else None,
        "netmask": ip.netmask if ip else None,
        "gateway": ip.gateway if ip else None,
    }


def _template(engine: Engine, vm: VmFacts, found: SettingsFacts) -> None:
    if vm.template_id != BLANK_TEMPLATE:
        template = engine.call(
            f"read the template of VM {vm.name}",
            lambda s: s.templates_service().template_service(vm.template_id).get(),
        )
        found.template = template.name


def _labels(engine: Engine, vm: VmFacts, found: SettingsFacts) -> None:
    labels = _call(engine, vm, "affinity labels", lambda s: s.affinity_labels_service().list())
    found.labels = _names(labels)


def _groups(engine: Engine, vm: VmFacts, found: SettingsFacts) -> None:
    for name, group_id in affinity_groups(engine, vm.cluster_id).items():
        members = engine.call(
            f"list the VMs of affinity group {name}",
            lambda s, g=group_id: (  # type: ignore[misc]
                s.clusters_service()
                .cluster_service(vm.cluster_id)
                .affinity_groups_service()
                .group_service(g)
                .vms_service()
                .list()
            ),
        )
        if any(member.id == vm.id for member in members or ()):
            found.groups.append(name)


def _numa(engine: Engine, vm: VmFacts, found: SettingsFacts) -> None:
    nodes = _call(engine, vm, "NUMA nodes", lambda s: s.numa_nodes_service().list())
    found.numa = [
        {
            "index": int(node.index or 0),
            "memory": int(node.memory or 0),
            "cores": [int(c.index or 0) for c in (node.cpu.cores if node.cpu else None) or ()],
            "pins": [int(pin.index or 0) for pin in node.numa_node_pins or () if pin.pinned is not False],
            "tune": str(node.numa_tune_mode) if node.numa_tune_mode else None,
        }
        for node in nodes or ()
    ]


def _permissions(engine: Engine, vm: VmFacts, found: SettingsFacts) -> None:
    """Those on the VM itself; what comes from above it comes from above it again."""
    listed = _call(engine, vm, "permissions", lambda s: s.permissions_service().list())
    own = [p for p in listed or () if p.vm is not None and p.vm.id == vm.id and p.role is not None]
    if not own:
        return
    known_roles = {i: n for n, i in roles(engine).items()}
    kinds = {permission.user is None for permission in own}
    known = {group: {i: n for n, i in principals(engine, group=group).items()} for group in kinds}
    for permission in own:
        who, group = permission.user or permission.group, permission.user is None
        name = known[group].get(who.id) if who is not None else None
        if name is not None and permission.role.id in known_roles:
            held = {"principal": name, "group": group, "role": known_roles[permission.role.id]}
            found.permissions.append(held)


def _cdrom(engine: Engine, vm: VmFacts, found: SettingsFacts) -> None:
    drives = _call(engine, vm, "CD", lambda s: s.cdroms_service().list())
    found.cdrom = next((drive.file.id for drive in drives or () if drive.file and drive.file.id), None)


# -- what an engine has, by name --------------------------------------------------------------------------


def quotas(engine: Engine, data_center_id: str) -> dict[str, str]:
    """Name -> id of the quotas of a data center."""
    return _ids(
        engine.call(
            "list the quotas",
            lambda s: s.data_centers_service().data_center_service(data_center_id).quotas_service().list(),
        )
    )


def affinity_labels(engine: Engine) -> dict[str, str]:
    """Name -> id of the affinity labels."""
    return _ids(engine.call("list the affinity labels", lambda s: s.affinity_labels_service().list()))


def affinity_groups(engine: Engine, cluster_id: str) -> dict[str, str]:
    """Name -> id of the affinity groups of a cluster."""
    return _ids(
        engine.call(
            "list the affinity groups",
            lambda s: s.clusters_service().cluster_service(cluster_id).affinity_groups_service().list(),
        )
    )


def roles(engine: Engine) -> dict[str, str]:
    """Name -> id of the roles."""
    return _ids(engine.call("list the roles", lambda s: s.roles_service().list()))


def principals(engine: Engine, *, group: bool) -> dict[str, str]:
    """Name -> id of the users (with their profiles), or of the groups, that the engine knows."""
    if group:
        return _ids(engine.call("list the groups", lambda s: s.groups_service().list()))
    found = engine.call("list the users", lambda s: s.users_service().list())
    return {user.user_name: user.id for user in found or () if user.user_name}


def tags(engine: Engine) -> dict[str, str]:
    """Name -> id of the tags."""
    return _ids(engine.call("list the tags", lambda s: s.tags_service().list()))


def _ids(found: Iterable[Any] | None) -> dict[str, str]:
    return {one.name: one.id for one in found or () if one.name}


def _names(found: Iterable[Any] | None) -> list[str]:
    return sorted(one.name for one in found or () if one.name)
