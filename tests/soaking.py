"""How long the soak takes (SOAK_MINUTES, 60 in all), what decides on its chances (SOAK_SEED), what it did."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

_MINUTES = float(os.environ.get("SOAK_MINUTES") or 60)
SHARES = {"kills": 0.4, "nights": 0.3, "bytes": 0.1, "branches": 0.2}
"""Of the kills, the random nights, and the two kinds of fuzzers."""

COUNTS: Counter[str] = Counter()
"""What was done in all, by name; told when the tests have ended."""


def seconds(part: str, among: int = 1) -> float:
    """What one of `among` tests of that part may take."""
    return 60 * _MINUTES * SHARES[part] / among


class Span:
    """So many seconds from now; at least one turn is taken."""

    def __init__(self, length: float) -> None:
        self._end = time.monotonic() + length
        self.turns = 0

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end

    def another(self) -> bool:
        """Whether there is time for one more turn."""
        self.turns += 1
        return self.turns == 1 or not self.over


def seed() -> int:
    """Of this test: as asked for, else by chance; to be printed."""
    return int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1 << 30))
