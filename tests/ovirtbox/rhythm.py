"""How long an engine takes: measured on 4.5.8 that polls each second (2026-11), scaled by one factor.

A campaign of 230 archives of idle VMs with small disks, on two busy cores; one that polls at its default of
ten seconds takes longer. A factor of 0 is for tests of anything but time: nothing but the ticks of the box's
clock. Whoever measures (benchmarks, limits of runs) takes 1, or a factor and divides what he measured by it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple


class Span(NamedTuple):
    """Seconds, as seen."""

    least: float
    usual: float
    most: float


SECONDS = {
    "hybrid ready": Span(5.7, 11.8, 17.6),  # from POST /backups
    "live ready": Span(4, 10, 17),
    "cold ready": Span(9, 10, 11),
    "hybrid end": Span(
        26, 35, 48
    ),  # from finalize: the merge of near-empty layers (of a VM that is down: below)
    "backup end": Span(2.4, 5, 7.6),  # live and cold
    "transfer end": Span(2.0, 4.4, 8.6),  # from finalize to finished
    "transfer cancelled": Span(4, 6.7, 13),
    "snapshot": Span(5.7, 11.8, 17.6),  # not measured: as that of a hybrid backup
    "merge": Span(17, 21, 26),  # live, of an empty layer: it waits for the host's statistics
    "cold merge": Span(6, 10, 14),  # 18 to 23 s were seen for all of a hybrid backup of a VM that is down
    "checkpoint removed": Span(0.2, 0.5, 0.8),
}


@dataclass
class Rhythm:
    factor: float = 0.0
    """May be changed while the box runs: what begins from then on takes so long."""
    steady: bool = False
    """Each step takes its usual time."""
    draw: random.Random = field(default_factory=lambda: random.Random(4))
    """Steps of one kind take different times; the same ones in the same order each time."""

    def seconds(self, step: str | None) -> float:
        """For this step; 0 for one that was not measured."""
        if not step or not self.factor:
            return 0.0
        span = SECONDS[step]
        if self.steady:
            return span.usual * self.factor
        # Half of all are shorter than the usual one.
        first, last = self.draw.choice([(span.least, span.usual), (span.usual, span.most)])
        return self.draw.uniform(first, last) * self.factor
