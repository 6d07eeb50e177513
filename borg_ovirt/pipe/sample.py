"""Trust but sample: a few cells that would be reused are read all the same and compared by id.

A dirty bitmap that lies is otherwise undetectable: the archive would hold old bytes for ever.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from borg_ovirt.errors import UsageError
from borg_ovirt.pipe.fetch import READERS, Buffers, Fetcher
from borg_ovirt.pipe.plan import FETCH, REUSE, Plan
from borg_ovirt.pipe.ports import Base, Source


@dataclass(frozen=True)
class Sampling:
    """How many of the reused cells are read again: a share of them, but at least a few of each disk."""

    rate: float = 0.001
    minimum: int = 8

    def __str__(self) -> str:
        """As a user writes it."""
        return "all" if self.rate == 1 else f"{self.rate * 100:g}%" if self.rate else "0"

    @classmethod
    def parse(cls, text: str) -> Sampling:
        """Read what a user writes: `5%`, `0.1%`, `0` (none) or `all`."""
        word = text.strip().lower()
        if word == "all":
            return cls(1.0)
        number = word.removesuffix("%").strip()
        try:
            rate = float(number) / 100
        except ValueError:
            rate = math.nan
        if not 0 <= rate <= 1 or (rate and not word.endswith("%")):
            raise UsageError(f"'{text}' is no share of a disk to sample.", "Say 'all', '0' or such as '5%'.")
        return cls(rate)


def choose_sample(plan: Plan, sampling: Sampling, *, known: bool = False) -> list[int]:
    """Some of the cells to reuse, at random, ascending; zeros of the base count like all others.

    Cells that the extents call zeros are left out: the plan has compared these with the base. Of a
    `known` layer there are no extents: every cell may be looked at, and the first always is one of them.
    """
    if not sampling.rate:
        return []
    candidates = [
        index for kind, first, end in plan.runs() if known or kind == REUSE for index in range(first, end)
    ]
    count = max(sampling.minimum, math.ceil(sampling.rate * len(candidates)))
    if count >= len(candidates):
        return candidates
    # The guest must not be able to guess which cells are looked at.
    chosen = set(random.SystemRandom().sample(candidates, count))
    return sorted(chosen | {0} if known else chosen)


def check_sample(
    plan: Plan,
    base: Base[object],
    cells: Sequence[int],
    source: Source,
    *,
    readers: int = READERS,
    buffers: Buffers | None = None,
) -> list[int]:
    """Read the cells and name those whose bytes are not the base's. Nothing is stored."""
    looked_at = Plan(plan.size, plan.cell, plan.name)
    for index in cells:
        looked_at.kinds[index] = FETCH
        looked_at.starts.append(index * plan.cell)
        looked_at.ends.append(index * plan.cell + plan.cell_size(index))
    wrong = []
    with Fetcher(looked_at, source.open, base.digest, readers=readers, buffers=buffers) as fetcher:
        for index in cells:
            arrival = fetcher.take(index)
            zero = arrival.prepared is None
            if not (base.is_zero(index) if zero else base.same(index, arrival.prepared)):
                wrong.append(index)
            fetcher.done(arrival)
    return wrong
