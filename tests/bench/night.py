"""The night of a fleet: idle VMs one after the other and overlapped, on an engine as slow as a real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ovirtbox.box import DiskSpec
from ovirtbox.model import Vm

from bench.data import MIB
from bench.measure import Cost

if TYPE_CHECKING:
    from bench.cases import Result, Scale
    from bench.stage import Stage

IDLE = 24
"""As many as wait for the engine and for nothing else."""
SMALL = 64 * MIB
FACTOR = 0.5
"""Of the times of a real engine (ovirtbox.rhythm)."""
GOALS = {4: 0.3, 8: 0.17}
"""VMs under way -> the goal for the night against one after the other."""


@contextmanager
def slow(stage: Stage) -> Iterator[None]:
    stage.box.engine.rhythm.factor = FACTOR
    try:
        yield
    finally:
        stage.box.engine.rhythm.factor = 0.0


def run(stage: Stage, packing: str, captures: int, vms: str) -> Cost:
    """`borg-ovirt create` of all VMs whose names begin so."""
    words = ["borg-ovirt", "create", "--json", "--captures", str(captures), "--vm", f"{vms}*"]
    cost, _ = stage.meter.run([*words, "--compression", packing, str(stage.repo)])
    return cost


def night(stage: Stage, scale: Scale) -> Iterator[Result]:
    """Half of the idle VMs are up. Then one of them has much to store, the others wait beside it."""
    from bench.cases import Result

    mode, packing = scale.matrix[0]
    stage.transport("tls")
    box = stage.box
    vms = [box.make_vm(f"idle{n:02}", [DiskSpec(SMALL)], running=n % 2 == 0) for n in range(IDLE)]
    for number, vm in enumerate(vms):
        box.fill(box.disks(vm)[0], 0, MIB, seed=number)
    stage.fresh_repository(mode)
    run(stage, packing, 8, "idle")
    with slow(stage):
        costs = {}
        for captures in (1, *GOALS):
            _touch(stage, vms, captures)
            costs[captures] = run(stage, packing, captures, "idle")
    for captures, goal in GOALS.items():
        ways = {"ours": costs[captures], "one by one": costs[1]}
        runs = {name: [cost] for name, cost in ways.items()}
        case = f"{IDLE} idle VMs, {captures} under way"
        yield Result(case, "tls", ways, runs, {"one by one": goal}, {"virtual": SMALL}, memory=400 * MIB)
    yield _busy(stage, scale)
    for vm in vms:
        box.remove_vm(vm)


def _busy(stage: Stage, scale: Scale) -> Result:
    """One big VM alone, and among idle ones: who stores all the time loses nothing to who waits."""
    from bench.cases import Result

    mode, packing = scale.matrix[0]
    size = scale.disk // 2
    subject = stage.subject("idle-not", "incompressible", size, size // 2, seed=9)
    with slow(stage):
        stage.fresh_repository(mode)
        alone = run(stage, packing, 1, "idle")
        stage.fresh_repository(mode)
        among = run(stage, packing, 4, "idle")
    stage.drop(subject)
    ways = {"ours": among, "one by one": alone}
    runs = {name: [cost] for name, cost in ways.items()}
    goals = {"one by one": 1.02}
    facts = {"data": subject.data}
    return Result(f"{IDLE} idle VMs and a big one", "tls", ways, runs, goals, facts, memory=400 * MIB)


def _touch(stage: Stage, vms: list[Vm], seed: int) -> None:
    """Each wrote a little since the last night."""
    for number, vm in enumerate(vms):
        stage.box.fill(stage.box.disks(vm)[0], 8 * MIB, MIB, seed=100 * seed + number)
