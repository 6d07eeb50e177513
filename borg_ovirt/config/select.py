"""Which rules hold for which VM: selection, overrides of policy and retention, disks to leave out. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from borg_ovirt.config.schema import Config, DiskRules, Policy, Retention, VmRules
from borg_ovirt.config.section import Section


@dataclass(frozen=True)
class Traits:
    """What rules ask about a VM."""

    id: str
    name: str
    tags: frozenset[str] = frozenset()
    cluster: str = ""
    data_center: str = ""


@dataclass(frozen=True)
class VmSettings:
    """What holds for one VM."""

    policy: Policy
    retention: Retention
    exclude_disks: DiskRules


Searches = Mapping[str, frozenset[str]]
"""A search string of the rules -> ids of the VMs that the engine found."""


def searches_of(config: Config) -> set[str]:
    """Every search string in the configuration: the caller asks the engine once for each."""
    rules = [config.vms.include, config.vms.exclude, *(override.vms for override in config.overrides)]
    return {rule.search for rule in rules if rule.search}


def fits(rules: VmRules, vm: Traits, searches: Searches) -> bool:
    """Whether any rule names the VM."""
    return (
        any(fnmatchcase(vm.name, pattern) for pattern in rules.names)
        or vm.id.lower() in {vm_id.lower() for vm_id in rules.ids}
        or not vm.tags.isdisjoint(rules.tags)
        or vm.cluster in rules.clusters
        or vm.data_center in rules.data_centers
        or (rules.search is not None and vm.id in searches.get(rules.search, frozenset()))
    )


def selected(config: Config, vm: Traits, searches: Searches) -> bool:
    """Whether a run without REPO::VM backs the VM up."""
    include, exclude = config.vms.include, config.vms.exclude
    return (include.empty or fits(include, vm, searches)) and not fits(exclude, vm, searches)


def settings_for(config: Config, vm: Traits, searches: Searches) -> VmSettings:
    """Policy, retention and disk rules of one VM: the general ones, and each fitting override in order."""
    policy, retention, disks = config.policy, config.retention, config.vms.exclude_disks
    for override in config.overrides:
        if fits(override.vms, vm, searches):
            policy = _over(policy, override.policy)
            retention = _instead(retention, override.retention)
            disks = _both(disks, override.exclude_disks)
    return VmSettings(policy, retention, disks)


_S = TypeVar("_S", bound=Section)


def _over(general: _S, special: _S) -> _S:
    """The general policy with the keys that the override really writes, in its sections too."""
    written: dict[str, Any] = {}
    for key in special.model_fields_set:
        before, value = getattr(general, key), getattr(special, key)
        written[key] = _over(before, value) if isinstance(value, Section) else value
    return general.model_copy(update=written)


def _instead(general: Retention, special: Retention | None) -> Retention:
    """The override's rules; whether space is freed it need not say again."""
    if special is None or "compact" in special.model_fields_set:
        return special or general
    return special.model_copy(update={"compact": general.compact})


def _both(first: DiskRules, second: DiskRules) -> DiskRules:
    sizes = [size for size in (first.larger_than, second.larger_than) if size is not None]
    return DiskRules(
        aliases=[*first.aliases, *second.aliases],
        ids=[*first.ids, *second.ids],
        larger_than=min(sizes) if sizes else None,
    )
