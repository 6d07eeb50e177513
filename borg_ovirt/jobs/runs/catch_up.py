"""Catches up a repository that was too slow for a run: its archives are copied from one that has them.

No VM waits for that: the engine is through with all of them. Repositories are opened anew, in this process.
"""

from __future__ import annotations

from collections.abc import Sequence

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.archives.copy import copy
from borg_ovirt.jobs.backup.opened import OpenedRepositories
from borg_ovirt.jobs.backup.stores import Stored
from borg_ovirt.jobs.runs.outcome import VmOutcome
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository


def catch_up(repositories: OpenedRepositories, vms: Sequence[VmOutcome], progress: Progress) -> None:
    """Copy into each that fell behind what it has not, as the outcomes say. They learn what became of it."""
    for state in repositories.states:
        missing = [vm for vm in vms if vm.archive and vm.lacks(state.location)]
        if not any(vm.fell_behind(state.location) for vm in vms) or not missing:
            continue
        progress.step(f"{state.location} fell behind; archives to copy into it: {len(missing)}")
        try:
            with repositories.opened_here(state.location, write=True) as target:
                for source, group in _by_source(missing).items():
                    with repositories.opened_here(source, write=False) as opened:
                        _copy(opened, target, group, state.location, progress)
        except BorgOvirtError as error:
            for vm in missing:
                if vm.lacks(state.location):
                    vm.warn(f"repository {state.location} was not caught up: {error}")
        if not any(vm.lacks(state.location) for vm in missing):
            state.stored()


def _by_source(vms: Sequence[VmOutcome]) -> dict[str, list[VmOutcome]]:
    """Of each the first repository that has its archive."""
    found: dict[str, list[VmOutcome]] = {}
    for vm in vms:
        source = next(stored.repository for stored in vm.stored if stored.archive)
        found.setdefault(source, []).append(vm)
    return found


def _copy(
    source: Repository, target: Repository, vms: Sequence[VmOutcome], location: str, progress: Progress
) -> None:
    """The archives of these VMs, in the order in which they were made."""
    named = {vm.archive: vm for vm in vms}
    wanted = [info for info in source.archives() if info.name in named]
    for line in copy(source, target, wanted, progress).lines:
        vm = named.pop(line.archive)
        if line.state == "left":
            vm.warn(f"repository {location} was not caught up: {line.note}")
        else:
            copied = Stored(location, line.archive, bytes_added=line.added, copied_from=source.location)
            vm.caught_up(copied)
    for name, vm in named.items():
        vm.warn(f"repository {location} was not caught up: {name} is not in {source.location} any more")
