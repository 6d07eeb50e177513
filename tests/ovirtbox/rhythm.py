"""How long an engine takes: measured on 4.5.8 that polls each second (2026-11), scaled by one factor.

Medians of a campaign of 230 archives on two busy cores; an engine that polls at its default of ten seconds
takes longer still. A factor of 0 is for tests: nothing but the ticks of the box's clock.
"""

from __future__ import annotations

from dataclasses import dataclass

SECONDS = {
    "hybrid ready": 11.8,  # from POST /backups; 5.7 to 17.6
    "live ready": 10.0,  # 4 to 17
    "cold ready": 10.0,  # 9 to 11
    "hybrid end": 35.0,  # from finalize: the merge of near-empty layers; 6 to 48
    "backup end": 5.0,  # live and cold; 2.4 to 7.6
    "transfer end": 4.4,  # from finalize to finished; 2.0 to 8.6
    "transfer cancelled": 6.7,  # 4 to 13
    "snapshot": 11.8,  # not measured: as that of a hybrid backup
    "merge": 21.0,  # live, of an empty layer: it waits for the host's statistics; 17 to 26
    "cold merge": 10.0,  # not measured alone: a VM that is down took 18 to 23 for all of a hybrid backup
    "checkpoint removed": 0.5,  # 0.2 to 0.8
}


@dataclass
class Rhythm:
    factor: float = 0.0

    def seconds(self, step: str | None) -> float:
        """For this step; 0 for one that was not measured."""
        return SECONDS[step] * self.factor if step else 0.0
