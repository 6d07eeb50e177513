"""`python -m bench [--quick]`: the benchmarks, printed as a table and kept under build/bench."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ovirtbox.box import Box

from bench import back, cases, copying, many, report
from bench.measure import Cost, machine, wait_idle
from bench.stage import Stage

ROOMS = (cases, back, copying, many)
CASES = tuple(case for room in ROOMS for case in room.CASES)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small disks, some five minutes")
    parser.add_argument("--tiny", action="store_true", help="to try the benchmarks themselves")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="directory of the results")
    parser.add_argument("--dir", type=Path, help="where to work: some 30 GiB")
    parser.add_argument("--disk", type=int, metavar="GIB", help="size of the disk of the full backups")
    parser.add_argument("--repeats", type=int, help="how often each way is taken")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of: {', '.join(CASES)}")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="measure another checkout of borg-ovirt beside this one, case by case, on the same box",
    )
    options = parser.parse_args()
    scale = cases.TINY if options.tiny else cases.QUICK if options.quick else cases.FULL
    scale = replace(
        scale,
        disk=(options.disk or 0) << 30 or scale.disk,
        repeats=options.repeats or scale.repeats,
    )
    wait_idle(1.5, 60)
    facts = machine()
    if facts["load before"] > 1.5:
        print(
            f"bench: the machine is busy (load {facts['load before']:.1f}); figures will be poor.",
            file=sys.stderr,
        )
    started = time.monotonic()
    root = Path(tempfile.mkdtemp(prefix="borg-ovirt-bench-", dir=options.dir))
    memory = memory_directory()
    results: list[cases.Result] = []
    points: list[tuple[int, Cost]] = []
    try:
        with Box.start(root / "box") as box:
            stage = Stage(box, root, memory, options.against)
            facts["VM disks in"] = stage.domains
            chosen = options.only or CASES
            for result in chain.from_iterable(room.all_cases(stage, scale, chosen) for room in ROOMS):
                results.append(result)
                ours = result.ways["ours"]
                print(
                    f"bench: {time.monotonic() - started:5.0f} s  {result.case} ({result.transport}): "
                    f"{ours.wall:.2f} s, "
                    + ", ".join(f"{result.ratio(n):.2f} of {n}" for n in result.ways if n != "ours"),
                    file=sys.stderr,
                    flush=True,
                )
            if not options.only:
                points = cases.by_changed(stage, scale)
    finally:  # what was measured before an interruption counts
        for directory in filter(None, (root, memory)):
            shutil.rmtree(directory, ignore_errors=True)
        facts["took s"] = round(time.monotonic() - started)
        keep(options.out, results, points, facts)


def memory_directory() -> Path | None:
    """A directory in memory that QEMU can open past the cache, as a host does; None where there is none."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="borg-ovirt-bench-", dir="/dev/shm"))
    except OSError:
        return None
    try:
        os.close(os.open(directory / "probe", os.O_CREAT | os.O_RDWR | os.O_DIRECT, 0o600))
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)
        return None
    return directory


def keep(
    out: Path, results: list[cases.Result], points: list[tuple[int, Cost]], facts: dict[str, object]
) -> None:
    """Print the table, and leave it with JSON and plots in a directory."""
    out.mkdir(parents=True, exist_ok=True)
    table = report.markdown(results, facts)
    (out / "performance.md").write_text(table)
    (out / "performance.json").write_text(report.as_json(results, points, facts))
    report.plot(results, points, out / "performance.png")
    print(table)


if __name__ == "__main__":
    main()
