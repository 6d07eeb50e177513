"""Why a backup was refused or failed without a word: what keeps the engine from the snapshot or the scratch
disks that it makes for one.

A hybrid backup that the engine cannot make a snapshot for is answered 400 with an empty list, and the events
(117, 10790, 10792) tell no reason. A live one without room for scratch disks ends as failed. (Seen on 4.5.8.)
"""

from __future__ import annotations

from dataclasses import dataclass

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.facts.storage import list_domains, short_of_room
from borg_ovirt.ovirt.facts.vm import read_disks, read_snapshots
from borg_ovirt.ovirt.session.engine import Engine


@dataclass(frozen=True)
class Obstacle:
    """What is in the way of a backup."""

    text: str
    """"the disks root, data are locked"."""
    passes: bool
    """It goes away by itself: somebody is at work on the VM."""


def obstacle(engine: Engine, vm: VmFacts) -> Obstacle | None:
    """What is in the way of a snapshot of the VM now; None where nothing is to be seen."""
    busy = [s.description or s.id for s in read_snapshots(engine, vm.id) if s.status == "locked"]
    if busy:
        return Obstacle(f"its snapshot {busy[0]!r} is being made or removed", True)
    disks = [disk for disk in read_disks(engine, vm.id) if disk.storage_type == "image"]
    for status, passes in (("locked", True), ("illegal", False)):
        names = [disk.alias or disk.id for disk in disks if disk.status == status]
        if names:
            return Obstacle(f"its disks are {status}: {', '.join(names)}", passes)
    used = {disk.storage_domain for disk in disks if disk.storage_domain}
    for domain in list_domains(engine):
        if domain.id in used and domain.status not in ("active", ""):
            return Obstacle(
                f"its storage domain {domain.name} is {domain.status.replace('_', ' ')}",
                domain.status == "unknown",  # as after a restart of the engine
            )
    short = short_of_room(engine, used)
    if short:
        where = ", ".join(short)
        return Obstacle(f"too little room is left on {where}: below its limit the engine does nothing", False)
    return None


def seen(engine: Engine, vm: VmFacts) -> Obstacle | None:
    """The same where the engine may not tell: then nothing is known."""
    try:
        return obstacle(engine, vm)
    except BorgOvirtError:
        return None
