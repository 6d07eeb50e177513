"""Whether a live backup may start from a checkpoint: to be wrong may cost everybody's checkpoints of the VM.

Before it, the engine has the host define the checkpoint again, and where that fails it removes all of the VM,
other tools' too (seen on 4.5.8; RedefineVmCheckpointCommand). It fails when a record of changes is lost, as
happens when QEMU dies, and when a disk that the checkpoint covers is attached but not plugged in.
"""

from __future__ import annotations

import re
from datetime import datetime

from borg_ovirt.ovirt.facts.checkpoints import (
    SINGLE_LEVEL,
    CheckpointFacts,
    list_checkpoints,
    resting_disks,
)
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.facts.vm import running_since
from borg_ovirt.ovirt.session.engine import Engine

_SOUND = re.compile(r" sound-since=(?P<date>\S+)")


class LiveStart:
    """A live backup that would start from a checkpoint, as far as can be known without asking for it."""

    def __init__(self, engine: Engine, vm: VmFacts, checkpoint_id: str) -> None:
        self.doubt: str | None = None
        """Why it must not be tried; None where it is sound, or where nothing else is to be lost."""
        self.note = ""
        """For the description of the backup, and so of its checkpoint: the next one may rely on it."""
        held = list_checkpoints(engine, vm.id)
        wanted = next((c for c in held if c.id == checkpoint_id), None)
        if wanted is None or vm.level < SINGLE_LEVEL:  # there any live backup has the whole chain defined
            return
        self.note = f" sound-since={wanted.created.isoformat(timespec='milliseconds')}"
        self.doubt = _doubt(engine, vm, wanted, held)


def _doubt(engine: Engine, vm: VmFacts, wanted: CheckpointFacts, held: list[CheckpointFacts]) -> str | None:
    resting = set(resting_disks(engine, vm.id, wanted.id))
    if resting:
        names = sorted(disk.alias or disk.id for disk in vm.disks if disk.id in resting)
        return f"it covers what is not plugged in now: disk {', '.join(names or sorted(resting))}"
    started = running_since(engine, vm.id)
    if started is None or wanted.created >= started:
        return None
    others = [c for c in held if c.id != wanted.id and c.created >= started and c.state != "invalid"]
    if not others or any(_covers(c, wanted.created) for c in others):
        return None
    return (
        "it is older than the last start of the VM, and if it was lost then, the engine would remove"
        f" {len(others)} of other tools or repositories with it"
    )


def _covers(checkpoint: CheckpointFacts, created: datetime) -> bool:
    """Whether its backup, a live one of ours, started from a checkpoint that was no younger: had the VM
    crashed since, that one would have been lost too."""
    found = _SOUND.search(checkpoint.description)
    try:
        return found is not None and datetime.fromisoformat(found["date"]) <= created
    except (ValueError, TypeError):
        return False
