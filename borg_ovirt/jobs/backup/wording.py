"""What a backup says of itself besides its numbers: what it cannot hold, what it reads, what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from borg_ovirt.jobs.backup.items import DiskItems
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.repository.layout import SkippedDisk


def losses(vm: VmFacts, skipped: Iterable[SkippedDisk], options: CreateOptions) -> Iterator[tuple[str, bool]]:
    """What no backup of this VM can hold, and what this one leaves out; and whether that is expected."""
    chain = options.mode == "chain"
    for lost in vm.lost_state:
        yield f"{lost} of VM {vm.name} cannot be backed up over REST", "firmware" in options.expect
    for snapshot in vm.snapshots if chain else ():
        if snapshot.memory and snapshot.type == "regular":
            yield (
                f"the memory of snapshot {snapshot.description} of VM {vm.name} is not backed up: "
                "it comes back without memory",
                "memory" in options.expect,
            )
    for disk in skipped:
        if not disk.expected:
            yield f"disk {disk.alias or disk.id} of VM {vm.name} is skipped: {disk.reason}", False
    if chain and not options.snapshot and vm.status != "down":
        yield f"VM {vm.name} runs: what was written since its last snapshot is not backed up", False


def notes(vm: VmFacts) -> Iterator[str]:
    """What of the VM does not come back, and is no loss worth a warning each night."""
    if vm.next_run:
        yield f"{vm.name}: a changed configuration waits for its next start: it is not in the archive"
    if vm.quota:
        yield f"{vm.name}: its quota is not restored"


def layers(vm: VmFacts, disks: Iterable[DiskItems]) -> Iterator[str]:
    """Which layers are known, and why the others are read."""
    for disk in disks:
        known = sum(item.known for item in disk.items)
        yield f"{vm.name}: disk {disk.name}: {len(disk.items)} layers, {known} known"
        for item in disk.items:
            if item.base is None:
                yield f"  {item.layer.request.name} is read: {item.reason}"


def steps_back(vm: VmFacts, disks: Iterable[DiskItems]) -> Iterator[str]:
    """Items that are read whole though the backup has a base."""
    for disk in disks:
        for item in disk.items:
            if item.base is None and item.fallback:
                yield f"disk {item.name} of VM {vm.name} is read in full: {item.reason}"


def alarm(vm: VmFacts, disk: DiskItems) -> str:
    """Some of what counted as unchanged is not: older archives may be wrong."""
    name = f"DISK {disk.name} OF VM {vm.name}"
    if disk.items[0].layer.facts is None:
        return (
            f"{name}: THE CHANGE TRACKING IS WRONG. {disk.mismatches} cells that count as unchanged differ "
            "from the last archive. The disk is read in full now; older incremental archives of this VM may "
            "hold stale data."
        )
    return (
        f"{name}: A LAYER CHANGED THAT SHOULD NOT HAVE. {disk.mismatches} samples of layers that count as "
        "unchanged differ from the last archive. All its layers are read now; older archives that referred "
        "to them may hold stale data."
    )
