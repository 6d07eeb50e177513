"""`python -m mutants`: break the product in many small ways, and tell which breakages no test notices."""

from __future__ import annotations

import argparse
import itertools
import os
import queue
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

from mutants.mutant import Mutant, Stale
from mutants.rooms import MUTANTS
from mutants.scratch import FAILED, Ended, Scratch

_SOUND_LIMIT = 3600
"""Seconds for all tests on the unbroken code."""
GOOD = ("killed", "explained")
"""What may become of a mutant without anything to do about it."""


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant."""

    mutant: Mutant
    word: str
    """`killed`, `explained` (it survives, and the list says why); else something is to be done."""
    why: str
    seconds: float


def judge(mutant: Mutant, run: Ended) -> tuple[str, str]:
    """The verdict's word and reason, from how the tests ended."""
    if run.code == FAILED or run.code < 0:  # the interpreter itself may die of it
        if mutant.survives:
            return "OVEREXPLAINED", f"{run.first_failure} notices: take its explanation away"
        return "killed", run.first_failure
    if run.code != 0:
        return "BROKEN", f"its tests did not run (pytest ended with {run.code}): {_last_line(run.output)}"
    if mutant.survives:
        return "explained", mutant.survives
    return "SURVIVED", f"{mutant.promise} ({mutant.tests})"


def _last_line(output: str) -> str:
    errors = [line for line in output.splitlines() if line.startswith(("E  ", "ERROR"))]
    return (errors or output.splitlines() or [""])[0].strip()


def try_mutant(mutant: Mutant, scratches: queue.Queue[Scratch]) -> Verdict:
    """Break one free copy, run the tests, mend it."""
    scratch = scratches.get()
    began = time.monotonic()
    try:
        with scratch.broken(mutant):
            word, why = judge(mutant, scratch.pytest(mutant.tests.split()))
    except Stale as error:
        word, why = "STALE", str(error)
    finally:
        scratches.put(scratch)
    verdict = Verdict(mutant, word, why, time.monotonic() - began)
    print(f"{word:9} {mutant.full_name:58} {verdict.seconds:5.1f} s  {why}", flush=True)
    return verdict


def sound(mutants: Sequence[Mutant], scratches: Sequence[Scratch]) -> bool:
    """Whether the tests pass on the unbroken code: each that any mutant names runs once."""
    words = list(dict.fromkeys(word for mutant in mutants for word in mutant.tests.split()))
    whole = {word for word in words if "::" not in word}
    words = [word for word in words if word in whole or word.split("::")[0] not in whole]
    shares = [words[number :: len(scratches)] for number in range(len(scratches))]
    with ThreadPoolExecutor(len(scratches)) as pool:
        work = [(scratch, share) for scratch, share in zip(scratches, shares, strict=True) if share]
        runs = list(pool.map(lambda one: one[0].pytest(one[1], limit=_SOUND_LIMIT), work))
    for run in runs:
        if run.code != 0:
            print(run.output or f"The tests did not end within {_SOUND_LIMIT} s.")
    return all(run.code == 0 for run in runs)


def chosen(names: Sequence[str]) -> list[Mutant]:
    """The mutants whose full names hold one of these words; all without any."""
    return [m for m in MUTANTS if not names or any(name in m.full_name for name in names)]


def summary(verdicts: Sequence[Verdict], seconds: float) -> str:
    """A table of files, what is to be done, and the totals."""
    lines = [""]
    by_file = itertools.groupby(sorted(verdicts, key=lambda v: v.mutant.file), key=lambda v: v.mutant.file)
    for file, group in by_file:
        words = Counter(verdict.word for verdict in group)
        lines.append(f"{file:40} " + ", ".join(f"{count} {word}" for word, count in words.items()))
    lines += [""] + [f"{v.word}: {v.mutant.full_name}: {v.why}" for v in verdicts if v.word != "killed"]
    total, words = len(verdicts), Counter(verdict.word for verdict in verdicts)
    share = 100 * words["killed"] / total
    counts = ", ".join(f"{count} {word}" for word, count in words.most_common())
    lines.append(f"\n{total} mutants: {counts}; {share:.0f} % killed, in {seconds:.0f} s.")
    return "\n".join(lines)


def main() -> int:
    """Exit status 1 when something is to be done about a mutant, 2 when nothing could be found out."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="of these names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--list", action="store_true", help="only show what would be broken")
    parser.add_argument(
        "--believe-tests", action="store_true", help="do not first see them pass on the unbroken code"
    )
    options = parser.parse_args()
    mutants = chosen([name for name in options.only if name])
    if options.list or not mutants:
        for mutant in mutants:
            print(f"{mutant.full_name:58} {mutant.promise}")
        return 0 if mutants else 2
    began = time.monotonic()
    with ExitStack() as stack:
        scratches = [stack.enter_context(Scratch()) for _ in range(max(1, options.jobs))]
        if not options.believe_tests and not sound(mutants, scratches):
            print("The tests that the mutants name fail on the sound code: nothing was broken.")
            return 2
        free: queue.Queue[Scratch] = queue.Queue()
        for scratch in scratches:
            free.put(scratch)
        pool = stack.enter_context(ThreadPoolExecutor(len(scratches)))
        verdicts = list(pool.map(lambda mutant: try_mutant(mutant, free), mutants))
    print(summary(verdicts, time.monotonic() - began))
    return 0 if all(verdict.word in GOOD for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
