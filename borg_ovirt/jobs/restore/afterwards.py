"""After the import: the VM gets its settings back; what cannot be set is a warning, and nothing is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.restore.again import Again
from borg_ovirt.jobs.restore.plan import VmPlan
from borg_ovirt.ovirt.make.settings import VmSettings
from borg_ovirt.ovirt.session.engine import Engine


def set_again(engine: Engine, vm: VmPlan) -> list[str]:
    """Set all of it; a warning for each thing that could not be."""
    warnings = []
    for what, do in _steps(VmSettings(engine, vm.id, vm.name), vm.again, vm.cluster_id):
        try:
            do()
        except BorgOvirtError as error:
            hint = f" {error.hint}" if error.hint else ""
            warnings.append(
                f"VM {vm.name} is restored, but its {what} could not be set: {error.message}{hint}"
            )
    return warnings


def _steps(vm: VmSettings, again: Again, cluster_id: str) -> Iterator[tuple[str, Callable[[], None]]]:
    for tag in again.tags:
        yield f"tag {tag}", lambda t=tag: vm.tag(t, new=t in again.new_tags)  # type: ignore[misc]
    for label in again.labels:
        yield f"affinity label {label.name}", lambda x=label: vm.label(x.id)  # type: ignore[misc]
    for group in again.groups:
        yield f"affinity group {group.name}", lambda x=group: vm.join_group(cluster_id, x.id)  # type: ignore[misc]
    if (quota := again.quota) is not None:
        yield f"quota {quota.name}", lambda: vm.quota(quota.id)
    if (lease := again.lease) is not None:
        yield f"lease on {lease.name}", lambda: _lease(vm, lease.id)
    if (fields := again.cloud_init) is not None:
        setups = [nic.model_dump() for nic in again.cloud_init_nics]
        yield "cloud-init", lambda: vm.cloud_init(fields, setups)
    if again.numa:
        yield "NUMA nodes", lambda: vm.numa(node.model_dump() for node in again.numa)
    for permit in again.permits:
        yield (
            f"permission of {permit.principal.name}",
            lambda p=permit: vm.permit(p.principal.id, p.role.id, group=p.group),  # type: ignore[misc]
        )
    if (cdrom := again.cdrom) is not None:
        yield "CD", lambda: vm.insert_cd(cdrom)


def _lease(vm: VmSettings, domain_id: str) -> None:
    if not vm.has_lease(domain_id):
        vm.lease(domain_id)
