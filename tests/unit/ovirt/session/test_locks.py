"""Which refusals are somebody else's lock, in the engine's own words (AppErrors.properties of 4.5)."""

from __future__ import annotations

import pytest

from borg_ovirt.errors import EngineRefused
from borg_ovirt.ovirt.session.faults import is_lock

PASSES = (
    "Cannot transfer Virtual Disk: Disk is locked. Please try again later.",
    "Cannot remove VM: The following disks are locked: a, b. Please try again in a few minutes.",
    "Cannot backup VM. The following disks are locked: a.",  # 4.4
    "Cannot edit Virtual Disk. Disk a is currently locked.",
    "Cannot backup VM. Disk a is being transferred.",
    "Cannot remove Virtual Disk. Disk a is being moved or copied.",
    "Cannot run VM. VM a is being exported.",
    "Cannot import VM. VM a is being imported.",
    "Cannot edit VM. VM is being updated.",
    "Cannot remove VM. VM migration is in progress",
    "Cannot add VM. Related operation is currently in progress. Please try again later.",
    "Cannot remove VM: VM is being exported now. Please try again in a few minutes.",
    "Cannot create Snapshot. The VM is performing an operation on a Snapshot. Please wait for the operation"
    " to finish, and try again.",
    "Cannot remove VM: VM is locked. Please try again in a few minutes.",
    "Cannot remove VM. VM is in saving/restoring state.\n-Please try again when the VM is either up or down.",
    "Cannot remove VM because the VM is in Image Locked status.",
    "Cannot run VM. The VM is during a backup operation.",
    "Cannot backup VM. The VM is during a checkpoint removal operation.",
    "Cannot backup VM. The VM backup operation is currently in progress. Please try again later.",
)
STAYS = (
    "Cannot add VM. The VM name is already in use, please choose a unique name and try again.",
    "Cannot import VM. MAC Address is already in use: 56:6f:1a:00:00:01.",
    "Cannot create Snapshot. The following attached disks are in ILLEGAL status: a - please remove them and"
    " try again.",
    "Cannot create Snapshot. The VM is running as Stateless. Please try again when VM is not running as"
    " Stateless.",
    "Cannot create Snapshot. The following VM's activated disks are disk snapshots (VM/Disk Snapshots):\n\na."
    " \n\nPlease deactivate them and try again.",
    "Cannot measure image a, it is being used by a VM.",
    "Cannot add Virtual Disk. Low disk space on Storage Domain data.",
)


@pytest.mark.parametrize("words", PASSES)
def test_what_passes_by_itself_is_waited_for(words: str) -> None:
    assert is_lock(EngineRefused("Cannot.", status=409, detail=words))
    assert not is_lock(EngineRefused("Cannot.", status=400, detail=words))


@pytest.mark.parametrize("words", STAYS)
def test_what_does_not_is_told_at_once(words: str) -> None:
    assert not is_lock(EngineRefused("Cannot.", status=409, detail=words))
