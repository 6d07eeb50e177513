"""What a user can say about one backup."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from borg_ovirt.jobs.backup.disks import DiskRules
from borg_ovirt.pipe.fetch import READERS
from borg_ovirt.pipe.ports import Source
from borg_ovirt.pipe.sample import Sampling


@dataclass(frozen=True)
class CreateOptions:
    """The wishes of one backup; sizes in bytes."""

    mode: str = "image"
    """`image`: the disks as their guests see them; `chain`: every layer of their snapshot chains."""
    freeze: str = "auto"
    """`auto`, `require` or `never`."""
    backup_api: str = "auto"
    """Image mode: `auto` takes what the engine prefers, `live` avoids the snapshot-based hybrid backup."""
    lock_limit: timedelta | None = None
    """Where `auto` may choose: a live or cold backup, which locks its VM, if it is likely to be over by then.
    None: the engine's own way."""
    snapshot: bool = True
    """Chain mode: take a temporary snapshot; without one only what is frozen already is read."""
    wait: bool = True
    """Chain mode: wait until the engine has merged the temporary snapshot away."""
    full: bool = False
    full_every: timedelta | None = None
    """Read everything when the last full read is older than this."""
    sampling: Sampling = field(default_factory=Sampling)
    strict: bool = False
    """Skipped disks are refused, and a fallback to a full read is a warning."""
    expect: frozenset[str] = frozenset()
    """Losses that the user knows of, and is not to be warned of: `firmware`, `memory`; or `changes`."""
    rules: DiskRules = field(default_factory=DiskRules)
    readers: int = READERS
    cell: int | None = None
    """Size of a grid cell for a VM without archives; a series keeps the grid of its first archive."""
    through: Callable[[Source], Source] | None = None
    """What a run puts between each item and its readers: a rate limit, an alarm."""
