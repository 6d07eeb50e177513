"""The night of a fleet: idle VMs one after the other and overlapped, on an engine as slow as a real one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ovirtbox.box import DiskSpec
from ovirtbox.model import Vm

from bench.data import MIB
from bench.measure import Cost, median

if TYPE_CHECKING:
    from bench.cases import Result, Scale
    from bench.stage import Stage

SMALL = 64 * MIB
GOALS = {4: 0.3, 8: 0.17}
"""VMs under way -> the goal for the night against one after the other."""
BUSY = "idle-not"
"""Before all others in the order of the run."""


@dataclass(frozen=True)
class Fleet:
    """Idle VMs, which wait for the engine and for nothing else."""

    size: int
    sample: int
    """So many of them are taken one after the other, and the time is multiplied."""
    factor: float
    """Of the times of a real engine (ovirtbox.rhythm)."""
    captures: tuple[int, ...]
    beside: int = 0
    """So many of them go beside one that is busy."""
    sites: int = 0
    """So many go into two repositories, eight under way, the engine twice as fast."""


@contextmanager
def slow(stage: Stage, factor: float) -> Iterator[None]:
    """Each step takes what it usually takes: chance is not to be measured."""
    rhythm = stage.box.engine.rhythm
    rhythm.factor, rhythm.steady = factor, True
    try:
        yield
    finally:
        rhythm.factor, rhythm.steady = 0.0, False


def run(
    stage: Stage, packing: str, captures: int, names: Sequence[str], *second: Path
) -> tuple[Cost, dict[str, float]]:
    """`borg-ovirt create` of these VMs: what it cost, and for how many seconds each was under way."""
    chosen = [word for name in names for word in ("--vm", name)]
    words = ["borg-ovirt", "create", "--json", "--captures", str(captures), *chosen]
    cost, out = stage.meter.run([*words, "--compression", packing, *map(str, (stage.repo, *second))])
    return cost, {vm["vm"]: vm["seconds"] for vm in json.loads(out)["vms"]}


def night(stage: Stage, scale: Scale) -> Iterator[Result]:
    """Half of the idle VMs are up. Then one of them has much to store, the others wait beside it."""
    from bench.cases import Result

    fleet = scale.fleet
    mode, packing = scale.matrix[0]
    stage.transport("tls")
    box = stage.box
    vms = _make(stage, range(fleet.size))
    names = [vm.name for vm in vms]
    stage.fresh_repository(mode)
    for seed in (1, 2):  # the first increment tells what is to be expected of the next
        run(stage, packing, 8, names)
        _touch(stage, vms, seed)
    with slow(stage, fleet.factor):
        single, _ = run(stage, packing, 1, names[: fleet.sample])
        for captures in fleet.captures:
            _touch(stage, vms, 100 * captures)
            cost, _ = run(stage, packing, captures, names)
            ways = {"ours": cost, "one by one": single}
            yield Result(
                f"{fleet.size} idle VMs, {captures} under way",
                "tls",
                ways,
                {name: [cost] for name, cost in ways.items()},
                {"one by one": GOALS[captures]},
                {"virtual": SMALL, "factor": fleet.factor},
                {"one by one": fleet.size / fleet.sample},
                memory=400 * MIB,
            )
    if fleet.beside:
        yield _busy(stage, scale, names[: fleet.beside])
    if fleet.sites:
        vms += _make(stage, range(fleet.size, fleet.sites))
        yield _two_sites(stage, scale, vms)
    for number, vm in enumerate(vms):
        if number % 2 == 0:
            box.stop_vm(vm)
        box.remove_vm(vm)


def _busy(stage: Stage, scale: Scale, names: Sequence[str]) -> Result:
    """One big VM alone, and among idle ones: who stores all the time loses nothing to who waits."""
    from bench.cases import Result

    mode, packing = scale.matrix[0]
    size = 2 * scale.disk
    subject = stage.subject(BUSY, "incompressible", size, size // 2, seed=9)
    runs: dict[str, list[Cost]] = {"alone": [], "ours": []}
    with slow(stage, scale.fleet.factor):
        for way, others in [("alone", []), ("ours", names)] * 2:
            stage.fresh_repository(mode)
            cost, seconds = run(stage, packing, 4, [BUSY, *others])
            cost.wall, cost.moved = seconds[BUSY], subject.data
            runs[way].append(cost)
    stage.drop(subject)
    ways = {name: median(runs[name]) for name in ("ours", "alone")}
    case = f"a busy VM beside {len(names)} idle ones, 4 under way"
    return Result(case, "tls", ways, runs, {"alone": 1.02}, {"data": subject.data}, memory=400 * MIB)


def _two_sites(stage: Stage, scale: Scale, vms: list[Vm]) -> Result:
    """The whole fleet into two repositories from one read, and the night after into one of them."""
    from bench.cases import Result

    mode, packing = scale.matrix[0]
    stage.fresh_repository(mode)
    second = stage.second_repository(mode)
    names = [vm.name for vm in vms]
    run(stage, packing, 8, names, second)
    costs = {}
    with slow(stage, scale.fleet.factor / 2):
        for seed, (way, more) in enumerate({"ours": [second], "one site": []}.items()):
            _touch(stage, vms, 1000 * (seed + 1))
            costs[way], _ = run(stage, packing, 8, names, *more)
    case = f"{len(vms)} idle VMs into two repositories, 8 under way"
    return Result(case, "tls", costs, {way: [cost] for way, cost in costs.items()}, memory=400 * MIB)


def _make(stage: Stage, numbers: range) -> list[Vm]:
    """Half of them are up."""
    box = stage.box
    vms = [box.make_vm(f"idle{n:02}", [DiskSpec(SMALL)], running=n % 2 == 0) for n in numbers]
    for number, vm in zip(numbers, vms, strict=True):
        box.fill(box.disks(vm)[0], 0, MIB, seed=number)
    return vms


def _touch(stage: Stage, vms: list[Vm], seed: int) -> None:
    """Each wrote a little since the last night."""
    for number, vm in enumerate(vms):
        stage.box.fill(stage.box.disks(vm)[0], 8 * MIB, MIB, seed=seed + number)
