"""The cases: what is done, against what, how often, and the goal of each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from bench.data import GIB, MIB, changes
from bench.measure import Cost, median
from bench.night import Fleet, night
from bench.stage import Stage, Subject

Way = Callable[[], Cost]


@dataclass(frozen=True)
class Scale:
    """How large and how often."""

    disk: int
    repeats: int
    matrix: tuple[tuple[str, str], ...]
    """Encryption and compression of the full backups; the first pair serves everything else.

    The other pairs and the restores are taken once less.
    """
    wide: int
    """Virtual size of the incremental case; a sixteenth of it is data."""
    thin: tuple[int, ...]
    fleet: Fleet
    archives: tuple[int, ...] = (3_000, 10_000)
    events: int = 300_000
    fragments: tuple[tuple[int, int], ...] = ((8 * 1024 * GIB, 8_000_000),)
    """Size of a disk, and its extents."""


PAIRS = tuple((mode, packing) for mode in ("repokey", "repokey-blake2") for packing in ("lz4", "zstd,3"))
NIGHT = Fleet(24, 4, 0.6, (4, 8), beside=6, sites=60)
EVENING = Fleet(12, 4, 0.3, (4,), sites=14)
FULL = Scale(8 * GIB, 3, PAIRS, 64 * GIB, (64 * GIB, 256 * GIB, 1024 * GIB), NIGHT)
QUICK = Scale(
    1 * GIB,
    3,
    PAIRS[:1],
    8 * GIB,
    (64 * GIB, 1024 * GIB),
    EVENING,
    archives=(1_000, 3_000),
    fragments=((1024 * GIB, 1_000_000),),
)
TINY = Scale(
    128 * MIB,
    1,
    PAIRS[:1],
    1 * GIB,
    (8 * GIB, 16 * GIB),
    EVENING,
    archives=(300,),
    events=3_000,
    fragments=((64 * GIB, 64_000),),
)


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
    cpu_goals: dict[str, float] = field(default_factory=dict)
    """Baseline -> the goal for ours / baseline (CPU of the client)."""
    memory: int = 200 * MIB
    """What the peak of our process shall stay under, in bytes."""

    def ratio(self, baseline: str, what: str = "wall") -> float:
        ours, other = getattr(self.ways["ours"], what), getattr(self.ways[baseline], what)
        return float(ours / (other * self.scaled.get(baseline, 1.0))) if other else 0.0

    def met(self, baseline: str) -> bool:
        wall = self.ways[baseline].wall * self.scaled.get(baseline, 1.0)
        return self.ways["ours"].wall <= self.goals[baseline] * wall + self.slack

    def cpu_met(self, baseline: str) -> bool:
        return self.ratio(baseline, "client") <= self.cpu_goals[baseline]

    def memory_met(self) -> bool:
        return self.ways["ours"].rss < self.memory


def in_turn(repeats: int, ways: dict[str, Way]) -> tuple[dict[str, Cost], dict[str, list[Cost]]]:
    """Each way once, then each once more: what disturbs the machine disturbs all of them."""
    runs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            runs[name].append(way())
    return {name: median(costs) for name, costs in runs.items()}, runs


CASES = ("full", "known", "restore", "verify", "kinds", "incremental", "thin", "night")


def all_cases(stage: Stage, scale: Scale, chosen: Collection[str] = CASES) -> Iterator[Result]:
    if {"full", "known", "restore", "verify"} & set(chosen):
        half = scale.disk // 2
        subject = stage.subject("files", "file-system-like", scale.disk, half, seed=1, grows=half)
        if "full" in chosen:
            for number, pair in enumerate(scale.matrix):
                repeats = scale.repeats if number == 0 else max(1, scale.repeats - 1)
                yield from full(stage, replace(scale, repeats=repeats), subject, *pair)
        if "known" in chosen:
            yield from known(stage, scale, subject)
        if "restore" in chosen:
            yield from restore(stage, replace(scale, repeats=max(1, scale.repeats - 1)), subject)
        if "verify" in chosen:
            yield verify(stage, scale, subject)
        stage.drop(subject)
    if "kinds" in chosen:
        for kind in ("incompressible", "sparse", "mostly duplicate"):
            yield kind_of_data(stage, scale, kind)
    if "incremental" in chosen:
        yield from incremental(stage, scale)
    if "thin" in chosen:
        yield from thin(stage, scale)
    if "night" in chosen:
        yield from night(stage, scale)


def per_transport(
    case: str,
    medians: dict[str, Cost],
    runs: dict[str, list[Cost]],
    goals: dict[str, dict[str, float]],
    facts: dict[str, Any],
    scaled: dict[str, float] | None = None,
    cpu_goals: dict[str, float] | None = None,
) -> Iterator[Result]:
    """One measurement as two results: ours over TLS and over the socket, each beside the same baselines."""

    def of(transport: str, all_: dict[str, Any]) -> dict[str, Any]:
        ours = {transport: "ours", f"before {transport}": "before"}
        others = {name: name for name in all_ if name.split()[-1] not in ("tls", "unix")}
        return {to: all_[name] for name, to in {**ours, **others}.items() if name in all_}

    for transport in ("tls", "unix"):
        if transport in medians:
            yield Result(
                case,
                transport,
                of(transport, medians),
                of(transport, runs),
                goals.get(transport, {}),
                facts,
                scaled or {},
                # Over TLS the client decrypts besides: the goal leaves that apart.
                cpu_goals=(cpu_goals or {}) if transport == "unix" else {},
            )


def over(stage: Stage, transport: str, way: Way, before: Callable[[], None] = lambda: None) -> Way:
    """A way over this transport, after some preparation that is not measured."""

    def run() -> Cost:
        stage.transport(transport)
        before()
        return way()

    return run


def beside(stage: Stage, ways: dict[str, Way]) -> dict[str, Way]:
    """The same ways, each followed by the other checkout's, if there is one to compare with."""
    if stage.against is None:
        return ways

    def theirs(way: Way) -> Way:
        def run() -> Cost:
            with stage.of_against():
                return way()

        return run

    return {
        key: value
        for name, way in ways.items()
        for key, value in ((name, way), (f"before {name}", theirs(way)))
    }


def full(stage: Stage, scale: Scale, subject: Subject, mode: str, packing: str) -> Iterator[Result]:
    """The first backup, into an empty repository each time."""

    def fresh() -> None:
        stage.fresh_repository(mode)

    ours: Way = lambda: stage.ours(subject, packing)  # noqa: E731
    ways: dict[str, Way] = {
        **beside(stage, {name: over(stage, name, ours, fresh) for name in ("tls", "unix")}),
        "a": over(stage, "unix", lambda: stage.download_and_borg(subject, packing), fresh),
        "b": over(stage, "unix", lambda: stage.borg_create(subject.image, packing), fresh),
    }
    if (mode, packing) == scale.matrix[0]:
        ways["c"] = lambda: stage.read_export(subject)
    goals = {"tls": {"a": 0.6, "b": 1.5}, "unix": {"a": 0.5, "b": 1.0}}
    facts = {"data": subject.data}
    measured = in_turn(scale.repeats, ways)
    yield from per_transport(f"full, {mode}, {packing}", *measured, goals, facts, cpu_goals={"b": 1.0})


def known(stage: Stage, scale: Scale, subject: Subject) -> Iterator[Result]:
    """Every block is in the repository already, and everything is read."""
    mode, packing = scale.matrix[0]
    for _ in stage.both():
        stage.fresh_repository(mode)
        stage.ours(subject, packing)
    stage.borg_create(subject.image, packing)
    ours: Way = lambda: stage.ours(subject, packing, "--full")  # noqa: E731
    ways: dict[str, Way] = {
        **beside(stage, {name: over(stage, name, ours) for name in ("tls", "unix")}),
        "least tls": over(stage, "tls", lambda: stage.least(subject)),
        "least unix": over(stage, "unix", lambda: stage.least(subject)),
        "b": lambda: stage.borg_create(subject.image, packing),
    }
    goals = {"tls": {"b": 1.5}, "unix": {"b": 1.0}}
    _, runs = in_turn(scale.repeats, ways)
    for transport in ("tls", "unix"):
        chosen = {"ours": runs[transport], "b": runs["b"], "f": runs[f"least {transport}"]}
        if stage.against is not None:
            chosen["before"] = runs[f"before {transport}"]
        medians = {name: median(costs) for name, costs in chosen.items()}
        facts = {"data": subject.data}
        yield Result("full, all blocks known", transport, medians, chosen, goals[transport], facts)


def restore(stage: Stage, scale: Scale, subject: Subject) -> Iterator[Result]:
    """Without its proof, then with it."""
    mode, packing = scale.matrix[0]
    archives = {}
    for _ in stage.both():
        stage.fresh_repository(mode)
        archives[stage.repo] = stage.archive(subject, packing)
    bare: Way = lambda: stage.restore(subject, archives[stage.repo], "--no-proof")  # noqa: E731
    proven: Way = lambda: stage.restore(subject, archives[stage.repo])  # noqa: E731
    ways = beside(
        stage,
        {
            "tls": over(stage, "tls", bare),
            "unix": over(stage, "unix", bare),
            "proven tls": over(stage, "tls", proven),
            "proven unix": over(stage, "unix", proven),
        },
    )
    runs: dict[str, list[Cost]] = {name: [] for name in [*ways, "d", "e"]}
    for _ in range(scale.repeats):
        for name, way in ways.items():
            runs[name].append(way())
        both, alone = stage.borg_and_upload(subject, archives[stage.repo])
        runs["d"].append(both)
        runs["e"].append(alone)
    goals = {"tls": {"d": 0.6, "e": 1.5}, "unix": {"d": 0.5, "e": 1.0}}
    for case, prefix, wanted in (("without", "", goals), ("with", "proven ", {})):
        chosen = {"tls": runs[prefix + "tls"], "unix": runs[prefix + "unix"], "d": runs["d"], "e": runs["e"]}
        if stage.against is not None:
            chosen |= {f"before {name}": runs[f"before {prefix}{name}"] for name in ("tls", "unix")}
        medians = {name: median(costs) for name, costs in chosen.items()}
        facts = {"data": subject.data}
        yield from per_transport(f"restore, {case} proof", medians, chosen, wanted, facts)


def verify(stage: Stage, scale: Scale, subject: Subject) -> Result:
    """Every byte of an archive proven: ours, and stock Borg's own way, on one repository in turn."""
    mode, packing = scale.matrix[0]
    stage.fresh_repository(mode)
    archive = stage.archive(subject, packing)
    ways: dict[str, Way] = {
        "ours": lambda: stage.verify(subject, archive),
        "j": lambda: stage.borg_verify(subject),
    }
    facts = {"data": subject.data}
    measured = in_turn(scale.repeats, ways)
    return Result("verify --level data", "unix", *measured, {"j": 1.0}, facts)


def kind_of_data(stage: Stage, scale: Scale, kind: str) -> Result:
    """The full backup of other data; no goals of their own."""
    mode, packing = scale.matrix[0]
    size = max(scale.disk // 4, 128 * MIB)
    subject = stage.subject("other", kind, size, size // (8 if kind == "sparse" else 2), seed=2)

    def fresh() -> None:
        stage.fresh_repository(mode)

    ways: dict[str, Way] = {
        "ours": over(stage, "unix", lambda: stage.ours(subject, packing), fresh),
        "b": over(stage, "unix", lambda: stage.borg_create(subject.image, packing), fresh),
    }
    medians, runs = in_turn(min(2, scale.repeats), ways)
    facts = {"data": subject.data}
    stage.drop(subject)
    return Result(f"full, {kind}", "unix", medians, runs, {}, facts)


def incremental(stage: Stage, scale: Scale) -> Iterator[Result]:
    """1 % of the virtual size changed. Stock Borg reads what data there is: its time is multiplied."""
    mode, packing = scale.matrix[0]
    amount = scale.wide // 100
    subject = stage.subject(
        "wide",
        "mostly duplicate",
        scale.wide,
        scale.wide // 16,
        seed=3,
        backup="incremental",
        grows=2 * scale.repeats * amount,
    )
    for _ in stage.both():
        stage.fresh_repository(mode)
        stage.ours(subject, packing)
    stage.borg_create(subject.image, packing)
    nothing = stage.root / "nothing.raw"
    nothing.touch()
    runs: dict[str, list[Cost]] = {"tls": [], "unix": [], "b": [], "g": [], "h": []}
    factors = []
    for number in range(scale.repeats):
        for turn, transport in enumerate(("tls", "unix")):
            stage.transport(transport)
            stage.change(subject, changes(scale.wide, amount, seed=2 * number + turn))
            runs[transport].append(stage.ours(subject, packing))
            if stage.against is not None:
                with stage.of_against():
                    runs.setdefault(f"before {transport}", []).append(stage.ours(subject, packing))
        runs["g"].append(stage.write(amount))
        runs["h"].append(stage.ours(subject, packing))
        # What changed is in the repository by now: Borg has only to read, hash and refer.
        part = stage.borg_create(subject.image, packing)
        start = stage.borg_create(nothing, packing).wall
        factors.append((start + (part.wall - start) * scale.wide / part.moved) / part.wall)
        runs["b"].append(part)
    stage.drop(subject)
    medians = {name: median(costs) for name, costs in runs.items()}
    facts = {"virtual": scale.wide, "changed": amount}
    case = f"incremental, 1 % of {scale.wide // GIB} GiB"
    goals = {"tls": {"b": 0.03}, "unix": {"b": 0.03}}
    yield from per_transport(case, medians, runs, goals, facts, {"b": statistics.median(factors)})


def thin(stage: Stage, scale: Scale) -> Iterator[Result]:
    """The same 64 MiB changed on thin disks of several sizes."""
    mode, packing = scale.matrix[0]
    stage.transport("tls")
    smallest: Cost | None = None
    for size in scale.thin:
        subject = stage.subject("thin", "incompressible", size, 256 * MIB, seed=4, backup="incremental")
        runs: dict[str, list[Cost]] = {"ours": []}
        firsts = []
        for _ in stage.both():
            stage.fresh_repository(mode)
            firsts.append(stage.ours(subject, packing))
        first = firsts[0]
        for number in range(scale.repeats):
            stage.change(subject, changes(size, 64 * MIB, seed=100 + number))
            runs["ours"].append(stage.ours(subject, packing))
            if stage.against is not None:
                with stage.of_against():
                    runs.setdefault("before", []).append(stage.ours(subject, packing))
        stage.drop(subject)
        medians = {name: median(costs) for name, costs in runs.items()}
        result = Result(f"64 MiB changed on {size // GIB} GiB thin", "tls", medians, runs)
        result.facts = {"virtual": size, "changed": 64 * MIB, "first": first.wall, "first rss": first.rss}
        if smallest is None:
            smallest = medians["ours"]
        elif size == max(scale.thin):
            medians["smallest"] = smallest
            result.goals, result.slack = {"smallest": 1.5}, 2.0
        if size > 64 * GIB:
            result.memory = 400 * MIB
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
