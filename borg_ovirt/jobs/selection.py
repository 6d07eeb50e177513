"""Which VMs a run is about: those the configuration selects, narrowed, sharded, the neediest first."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase

from borg_ovirt.config.schema import Config
from borg_ovirt.config.select import Searches, Traits, VmSettings, fits, searches_of, selected, settings_for
from borg_ovirt.errors import UsageError, VmNotFound
from borg_ovirt.ovirt.facts.inventory import Place, places
from borg_ovirt.ovirt.facts.vm import VmSummary, list_vms, look_up
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.proof import failed_proof
from borg_ovirt.repository.series import all_series


@dataclass(frozen=True)
class Member:
    """A VM of the engine, and the rules that hold for it."""

    summary: VmSummary
    traits: Traits
    settings: VmSettings
    selected: bool
    """Whether the configuration wants it backed up."""
    excluded: bool = False
    """Whether it says that it does not."""

    @property
    def id(self) -> str:
        return self.summary.id

    @property
    def name(self) -> str:
        return self.summary.name


@dataclass(frozen=True)
class Narrowing:
    """What the command line leaves of the configuration's choice."""

    vms: tuple[str, ...] = ()
    """Names, globs of names, or ids."""
    tags: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None
    """Part I of N."""


def fleet(engine: Engine, config: Config) -> list[Member]:
    """Every VM of the engine, by name."""
    searches = {
        search: frozenset(vm.id for vm in list_vms(engine, search)) for search in sorted(searches_of(config))
    }
    where = places(engine)
    return [_member(vm, where, config, searches) for vm in list_vms(engine)]


def named(engine: Engine, config: Config, name_or_id: str) -> Member:
    """The one VM of that name or id, whether the configuration selects it or not; its rules hold for it."""
    summary = look_up(engine, name_or_id)
    if config.overrides:  # what they ask for costs a few requests more
        return next(member for member in fleet(engine, config) if member.id == summary.id)
    traits = Traits(summary.id, summary.name, frozenset(summary.tags))
    return Member(summary, traits, settings_for(config, traits, {}), selected=True)


def _member(vm: VmSummary, where: Mapping[str, Place], config: Config, searches: Searches) -> Member:
    place = where.get(vm.cluster_id, Place("", ""))
    traits = Traits(vm.id, vm.name, frozenset(vm.tags), place.cluster, place.data_center)
    return Member(
        vm,
        traits,
        settings_for(config, traits, searches),
        selected(config, traits, searches),
        fits(config.vms.exclude, traits, searches),
    )


def choose(members: Iterable[Member], narrowing: Narrowing) -> list[Member]:
    """The selected VMs that the narrowing leaves. One that is named and not there is an error, and so is a
    selection that is empty: a night without VMs is no success. A shard of one that is not may be empty.
    """
    members = list(members)
    for word in narrowing.vms:
        _check_known(word, members)
    chosen = [m for m in members if m.selected and _wanted(m, narrowing)]
    if not chosen:
        raise _nothing_selected(members)
    if narrowing.shard is not None:
        part, parts = narrowing.shard
        chosen = [m for m in chosen if shard_of(m.id, parts) == part]
    return chosen


def _nothing_selected(members: Sequence[Member]) -> UsageError:
    if not members:
        return UsageError(
            "The engine shows this user no VM: nothing would be backed up.",
            "Give it the role on the data center, or on the VMs to back up (docs/operating.md, The role).",
        )
    if not any(m.selected for m in members):
        return UsageError(
            f"The configuration selects none of the {len(members)} VMs: nothing would be backed up.",
            "Look at `vms` there; a search that the engine does not understand finds nothing, too. "
            "`borg-ovirt vms` shows what is selected.",
        )
    return UsageError(
        "No selected VM is left by --vm and --tag: nothing would be backed up.",
        "`borg-ovirt vms` shows the VMs and their tags.",
    )


def _check_known(word: str, members: Sequence[Member]) -> None:
    fitting = [m for m in members if _named(m, word)]
    if not fitting:
        raise VmNotFound(f"The engine has no VM {word}.", "`borg-ovirt vms` lists them.")
    if not any(m.selected for m in fitting):
        raise UsageError(
            f"The configuration does not select the VM {word}.",
            "Use REPO::VM to back it up all the same, or change `vms` in the configuration.",
        )


def _wanted(member: Member, narrowing: Narrowing) -> bool:
    named = not narrowing.vms or any(_named(member, word) for word in narrowing.vms)
    tagged = not narrowing.tags or not member.traits.tags.isdisjoint(narrowing.tags)
    return named and tagged


def _named(member: Member, word: str) -> bool:
    return member.id == word.lower() or fnmatchcase(member.name, word)


def shard_of(vm_id: str, parts: int) -> int:
    """The part (1 to `parts`) that a VM belongs to, whatever other VMs there are.

    The highest hash wins, so that a change of `parts` moves as few VMs as it can.
    """

    def weight(part: int) -> bytes:
        return hashlib.sha256(f"{vm_id.lower()}/{part}".encode()).digest()

    return max(range(1, parts + 1), key=weight)


def parse_shard(text: str) -> tuple[int, int]:
    """`2/5` -> (2, 5); ValueError for anything else."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise ValueError(f"{text!r} is not a shard such as 2/5")
    return int(part), int(parts)


@dataclass(frozen=True)
class LastArchive:
    """The newest archive of a VM in one repository."""

    name: str
    number: int
    """Its place among the archives of the repository; 0 where that was lost."""
    since: datetime | None
    """It was made at this time or later; None where no clock can be believed."""

    @property
    def place(self) -> tuple[int, float]:
        """What tells which of two was made later: no clock, where it can be told without."""
        return (self.number, self.since.timestamp() if self.since else float("-inf"))


EngineId = tuple[str, str]
"""An engine's own id, and its host: older archives name only the host."""


def last_good(
    archives: Iterable[ArchiveInfo], engine: EngineId | None = None, now: datetime | None = None
) -> dict[str, LastArchive]:
    """VM id -> its newest archive (of this engine) that failed no proof, whatever its mode.

    A marked one counts: what was doubtful in it was read in full.
    """
    newest: dict[str, LastArchive] = {}
    for series in all_series(archives, now or datetime.now(timezone.utc)):
        if engine is not None and not series.is_of(*engine):
            continue
        # What is lost without a proof only a look at each chunk would tell.
        good = (one for one in series.newest_first if not failed_proof(one.comment.proofs))
        if (info := next(good, None)) is None:
            continue
        last = LastArchive(info.name, info.comment.number or 0, series.since[info.name])
        known = newest.get(series.vm_id)
        if known is None or last.place > known.place:
            newest[series.vm_id] = last
    return newest


def neediest_first(members: Iterable[Member], good: Sequence[Mapping[str, LastArchive]]) -> list[Member]:
    """The VM whose last good archive is the oldest goes first; `good` has one table for each repository.

    Of several repositories the one counts that is furthest behind; one without an archive of the VM most.
    """
    ranks = []
    for archives in good:
        order = sorted(archives.items(), key=lambda item: (item[1].place, item[0]))
        ranks.append({vm_id: rank for rank, (vm_id, _) in enumerate(order)})

    def need(member: Member) -> tuple[int, str]:
        return min((rank.get(member.id, -1) for rank in ranks), default=-1), member.name

    return sorted(members, key=need)
