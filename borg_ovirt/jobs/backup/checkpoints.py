"""Whose checkpoint is it, and may it go: the engine never expires checkpoints, so each run tidies its own.

The description of a backup, which the engine copies to its checkpoint, names the repositories and the run
that made it. A checkpoint goes when every repository it names is open in this run and none needs it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.facts.checkpoints import CheckpointFacts, list_checkpoints, remove_checkpoint
from borg_ovirt.ovirt.session.engine import Engine

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


def drop_unneeded(engine: Engine, vm_id: str, opened: Collection[str], needed: Collection[str]) -> list[str]:
    """Remove checkpoints that nobody needs any more; one that stays is a warning, never a failure."""
    warnings = []
    try:
        for checkpoint in unneeded(list_checkpoints(engine, vm_id), opened, needed):
            try:
                remove_checkpoint(engine, vm_id, checkpoint.id)
            except BorgOvirtError as error:
                warnings.append(f"checkpoint {checkpoint.id} was not removed: {error.message}")
    except BorgOvirtError as error:
        warnings.append(f"the checkpoints of VM {vm_id} could not be listed: {error.message}")
    return warnings
