"""Which archives are to be proven now, at which level, what was not proven for longest first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from borg_ovirt.config.schema import Config
from borg_ovirt.config.select import Traits, settings_for
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.manifest import VmRecord
from borg_ovirt.repository.proof import Level, last_proof
from borg_ovirt.repository.series import Series

_NEVER = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Wish:
    """What a VM's archives are to pass, and how often."""

    level: Level
    every: timedelta = timedelta(0)
    """A proof younger than this is enough; zero: prove again."""


@dataclass(frozen=True)
class Due:
    """An archive to be proven."""

    archive: ArchiveInfo
    level: Level
    last: datetime | None
    """When it was last proven at that level."""

    @property
    def start(self) -> int:
        """The chunk at which a proof that ran out of time goes on."""
        under_way = self.archive.comment.under_way
        return under_way.done if under_way is not None else 0


def due(series: Iterable[Series], wish: Callable[[Series], Wish | None], now: datetime) -> list[Due]:
    """In the order in which they are to be proven.

    What was begun comes first, then what was not proven for longest; of those that never were, the newest
    archive of each VM before the older ones: it is the one that will be needed.
    """
    found: list[tuple[tuple[bool, datetime, int, str], Due]] = []
    for one in series:
        asked = wish(one)
        if asked is None:
            continue
        for age, info in enumerate(one.newest_first):
            proof = last_proof(info.comment.proofs, asked.level)
            tried = [p.time for p in info.comment.proofs if not p.passed and p.level == asked.level]
            last = max([*tried, *([proof.time] if proof else [])], default=None)
            begun = info.comment.under_way is not None
            if begun or last is None or now - last >= asked.every:
                entry = Due(info, asked.level, proof.time if proof else None)
                found.append(((not begun, last or _NEVER, age, info.name), entry))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0])]


def by_policy(config: Config, read_vm: Callable[[ArchiveInfo], VmRecord]) -> Callable[[Series], Wish | None]:
    """The wish of `policy.verify` for each VM, told by its newest archive: no engine is asked.

    `read_vm` reads the manifest where overrides ask for more than id and name; a search, which only an
    engine can answer, fits nobody.
    """
    asks = any(o.vms.tags or o.vms.clusters or o.vms.data_centers for o in config.overrides)

    def wish(series: Series) -> Wish | None:
        traits = Traits(series.vm_id, series.vm_name)
        if asks:
            vm = read_vm(series.newest)
            traits = Traits(vm.id, vm.name, frozenset(vm.tags), vm.cluster or "", vm.data_center or "")
        policy = settings_for(config, traits, {}).policy.verify
        return None if policy.level == "none" else Wish(policy.level, policy.every)

    return wish
