"""A night's archive copied into a second repository, against what stock Borg has for it."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator

from bench.cases import Result, Scale
from bench.data import GIB, changes
from bench.measure import Cost, median
from bench.stage import CHUNKER, Stage

CASES = ("copy",)


def all_cases(stage: Stage, scale: Scale, chosen: Collection[str]) -> Iterator[Result]:
    if "copy" in chosen:
        yield copy(stage, scale)


def copy(stage: Stage, scale: Scale) -> Result:
    """1 % of the virtual size changed since the last copy; the second repository has a key of its own.

    `borg extract | borg create` moves every byte, zeros too: it is taken of a disk that is full, a sixteenth
    as large, and its time without its start is multiplied. It has nothing to store: all is known by then.
    """
    mode, packing = scale.matrix[0]
    amount, data = scale.wide // 100, scale.wide // 16
    grows = scale.repeats * amount
    stage.transport("unix")
    wide = stage.subject("wide", "mostly duplicate", scale.wide, data, 3, backup="incremental", grows=grows)
    flat = stage.subject("flat", "mostly duplicate", data, data, 3)
    stage.fresh_repository(mode)
    second = stage.second_repository(mode)
    archive = stage.archive(flat, packing)
    stage.ours(wide, packing)
    for name in (archive, wide.vm.name):
        stage.copy(name, second, packing)
    disk, pipe = f"disks/{flat.disk.id}.raw", f"borg create --chunker-params {CHUNKER} -C {packing}"
    extract = f"borg extract --stdout {stage.repo}::{archive}"
    runs: dict[str, list[Cost]] = {"ours": [], "k": []}
    factors = []
    for number in range(scale.repeats):
        stage.change(wide, changes(scale.wide, amount, seed=number))
        stage.ours(wide, packing)
        runs["ours"].append(stage.copy(wide.vm.name, second, packing, "--last", "1"))
        start = stage.shell(f"{extract} manifest.json | {pipe} {second}::start{number} -")
        whole = stage.shell(f"{extract} {disk} | {pipe} {second}::whole{number} -")
        factors.append((start.wall + (whole.wall - start.wall) * scale.wide / data) / whole.wall)
        whole.moved = data
        runs["k"].append(whole)
    for subject in (wide, flat):
        stage.drop(subject)
    medians = {name: median(costs) for name, costs in runs.items()}
    facts = {"virtual": scale.wide, "changed": amount}
    # Of a smaller disk the start is most of it.
    goals = {"k": 0.05} if scale.wide >= 64 * GIB else {}
    case = f"copy, 1 % of {scale.wide // GIB} GiB changed"
    return Result(case, "", medians, runs, goals, facts, {"k": statistics.median(factors)})
