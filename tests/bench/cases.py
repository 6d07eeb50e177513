"""The cases: what is done, against what, how often, and the goal of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.data import GIB, MIB, changes
from bench.measure import Cost, median
from bench.stage import Stage, Subject

Way = Callable[[], Cost]


@dataclass(frozen=True)
class Scale:
    """How large and how often."""

    disk: int
    repeats: int
    matrix: tuple[tuple[str, str], ...]
    """Encryption and compression of the full backups; the first pair serves everything else."""
    wide: int
    """Virtual size of the incremental case; an eighth of it is data."""
    thin: tuple[int, ...]


PAIRS = tuple((mode, packing) for mode in ("repokey", "repokey-blake2") for packing in ("lz4", "zstd,3"))
FULL = Scale(8 * GIB, 3, PAIRS, 64 * GIB, (64 * GIB, 256 * GIB, 1024 * GIB))
QUICK = Scale(1 * GIB, 3, PAIRS[:1], 8 * GIB, (64 * GIB, 1024 * GIB))
TINY = Scale(128 * MIB, 1, PAIRS[:1], 1 * GIB, (8 * GIB, 16 * GIB))


@dataclass
class Result:
    """One case: the medians of each way, and the ratios against the goals."""

    case: str
    transport: str
    ways: dict[str, Cost]
    runs: dict[str, list[Cost]]
    goals: dict[str, float] = field(default_factory=dict)
    """Baseline -> the goal for ours / baseline (wall)."""
    facts: dict[str, Any] = field(default_factory=dict)
    scaled: dict[str, float] = field(default_factory=dict)
    """Baseline -> what its wall time is multiplied by, where it was measured on less."""
    slack: float = 0.0
    """Seconds that ours may take besides."""

    def ratio(self, baseline: str, what: str = "wall") -> float:
        ours, other = getattr(self.ways["ours"], what), getattr(self.ways[baseline], what)
        return float(ours / (other * self.scaled.get(baseline, 1.0))) if other else 0.0

    def met(self, baseline: str) -> bool:
        wall = self.ways[baseline].wall * self.scaled.get(baseline, 1.0)
        return self.ways["ours"].wall <= self.goals[baseline] * wall + self.slack


def in_turn(repeats: int, ways: dict[str, Way]) -> tuple[dict[str, Cost], dict[str, list[Cost]]]:
    """Each way once, then each once more: what disturbs the machine disturbs all of them."""
    runs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            runs[name].append(way())
    return {name: median(costs) for name, costs in runs.items()}, runs


def all_cases(stage: Stage, scale: Scale) -> Iterator[Result]:
    half = scale.disk // 2
    subject = stage.subject("files", "file-system-like", scale.disk, half, seed=1)
    for transport in ("tls", "unix"):
        stage.transport(transport)
        for pair in scale.matrix:
            yield full(stage, scale, subject, transport, *pair)
        yield known(stage, scale, subject, transport)
        yield restore(stage, scale, subject, transport, proof=False)
    stage.transport("tls")
    yield restore(stage, scale, subject, "tls", proof=True)
    stage.drop(subject)
    stage.transport("unix")
    for kind in ("incompressible", "sparse", "mostly duplicate"):
        yield kind_of_data(stage, scale, kind)
    for transport in ("tls", "unix"):
        stage.transport(transport)
        yield incremental(stage, scale, transport)
    stage.transport("tls")
    yield from thin(stage, scale)


def full(stage: Stage, scale: Scale, subject: Subject, transport: str, mode: str, packing: str) -> Result:
    """The first backup, into an empty repository each time."""

    def fresh(way: Way) -> Way:
        def run() -> Cost:
            stage.fresh_repository(mode)
            return way()

        return run

    ways: dict[str, Way] = {
        "ours": fresh(lambda: stage.ours(subject, packing)),
        "a": fresh(lambda: stage.download_and_borg(subject, packing)),
        "b": fresh(lambda: stage.borg_create(subject.image, packing)),
    }
    if (mode, packing) == scale.matrix[0]:
        ways["c"] = lambda: stage.read_export(subject)
    medians, runs = in_turn(scale.repeats, ways)
    goals = {"a": 0.6, "b": 1.5} if transport == "tls" else {"a": 0.5, "b": 1.0}
    return Result(f"full, {mode}, {packing}", transport, medians, runs, goals, {"data": subject.data})


def known(stage: Stage, scale: Scale, subject: Subject, transport: str) -> Result:
    """Every block is in the repository already, and everything is read."""
    mode, packing = scale.matrix[0]
    stage.fresh_repository(mode)
    stage.ours(subject, packing)
    stage.borg_create(subject.image, packing)
    ways: dict[str, Way] = {
        "ours": lambda: stage.ours(subject, packing, "--full"),
        "b": lambda: stage.borg_create(subject.image, packing),
    }
    medians, runs = in_turn(scale.repeats, ways)
    goals = {"b": 1.5 if transport == "tls" else 1.0}
    return Result("full, all blocks known", transport, medians, runs, goals, {"data": subject.data})


def restore(stage: Stage, scale: Scale, subject: Subject, transport: str, *, proof: bool) -> Result:
    mode, packing = scale.matrix[0]
    stage.fresh_repository(mode)
    archive = stage.archive(subject, packing)
    runs: dict[str, list[Cost]] = {"ours": [], "d": [], "e": []}
    for _ in range(scale.repeats):
        runs["ours"].append(stage.restore(subject, archive, *([] if proof else ["--no-proof"])))
        both, alone = stage.borg_and_upload(subject, archive)
        runs["d"].append(both)
        runs["e"].append(alone)
    medians = {name: median(costs) for name, costs in runs.items()}
    goals = {"d": 0.6, "e": 1.5} if transport == "tls" else {"d": 0.5, "e": 1.0}
    name = "restore, with proof" if proof else "restore, without proof"
    return Result(name, transport, medians, runs, {} if proof else goals, {"data": subject.data})


def kind_of_data(stage: Stage, scale: Scale, kind: str) -> Result:
    """The full backup of other data; no goals of their own."""
    mode, packing = scale.matrix[0]
    size = max(scale.disk // 4, 128 * MIB)
    subject = stage.subject("other", kind, size, size // (8 if kind == "sparse" else 2), seed=2)

    def fresh(way: Way) -> Way:
        def run() -> Cost:
            stage.fresh_repository(mode)
            return way()

        return run

    ways: dict[str, Way] = {
        "ours": fresh(lambda: stage.ours(subject, packing)),
        "b": fresh(lambda: stage.borg_create(subject.image, packing)),
    }
    medians, runs = in_turn(min(2, scale.repeats), ways)
    facts = {"data": subject.data}
    stage.drop(subject)
    return Result(f"full, {kind}", "unix", medians, runs, {}, facts)


def incremental(stage: Stage, scale: Scale, transport: str) -> Result:
    """1 % of the virtual size changed. Stock Borg reads an eighth of it: its time is multiplied by eight."""
    mode, packing = scale.matrix[0]
    data = scale.wide // 8
    subject = stage.subject("wide", "mostly duplicate", scale.wide, data, seed=3, backup="incremental")
    stage.fresh_repository(mode)
    stage.ours(subject, packing)
    stage.borg_create(subject.image, packing)
    amount = scale.wide // 100
    runs: dict[str, list[Cost]] = {"ours": [], "b": []}
    for number in range(scale.repeats):
        stage.change(subject, changes(scale.wide, amount, seed=number))
        runs["ours"].append(stage.ours(subject, packing))
        # Those changes are new to the repository for ours only; for Borg the 1 % is what ours stored.
        runs["b"].append(stage.borg_create(subject.image, packing))
    held = runs["b"][0].moved
    stage.drop(subject)
    medians = {name: median(costs) for name, costs in runs.items()}
    facts = {"virtual": scale.wide, "changed": amount, "held": held}
    return Result(
        f"incremental, 1 % of {scale.wide // GIB} GiB",
        transport,
        medians,
        runs,
        {"b": 0.03},
        facts,
        {"b": scale.wide / held},
    )


def thin(stage: Stage, scale: Scale) -> Iterator[Result]:
    """The same 64 MiB changed on thin disks of several sizes."""
    mode, packing = scale.matrix[0]
    smallest: Cost | None = None
    for size in scale.thin:
        subject = stage.subject("thin", "incompressible", size, 256 * MIB, seed=4, backup="incremental")
        stage.fresh_repository(mode)
        first = stage.ours(subject, packing)
        costs = []
        for number in range(scale.repeats):
            stage.change(subject, changes(size, 64 * MIB, seed=100 + number))
            costs.append(stage.ours(subject, packing))
        stage.drop(subject)
        medians = {"ours": median(costs)}
        result = Result(f"64 MiB changed on {size // GIB} GiB thin", "tls", medians, {"ours": costs})
        result.facts = {"virtual": size, "changed": 64 * MIB, "first": first.wall, "first rss": first.rss}
        if smallest is None:
            smallest = medians["ours"]
        elif size == max(scale.thin):
            medians["smallest"] = smallest
            result.goals, result.slack = {"smallest": 1.5}, 2.0
        yield result


def by_changed(stage: Stage, scale: Scale) -> list[tuple[int, Cost]]:
    """Cost against changed bytes, for the plot."""
    mode, packing = scale.matrix[0]
    size = scale.wide
    subject = stage.subject("moving", "incompressible", size, 256 * MIB, seed=5, backup="incremental")
    stage.fresh_repository(mode)
    stage.ours(subject, packing)
    points = []
    amount = 0
    while amount <= size // 64:
        if amount:
            stage.change(subject, changes(size, amount, seed=amount))
        points.append((amount, stage.ours(subject, packing)))
        amount = amount * 4 or 4 * MIB
    stage.drop(subject)
    return points


def wait_idle(limit: float, seconds: float) -> None:
    """Wait until nobody else uses the machine, or say that somebody does."""
    from os import getloadavg

    until = time.monotonic() + seconds
    while getloadavg()[0] > limit and time.monotonic() < until:
        time.sleep(2)
