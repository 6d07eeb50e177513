"""Where there is much of something: archives, disks of a VM, events of an engine, extents of a disk."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator

from ovirtbox.box import DiskSpec
from ovirtbox.events import NORMAL, log

from bench.cases import Result, Scale
from bench.data import GIB, MIB
from bench.measure import Cost, median
from bench.stage import Stage

CASES = ("archives", "disks", "events", "extents")
VMS = 100
"""Whose archives fill the repository."""
FEW = 100
"""Archives in the repository that the others are measured against."""


def all_cases(stage: Stage, scale: Scale, chosen: Collection[str]) -> Iterator[Result]:
    if "archives" in chosen:
        yield from archives(stage, scale)
    if "disks" in chosen:
        yield disks(stage, scale)
    if "events" in chosen:
        yield events(stage, scale)
    if "extents" in chosen:
        yield from extents(stage, scale)


def archives(stage: Stage, scale: Scale) -> Iterator[Result]:
    """The same commands on a repository with few archives and with many, of a hundred VMs."""
    mode, packing = scale.matrix[0]
    stage.transport("unix")
    subject = stage.subject("among", "incompressible", 64 * MIB, 16 * MIB, seed=11, backup="incremental")
    stage.fresh_repository(mode)
    stage.ours(subject, packing)
    one = f"{stage.repo}::{subject.vm.name}"
    commands = {
        "list": ["list", "--json", str(stage.repo)],
        "info of one": ["info", "--json", one],
        "vms": ["vms", "--json", str(stage.repo)],
        "prune -n": ["prune", "--json", "--dry-run", "--keep-daily", "7", str(stage.repo)],
        "create of an idle VM": ["create", "--json", "--backup-api", "live", one],
    }
    few: dict[str, Cost] = {}
    there = 0
    for count in (FEW, *scale.archives):
        nights = str((count - there) // VMS)
        stage.shell(f"{sys.executable} -m bench.archives {stage.repo} {VMS} {nights}")
        there = count
        for name, words in commands.items():
            runs = [stage.command(words) for _ in range(scale.repeats)]
            cost = median(runs)
            if count == FEW:
                few[name] = cost
                continue
            ways = {"ours": cost, "few": few[name]}
            case = f"{name}, {count} archives"
            yield Result(case, "", ways, {"ours": runs, "few": [few[name]]}, memory=400 * MIB)
    stage.drop(subject)


def disks(stage: Stage, scale: Scale) -> Result:
    """A VM of twenty disks, against one with as many bytes in a single disk: the first backup of each."""
    mode, packing = scale.matrix[0]
    stage.transport("unix")
    size = scale.disk // 20 // MIB * MIB
    many = stage.box.make_vm("twenty", [DiskSpec(size, alias=f"d{n}") for n in range(20)], running=False)
    single = stage.box.make_vm("single", [DiskSpec(20 * size)], running=False)
    for number, disk in enumerate(stage.box.disks(many)):
        stage.box.fill(disk, 0, size // 2, seed=number)
    stage.box.fill(stage.box.disks(single)[0], 0, 10 * size, seed=99)
    runs: dict[str, list[Cost]] = {"ours": [], "single": []}
    for _ in range(scale.repeats):
        for name, vm in (("ours", many), ("single", single)):
            stage.fresh_repository(mode)
            words = ["create", "--json", "--compression", packing, f"{stage.repo}::{vm.name}"]
            runs[name].append(stage.command(words, moved=10 * size))
    for vm in (many, single):
        stage.box.remove_vm(vm)
    medians = {name: median(costs) for name, costs in runs.items()}
    return Result("full, 20 disks in one VM", "unix", medians, runs, {}, {"data": 10 * size})


def events(stage: Stage, scale: Scale) -> Result:
    """`doctor` on an engine whose log is young, and on one with 300 000 events."""
    stage.fresh_repository(scale.matrix[0][0])
    # The box's daemon has not the port of a host, which is a finding.
    line = f"borg-ovirt doctor --json {stage.repo} || test $? -le 2"
    world, clock = stage.box.world, stage.box.engine.clock
    runs: dict[str, list[Cost]] = {"young": [stage.shell(line) for _ in range(scale.repeats)]}
    before = len(world.events)
    for number in range(scale.events):
        log(world, clock, 30, NORMAL, f"User admin@internal-authz logged in, number {number}.")
    runs["ours"] = [stage.shell(line) for _ in range(scale.repeats)]
    del world.events[before : before + scale.events]
    medians = {name: median(runs[name]) for name in ("ours", "young")}
    case = f"doctor, {scale.events // 1000} 000 events"
    return Result(case, "", medians, runs, {"young": 1.1}, slack=1.0)


def extents(stage: Stage, scale: Scale) -> Iterator[Result]:
    """The list of a fragmented disk, as its daemon sends it, laid on the grid: data and hole in turn."""
    for size, count in scale.fragments:
        words = [sys.executable, "-m", "bench.extents", str(size), str(count)]
        runs = [stage.meter.run(words)[0] for _ in range(scale.repeats)]
        case = f"{count / 1e6:g} million extents of {size // GIB} GiB"
        yield Result(case, "", {"ours": median(runs)}, {"ours": runs}, memory=1024 * MIB)
