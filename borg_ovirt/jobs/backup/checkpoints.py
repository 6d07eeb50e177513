"""Whose checkpoint is it, and may it go: the engine never expires checkpoints, so each run tidies its own.

The description of a backup, which the engine copies to its checkpoint, names the repositories and the run
that made it. A checkpoint goes when every repository it names is open in this run and none needs it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.capture.capture import Capture
from borg_ovirt.ovirt.facts.checkpoints import (
    SINGLE_LEVEL,
    CheckpointFacts,
    checkpoint_disks,
    list_checkpoints,
    remove_checkpoint,
    resting_disks,
)
from borg_ovirt.ovirt.facts.model import VmFacts
from borg_ovirt.ovirt.facts.vm import running_since
from borg_ovirt.ovirt.session.engine import Engine

log = logging.getLogger(__name__)

_OURS = re.compile(r"^borg-ovirt repositories=(?P<repositories>[0-9a-f,]+)(\s|$)")


def describe(repositories: Iterable[str]) -> str:
    """The description of a backup into these repositories (ids); the journal adds the run."""
    return f"borg-ovirt repositories={','.join(sorted(repositories))}"


def repositories_of(description: str) -> frozenset[str] | None:
    """The repositories (ids) that a checkpoint's description names; None if the checkpoint is not ours."""
    match = _OURS.match(description or "")
    return frozenset(match["repositories"].split(",")) if match else None


def unneeded(
    checkpoints: Iterable[CheckpointFacts], opened: Collection[str], needed: Collection[str]
) -> list[CheckpointFacts]:
    """The checkpoints that only concern the opened repositories and that none of these needs."""
    found = []
    for checkpoint in checkpoints:
        repositories = repositories_of(checkpoint.description)
        if repositories and repositories <= set(opened) and checkpoint.id not in needed:
            found.append(checkpoint)
    return found


@dataclass(frozen=True)
class Proof:
    """A checkpoint that was found good just now: changes since it were read."""

    checkpoint: str
    disks: frozenset[str] | None
    """Ids of the disks whose record was read; None where the host took the whole checkpoint over (live)."""


def drop_unneeded(
    engine: Engine, vm: VmFacts, opened: Collection[str], needed: Collection[str], proof: Proof | None = None
) -> list[str]:
    """Remove checkpoints that nobody needs any more, where that can cost nobody a good one.

    One that stays is no harm: it is looked at again each time. Returns warnings.
    """
    held: list[CheckpointFacts] = []
    try:
        held = list_checkpoints(engine, vm.id)
        going = unneeded(held, opened, needed)
        started = running_since(engine, vm.id) if going else None
        for checkpoint in going:
            if started is None or _may_go(engine, vm, checkpoint, held, going, started, proof):
                remove_checkpoint(engine, vm.id, checkpoint.id)
                held.remove(checkpoint)
            else:
                log.info("checkpoint %s of VM %s stays until the VM is down", checkpoint.id, vm.name)
    except BorgOvirtError as error:
        return [_failed(engine, vm, held, error) if held else f"checkpoints of VM {vm.name}: {error.message}"]
    return []


def drop_lost(engine: Engine, vm: VmFacts, opened: Collection[str], needed: Collection[str]) -> None:
    """Remove a checkpoint that was found lost, before the full backup that takes its place: afterwards its
    removal could cost the new one."""
    for failure in drop_unneeded(engine, vm, opened, needed):
        log.info("%s", failure)


def prove(captured: Capture) -> Proof | None:
    """What a backup that succeeded says of the checkpoint it started from."""
    if captured.from_checkpoint is None:
        return None
    read = frozenset(d.facts.id for d in captured.disks if any(layer.incremental for layer in d.layers))
    return Proof(captured.from_checkpoint, None if captured.method == "live backup" else read)


def _may_go(
    engine: Engine,
    vm: VmFacts,
    checkpoint: CheckpointFacts,
    held: Sequence[CheckpointFacts],
    going: Collection[CheckpointFacts],
    started: datetime,
    proof: Proof | None,
) -> bool:
    """Whether removing it from a running VM can cost nobody a checkpoint that is good.

    The engine first has the host define it again, and where that fails (its bitmaps were lost in a crash, or
    a disk of it is not plugged in) it removes all checkpoints of the VM, the new one and other tools' too
    (seen on 4.5.8; RedefineVmCheckpoint: below cluster level 4.6 all are defined). Bitmaps are lost only when
    the VM goes down, so one that was made since it started is sound, and one that was just read from. Any
    other goes only where nothing else is to be lost; of a VM that is down it goes alone.
    """
    defined = [checkpoint] if vm.level >= SINGLE_LEVEL else held
    sound = all(c.created >= started or _is_proven(engine, vm, c, proof) for c in defined)
    if sound and not any(resting_disks(engine, vm.id, c.id) for c in defined):
        return True
    return all(c in going or c.state == "invalid" for c in held)


def _is_proven(engine: Engine, vm: VmFacts, checkpoint: CheckpointFacts, proof: Proof | None) -> bool:
    if proof is None or proof.checkpoint != checkpoint.id:
        return False
    return proof.disks is None or proof.disks >= set(checkpoint_disks(engine, vm.id, checkpoint.id))


def _failed(engine: Engine, vm: VmFacts, before: Sequence[CheckpointFacts], error: BorgOvirtError) -> str:
    """What became of the checkpoints when one could not be removed."""
    try:
        held = {c.id for c in list_checkpoints(engine, vm.id)}
    except BorgOvirtError:
        held = {c.id for c in before}
    if not held and before:
        return (
            f"the engine lost all checkpoints of VM {vm.name} when one was removed: the next backup reads"
            f" everything ({error.message})"
        )
    return f"an old checkpoint of VM {vm.name} was not removed: {error.message}"
