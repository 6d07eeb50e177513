"""What was measured, as a table for people, as JSON for programs, and as two plots."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.cases import Result
from bench.measure import Cost

GIB = 1 << 30
NAMES = {
    "a": "(a) ovirt-img download-disk, then borg create",
    "b": "(b) borg create --sparse of a local file",
    "c": "(c) nbdcopy of the export to nowhere",
    "d": "(d) borg extract, then ovirt-img upload-disk",
    "e": "(e) borg extract --sparse",
    "f": "(f) the least client: reads and hashes, nothing else",
    "g": "(g) dd of as many bytes onto the repository's disk",
    "h": "(h) borg-ovirt, nothing changed",
    "i": "(i) borg-ovirt extract of the whole disk",
    "j": "(j) borg check --archives-only --verify-data",
    "k": "(k) borg extract, piped into borg create",
    "few": "borg-ovirt, 100 archives",
    "single": "borg-ovirt, one disk of as many bytes",
    "young": "borg-ovirt, an engine with few events",
    "limit": "the goal",
    "before": "borg-ovirt of the other checkout",
    "one by one": "borg-ovirt --captures 1",
    "alone": "borg-ovirt, that VM alone",
    "one site": "borg-ovirt into one of them",
    "ours": "borg-ovirt",
    "smallest": "borg-ovirt, smallest disk",
}


def markdown(results: list[Result], machine: dict[str, Any]) -> str:
    """The table: one line for each way of each case."""
    lines = [
        "| case | transport | way | wall s | CPU client s | CPU host s | peak MiB | GiB moved "
        "| ours / it: wall | CPU | goal | |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for result in results:
        for number, (name, cost) in enumerate(result.ways.items()):
            head = [result.case, result.transport] if number == 0 else ["", ""]
            lines.append("| " + " | ".join([*head, *_way(result, name, cost)]) + " |")
    facts = ", ".join(f"{name} {_plain(value)}" for name, value in machine.items())
    return "\n".join([*lines, "", f"Machine: {facts}.", ""])


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2f}"
    return "+".join(value) if isinstance(value, list) else str(value)


def _way(result: Result, name: str, cost: Cost) -> list[str]:
    factor = result.scaled.get(name, 1.0)
    wall = f"{cost.wall:.2f}" + (f" × {factor:.1f}" if factor != 1 else "")
    peak = f"{cost.rss / (1 << 20):.0f}"
    if name == "ours":
        peak += f" of {result.memory >> 20}{'' if result.memory_met() else ' **missed**'}"
    row = [NAMES[name], wall, f"{cost.client:.2f}", f"{cost.host:.2f}", peak, f"{cost.moved / GIB:.2f}"]
    if name == "ours":
        return [*row, "", "", "", ""]
    cpu = f"{result.ratio(name, 'client'):.2f}"
    if name in result.cpu_goals:
        cpu += f" of {result.cpu_goals[name]:g}" + (" met" if result.cpu_met(name) else " **missed**")
    ratio = result.ratio(name)
    ratios = [f"**{ratio:.3f}**" if ratio < 0.1 else f"**{ratio:.2f}**", cpu]
    if name not in result.goals:
        return [*row, *ratios, "", ""]
    goal = f"{result.goals[name]:g}" + (f" + {result.slack:g} s" if result.slack else "")
    return [*row, *ratios, goal, "met" if result.met(name) else "**missed**"]


def as_json(results: list[Result], points: list[tuple[int, Cost]], machine: dict[str, Any]) -> str:
    cases = []
    for result in results:
        ratios = {name: result.ratio(name) for name in result.ways if name != "ours"}
        met = {name: result.met(name) for name in result.goals}
        cpu_met = {name: result.cpu_met(name) for name in result.cpu_goals}
        told = {"ratios": ratios, "met": met, "cpu met": cpu_met, "memory met": result.memory_met()}
        cases.append({**asdict(result), **told})
    by_changed = [{"changed": amount, **asdict(cost)} for amount, cost in points]
    return json.dumps({"machine": machine, "cases": cases, "by changed bytes": by_changed}, indent=1) + "\n"


def plot(results: list[Result], points: list[tuple[int, Cost]], path: Path) -> None:
    """Cost against virtual size, and against changed bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    sizes = [(r.facts["virtual"], r.ways["ours"]) for r in results if r.case.startswith("64 MiB changed")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), dpi=80)
    _curve(left, sizes, GIB, "virtual size, GiB (64 MiB changed)", log=True)
    _curve(right, points, 1 << 20, "changed, MiB (thin disk)", log=False)
    figure.tight_layout()
    figure.savefig(path)


def _curve(axes: Any, points: list[tuple[int, Cost]], unit: int, label: str, *, log: bool) -> None:
    places = [place / unit for place, _ in points]
    axes.plot(places, [cost.wall for _, cost in points], "o-", label="wall, s")
    axes.plot(places, [cost.client for _, cost in points], "s--", label="our CPU, s")
    if log:
        axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
