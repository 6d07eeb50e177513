"""Which of the engine's backups holds up least: the hybrid one merges a snapshot, the others lock the VM.

Seen on 4.5.8 that polls each second: hybrid 26 to 36 s, the VM free to start, stop and migrate meanwhile
(where no other backup of the last half hour is listed); live or cold 8 to 10 s and the reading, the VM locked
as long.
"""

from __future__ import annotations

from collections.abc import Sequence

from borg_ovirt.blocks import CELL, MiB
from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.options import CreateOptions
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.units import format_duration, format_size

_RATE = 50 * MiB
"""Bytes per second that are surely read, over a network that others use too."""
_AROUND = 15.0
"""Seconds that a live or cold backup takes besides the reading."""


def expected_read(choice: Choice, disks: Sequence[DiskFacts]) -> int | None:
    """Bytes that are likely to be stored; None where nothing tells of it.

    The last increment tells of the next one; of a full read the room that the disks take.
    """
    if choice.base is None:
        return sum(disk.actual_size or disk.size for disk in disks)
    return choice.base.last_read


def _sampled(disk: DiskFacts, options: CreateOptions) -> int:
    cells = options.sampling.minimum * (options.cell or CELL) if options.sampling.rate else 0
    return max(int(disk.size * options.sampling.rate), min(cells, disk.size))


def why_locked(vm: VmFacts, choice: Choice, disks: Sequence[DiskFacts], options: CreateOptions) -> str | None:
    """Why a live or cold backup is preferred to a hybrid one, in words; None where it is not.

    `options.lock_limit` is for how long the VM may be locked; without one the engine's own way is taken.
    """
    if options.lock_limit is None:
        return None
    limit = options.lock_limit.total_seconds()
    read = expected_read(choice, disks)
    if read is None and vm.status == "down":
        read = 0  # who is down changes nothing
    if read is not None and choice.base is not None:
        read += sum(_sampled(disk, options) for disk in disks)
    if read is None or _AROUND + read / _RATE > limit:
        return None
    locked = "may be started" if vm.status == "down" else "may migrate and stop"
    return (
        f"some {format_size(read)} to read: soon done without a snapshot to merge, and the VM {locked} again"
        f" within {format_duration(limit)}"
    )
