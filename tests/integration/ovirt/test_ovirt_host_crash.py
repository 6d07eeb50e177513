"""A host crashes while disks are read: what it leaves is ended, by that run or by the next one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from ovirt_bed import PATIENCE, MiB, digests, opened_chain, opened_image
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.capture.scratch import scratch_disks
from borg_ovirt.ovirt.facts.vm import find_vm, read_snapshots
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import heal, leftovers
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.tracked.tagged import find_tagged

WAYS = {  # cluster, mode, what it leaves
    "live": ("crash46", "image", "scratch disk"),
    "hybrid": ("crash47", "image", "hybrid"),
    "chain46": ("crash46", "chain", "snapshot"),
    "chain47": ("crash47", "chain", "snapshot"),
}


JOURNALLED = {"scratch disk": "transfer", "hybrid": "backup", "snapshot": "snapshot"}
"""Transfers cannot end before the host answers; what a live backup left is removed at once."""


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    box.make_cluster("crash46", (4, 6))
    box.make_cluster("crash47", (4, 7))
    return {
        way: box.make_vm(way, [DiskSpec(4 * MiB), DiskSpec(2 * MiB)], cluster=c)
        for way, (c, *_) in WAYS.items()
    }


@pytest.fixture
def hasty(engine: Engine) -> Iterator[Engine]:
    """What does not end is soon left to the next run."""
    engine.patience = replace(PATIENCE, end=1, unwind=1, lock=1, merge=1, snapshot=1, unclear=0.2)
    yield engine
    engine.patience = PATIENCE


@pytest.mark.parametrize("way", WAYS)
def test_a_host_that_crashes_leaves_nothing_for_good(
    box: Box, hasty: Engine, tmp_path: Path, vms: dict[str, Vm], way: str
) -> None:
    _, mode, kind = WAYS[way]
    vm = vms[way]
    if vm.status == "down":  # it was a guest of a host that crashed before
        box.start_vm(vm)
    facts = find_vm(hasty, way)
    opened = opened_chain if mode == "chain" else opened_image
    said: list[str] = []

    def read_until_it_dies(dead: ExitStack) -> None:
        with (
            Journal(tmp_path, hasty.instance_id) as journal,
            opened(hasty, facts, facts.disks, journal=journal, log=said.append) as captured,
        ):
            dead.enter_context(box.crashed_host(vm))
            if kind == "scratch disk":
                assert len(list(scratch_disks(hasty))) == 2
            digests(captured)  # the daemon is gone, its tickets too

    survives = suppress(BorgOvirtError)  # another host may give out what a snapshot froze
    with ExitStack() as dead, pytest.raises(BorgOvirtError) if way == "live" else survives:
        read_until_it_dies(dead)
    assert {left.kind for left in leftovers(tmp_path)} >= {JOURNALLED[kind]}, said
    box.start_vm(vm)
    hasty.patience = PATIENCE
    heal(hasty, tmp_path, said.append)
    assert not list(scratch_disks(hasty))
    assert [s.type for s in read_snapshots(hasty, vm.id)] == ["active"]
    assert find_tagged(hasty, []) == []
    assert list(tmp_path.iterdir()) == [], said
    assert box.clean() == []
