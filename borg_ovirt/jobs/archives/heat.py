"""Change heat: a night on which a VM changed, or what it wrote resisted compression, as never before.

Encrypting a VM from within looks like that: much is rewritten at once, and nothing of it compresses. The
figures are those that each archive bears; nothing is read. Pure.

A night stands out when it lies far above the median of the nights before it, measured by their spread (the
median of the distances from the median, which one wild night does not move), and above all of them: who
writes a dump each Sunday is not told of every Sunday.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from borg_ovirt.blocks import MiB
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.layout import FiguresRecord
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.series import Series

NIGHTS = 7
"""So many nights with figures must lie before, or nothing is said."""
_WINDOW = 28
_SPREADS = 6 * 1.4826
"""1.4826 times that spread is a standard deviation, where nights differ by chance alone."""
_LEAST_CHANGE = 0.05
"""Of what the disks hold: less than this is never told, however still the VM is else."""
_LEAST_JUMP = 0.2
"""Of the compression ratio, above its median."""
_MARGIN = 0.05
"""Above the highest of the nights before."""
_ENOUGH = 64 * MiB
"""New bytes, or a hundredth of what the disks hold, from which a ratio of compression says something."""


@dataclass(frozen=True)
class Night:
    """What one archive tells of its night."""

    changed: float
    """Share of what the disks hold that was new to the repository; what disks grew by does not count."""
    compressed: float | None
    """Bytes stored for each new one: near 1 means that nothing could be compressed. None: too few to tell."""


def nights(archives: Sequence[ArchiveInfo]) -> dict[str, Night]:
    """Name -> what its night was like, of the archives of one series in their order.

    The first one brings everything and tells nothing; nor do archives without figures, and those after them
    that might make up for what they brought.
    """
    found: dict[str, Night] = {}
    before: FiguresRecord | None = None
    for info in archives:
        figures = info.comment.figures
        if figures is not None and before is not None:
            found[info.name] = _night(figures, before)
        before = figures
    return found


def _night(figures: FiguresRecord, before: FiguresRecord) -> Night:
    data = max(figures.data, 1)
    grown = max(figures.size - before.size, 0)
    enough = figures.new >= min(_ENOUGH, data / 100) and figures.new > 0
    return Night(
        min(max(figures.new - grown, 0) / data, 1.0),
        min(figures.added / figures.new, 1.0) if enough else None,
    )


def heats(series: Series) -> dict[str, str]:
    """Name -> what was unusual about an archive, against those before it; only of those that stand out."""
    known = nights(series.archives)
    found: dict[str, str] = {}
    before: list[Night] = []
    for name, night in known.items():
        told = in_words(night, before[-_WINDOW:])
        if told:
            found[name] = told
        before.append(night)
    return found


def in_words(night: Night, before: Sequence[Night]) -> str | None:
    """What stands out in a night, with the figures."""
    told = []
    changes = [one.changed for one in before]
    if len(changes) >= NIGHTS and night.changed >= _LEAST_CHANGE and _stands_out(night.changed, changes):
        told.append(f"{night.changed:.0%} of its data changed, {_usual(changes)}")
    ratios = [one.compressed for one in before if one.compressed is not None]
    if (
        night.compressed is not None
        and len(ratios) >= NIGHTS
        and night.compressed >= median(ratios) + _LEAST_JUMP
        and _stands_out(night.compressed, ratios)
    ):
        told.append(f"what it wrote compressed to {night.compressed:.0%}, {_usual(ratios)}")
    return f"it changed as never before: {'; '.join(told)}" if told else None


def _stands_out(value: float, before: Sequence[float]) -> bool:
    """Whether a value lies far above the median of others, by their spread, and clearly above them all."""
    middle = median(before)
    spread = median(abs(one - middle) for one in before)
    return value > middle + _SPREADS * spread and value > max(before) + _MARGIN


def _usual(values: Sequence[float]) -> str:
    return f"against {median(values):.1%} (at most {max(values):.1%}) in the {len(values)} nights before"


def heat_of(repository: Repository, name: str) -> str | None:
    """What was unusual about an archive of a repository."""
    return next((heats(s).get(name) for s in repository.series() if name in s.times), None)
