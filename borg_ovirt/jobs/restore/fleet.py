"""A whole site comes back: every VM of a repository, all planned before the first byte, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase

from borg_ovirt.errors import ArchiveNotFound, BorgOvirtError, Interrupted, RestoreBlocked
from borg_ovirt.jobs.archives.find import latest
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.placing import expected_size
from borg_ovirt.jobs.restore.restore import (
    Destination,
    Prepared,
    RestoreResult,
    carry_out,
    dry,
    prepare,
)
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.series import Series
from borg_ovirt.units import format_size


@dataclass(frozen=True)
class FleetPlan:
    """Which VMs, in which order, how many at a time."""

    vms: tuple[str, ...] = ()
    """Names, globs of names, or ids; none: all."""
    max_age: timedelta | None = None
    """VMs whose newest archive is older stay away: they were gone before."""
    order: tuple[str, ...] = ()
    vms_at_once: int = 2
    disks_at_once: int = 4


@dataclass
class FleetResult:
    """What became of each VM."""

    restored: list[RestoreResult] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """VM -> why it is not back."""
    skipped: dict[str, str] = field(default_factory=dict)
    """VM -> why nobody tried."""
    exit_code: int = 0
    """Of the first failure; 0 where there is none."""

    def lines(self) -> list[str]:
        """The result in words."""
        words = [line for result in self.restored for line in result.lines()]
        words += [f"skipped {vm}: {why}" for vm, why in self.skipped.items()]
        words += [f"FAILED {vm}: {why}" for vm, why in self.failed.items()]
        done = "would be restored" if any(r.dry_run for r in self.restored) else "restored"
        parts = [f"{len(self.restored)} VMs {done}"]
        parts += [f"{len(self.skipped)} skipped"] if self.skipped else []
        parts += [f"{len(self.failed)} failed"] if self.failed else []
        return [*words, ", ".join(parts)]

    @property
    def warned(self) -> bool:
        return any(result.warnings for result in self.restored)


def restore_all(
    repository: Repository,
    fleet: FleetPlan,
    options: RestoreOptions,
    destination: Destination,
    progress: Progress,
    *,
    dry_run: bool = False,
) -> FleetResult:
    """Restore the newest whole archive of every VM. One that cannot come back holds up no other."""
    result = FleetResult()
    ready: list[Prepared] = []
    for name, found in _chosen(repository, fleet, result):
        try:
            one = prepare(repository, _newest_whole(repository, found), options, destination)
        except BorgOvirtError as error:
            _fail(result, name, error)
            continue
        if one.exists:
            result.skipped[name] = "it is there"
        else:
            ready.append(one)
    ready = _across(_in_order(ready, fleet.order))
    if dry_run:
        result.restored = [dry(one, destination) for one in ready]
        if any(r.plan.blockers for r in result.restored):
            result.exit_code = RestoreBlocked.exit_code
        return result
    _carry_out(ready, fleet, destination, progress, result)
    return result


def _chosen(repository: Repository, fleet: FleetPlan, result: FleetResult) -> list[tuple[str, list[Series]]]:
    """The series of each VM that is meant; a VM of several engines is none's."""
    by_vm: dict[str, list[Series]] = {}
    for series in repository.series():
        by_vm.setdefault(series.vm_id, []).append(series)
    chosen, oldest = [], datetime.now(timezone.utc) - fleet.max_age if fleet.max_age else None
    for vm_id, found in by_vm.items():
        name = latest(found).comment.vm_name
        if fleet.vms and not any(word == vm_id or fnmatchcase(name, word) for word in fleet.vms):
            continue
        age = max(series.times[series.newest.name] for series in found)
        if oldest is not None and age < oldest:
            result.skipped[name] = f"its newest archive is of {age:%Y-%m-%d}"
        elif len({series.engine_id or series.engine for series in found}) > 1:
            result.failed[name] = "it is a VM of several engines: restore it by the name of an archive"
            result.exit_code = result.exit_code or ArchiveNotFound.exit_code
        else:
            chosen.append((name, found))
    if not chosen and not result.skipped and not result.failed:
        raise ArchiveNotFound(f"{repository.location} holds no archive of such a VM.")
    return chosen


def _newest_whole(repository: Repository, found: Iterable[Series]) -> str:
    """Of all modes; where none is whole the newest, which then tells what is wrong."""
    found = list(found)
    whole = [next((i for i in s.newest_first if not repository.damage(i.name)), None) for s in found]
    times = {info.name: s.times[info.name] for s in found for info in s.archives}
    intact = [info for info in whole if info is not None]
    if not intact:
        return latest(found).name
    return max(intact, key=lambda info: (info.comment.number or 0, times[info.name])).name


def _in_order(ready: Iterable[Prepared], order: Sequence[str]) -> list[Prepared]:
    """Those that are named first; of the others the longest, so that none of them is left to the end."""

    def rank(one: Prepared) -> tuple[int, int, str]:
        name = one.vm_name
        place = next((i for i, glob in enumerate(order) if fnmatchcase(name, glob)), len(order))
        return place, -sum(expected_size(disk) for disk in one.plan.disks), name

    return sorted(ready, key=rank)


def _across(ready: Sequence[Prepared]) -> list[Prepared]:
    """What is in the way of one VM because of those before it: names, addresses, disks, room."""
    names: dict[str, str] = {}
    needs: dict[str, int] = {}
    checked = []
    for one in ready:
        blockers = []
        vm = one.plan.vm
        kept = (
            [nic.archived.mac.lower() for nic in vm.nics if nic.archived.mac and not nic.new_mac]
            if vm
            else []
        )
        wanted = [f"name {one.vm_name}", *(f"MAC address {mac}" for mac in kept)]
        wanted += [f"disk {disk.disk_id}" for disk in one.plan.disks]
        for what in wanted:
            if what in names:
                blockers.append(f"VM {names[what]}, which comes back too, has the {what}")
            names.setdefault(what, one.vm_name)
        for disk in one.plan.disks:
            domain = disk.domain
            needs[domain.id] = needs.get(domain.id, 0) + expected_size(disk)
            if domain.id and needs[domain.id] > domain.available and not blockers:
                blockers.append(
                    f"storage domain {domain.name} has {format_size(domain.available)} free, and with the "
                    f"VMs before it {format_size(needs[domain.id])} are needed"
                )
        plan = replace(one.plan, blockers=(*one.plan.blockers, *blockers))
        checked.append(replace(one, plan=plan))
    return checked


def _carry_out(
    ready: Sequence[Prepared],
    fleet: FleetPlan,
    destination: Destination,
    progress: Progress,
    result: FleetResult,
) -> None:
    lock, stop, told = threading.Lock(), threading.Event(), threading.Lock()
    at_once = max(1, fleet.disks_at_once // fleet.vms_at_once)

    def one_vm(one: Prepared) -> None:
        try:
            if stop.is_set():
                raise Interrupted("Interrupted.")
            done = carry_out(one, destination, progress, lock=lock, at_once=at_once, stop=stop)
        except Exception as error:
            with told:
                _fail(result, one.vm_name, error)
            progress.warn(f"{one.vm_name} is not restored: {error}")
        else:
            with told:
                result.restored.append(done)

    with ThreadPoolExecutor(fleet.vms_at_once, thread_name_prefix="vm") as pool:
        running = [pool.submit(one_vm, one) for one in ready]
        try:
            for future in running:
                while not future.done():
                    stop.wait(0.2)
        except BaseException:
            stop.set()  # those under way unwind, no other begins
            raise
        for future in running:
            future.result()


def _fail(result: FleetResult, name: str, error: Exception) -> None:
    result.failed[name] = str(error)
    result.exit_code = result.exit_code or (error.exit_code if isinstance(error, BorgOvirtError) else 2)
