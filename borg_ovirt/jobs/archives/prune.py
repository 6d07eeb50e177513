"""Removes archives that no rule keeps: for each engine, VM and mode by exact ids, never by a name.

Nothing that others made is touched, nothing that is held, and of a VM that exists never the newest archive
that can be restored: before anything is removed, what is to stay is looked at. It works without an engine
too: then no VM counts as gone, and the archives tell what the rules ask of a VM (its tags, its cluster).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from borg_ovirt.config.schema import Config, Retention
from borg_ovirt.config.select import Traits, settings_for
from borg_ovirt.errors import ArchiveNotFound, BorgOvirtError
from borg_ovirt.jobs.archives.find import archive_named, series_named
from borg_ovirt.jobs.archives.retention import apply_rules
from borg_ovirt.jobs.selection import Member
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.retention import Verdict
from borg_ovirt.repository.series import Series


@dataclass(frozen=True)
class Known:
    """What the engine says: which VMs it has. Only archives of this engine are judged by it."""

    host: str
    members: Mapping[str, Member]
    id: str | None = None


@dataclass(frozen=True)
class PruneLine:
    """What happens to one archive, and why."""

    archive: str
    vm: str
    vm_id: str
    engine: str
    mode: str
    time: datetime
    keep: bool
    rule: str
    """What keeps it; empty if nothing does."""
    damage: str | None
    """Why it cannot be restored whole; None also for one that was not looked at."""


@dataclass(frozen=True)
class PruneResult:
    """What was, or would be, removed."""

    lines: list[PruneLine]
    removed: int
    kept: int
    compacted: bool
    """The repository was asked to free the space."""
    freed: int | None
    """Bytes that were freed, as measured; None where nobody can measure (over `borg serve`)."""
    warnings: list[str]


def prune(
    repository: Repository,
    config: Config,
    known: Known | None,
    now: datetime,
    *,
    rules: Retention | None = None,
    vms: Sequence[str] = (),
    dry_run: bool = False,
    compact: bool | None = None,
) -> PruneResult:
    """Judge every archive of ours (or those of some VMs, by name or id) and remove what no rule keeps.

    `rules` go before the configuration's. With `compact` the space is given back at once; None leaves that
    to the configuration.
    """
    warnings: list[str] = []
    lines: list[PruneLine] = []
    wanted = False
    every = repository.series(now)
    meant = {id_ for vm in vms for id_ in _ids(repository, vm)}
    for series in every:
        if vms and series.vm_id not in meant:
            continue
        judge = _Judge(repository, config, known, now, rules, series, warnings)
        verdicts = judge.verdicts()
        lines += [_line(verdict, series, judge.damaged) for verdict in verdicts]
        if not all(verdict.keep for verdict in verdicts):
            wanted = wanted or judge.compact
    doomed = [line.archive for line in lines if not line.keep]
    compacting = (wanted if compact is None else compact) and bool(doomed) and not dry_run
    freed: int | None = 0
    if doomed and not dry_run:
        repository.delete(doomed)
        if compacting:
            freed = repository.compact()
    kept = len(lines) - len(doomed)
    return PruneResult(lines, len(doomed), kept, compacting, freed, warnings)


def _ids(repository: Repository, vm: str) -> set[str]:
    """Raises `ArchiveNotFound`: a word that means nothing must not look like a VM with nothing to remove."""
    if archive := archive_named(repository, vm):
        raise ArchiveNotFound(
            f"{vm} is an archive: what is judged is all archives of a VM.",
            f"Name the VM: {archive.comment.vm_name}; `borg delete` removes one archive.",
        )
    return {series.vm_id for series in series_named(repository, vm)}


class _Judge:
    """The rules for one series, and what they make of its archives."""

    def __init__(
        self,
        repository: Repository,
        config: Config,
        known: Known | None,
        now: datetime,
        given: Retention | None,
        series: Series,
        warnings: list[str],
    ) -> None:
        self.damaged: dict[str, str] = {}
        self._repository = repository
        self._config = config
        self._now = now
        self._given = given
        self._series = series
        self._warnings = warnings
        here = known is not None and series.is_of(known.id, known.host)
        self._member = known.members.get(series.vm_id) if known and here else None
        self._gone = here and self._member is None
        self._traits: dict[str, Traits | None] = {}
        self._rules = self._rules_of_today()

    @property
    def compact(self) -> bool:
        """Whether the rules want the space given back: of the configuration, whatever --keep-... says."""
        return self._rules[0].compact

    def verdicts(self) -> list[Verdict]:
        """What becomes of each archive, newest first."""
        chosen = [self._given] if self._given else self._rules
        verdicts = self._kindest(chosen)
        if len({verdict.keep for verdict in verdicts}) == 2:  # where all goes nothing is relied on
            self._look_for_damage()
            verdicts = self._kindest(chosen)
        return verdicts if self._given else [self._as_then(verdict, verdicts) for verdict in verdicts]

    def _kindest(self, rules: Sequence[Retention]) -> list[Verdict]:
        """What any of the rules keeps stays."""
        judged = [self._apply(one) for one in rules]
        return [next((v for v in found if v.keep), found[0]) for found in zip(*judged, strict=True)]

    def _apply(self, rules: Retention) -> list[Verdict]:
        return apply_rules(self._series, rules, self._now, gone=self._gone, damaged=self.damaged)

    def _look_for_damage(self) -> None:
        """Go back to the newest archive that can be restored and whose change tracking was right."""
        for info in self._series.newest_first:
            damage = self._repository.damage(info.name)
            if damage:
                self.damaged[info.name] = damage
                self._warnings.append(f"{info.name} cannot be restored whole: {damage}.")
            elif not info.comment.marked:
                return

    def _as_then(self, verdict: Verdict, verdicts: Sequence[Verdict]) -> Verdict:
        """An archive that is to go, by the rules that its VM had when it was made: tags may be lost since."""
        if verdict.keep or not any(o.retention and _asks_more(o.vms) for o in self._config.overrides):
            return verdict
        for rules in self._rules_of(verdict.archive):
            if rules in self._rules:
                continue
            then = self._apply(rules)[verdicts.index(verdict)]
            if then.keep:
                return Verdict(verdict.archive, True, f"{then.rule} (by the VM's tags of then)")
        return verdict

    def _rules_of_today(self) -> list[Retention]:
        """The rules of the VM; without the engine those of its newest archive, and what nobody knows."""
        if self._member is not None:
            return [self._member.settings.retention]
        chosen = self._rules_of(self._series.newest)
        overrides = self._config.overrides
        unknown = [o.retention for o in overrides if o.retention and (o.vms.search or o.vms.data_centers)]
        if unknown:
            self._warnings.append(
                f"{self._series.vm_name}: without the engine nobody knows whether overrides by search or "
                "data center apply; what any of them keeps stays"
            )
        return [*chosen, *unknown]

    def _rules_of(self, info: ArchiveInfo) -> list[Retention]:
        """The rules that fit the VM as it was when the archive was made; where that cannot be read, all that
        might."""
        traits = self._traits_of(info)
        if traits is not None:
            return [settings_for(self._config, traits, {}).retention]
        named = Traits(info.comment.vm_id, info.comment.vm_name)
        doubtful = [o.retention for o in self._config.overrides if o.retention and _asks_more(o.vms)]
        return [settings_for(self._config, named, {}).retention, *doubtful]

    def _traits_of(self, info: ArchiveInfo) -> Traits | None:
        if info.name not in self._traits:
            self._traits[info.name] = self._read_traits(info)
        return self._traits[info.name]

    def _read_traits(self, info: ArchiveInfo) -> Traits | None:
        if not any(o.retention and _asks_more(o.vms) for o in self._config.overrides):
            return Traits(info.comment.vm_id, info.comment.vm_name)
        try:
            vm = self._repository.archive(info.name).manifest.vm
        except BorgOvirtError as error:
            self._warnings.append(f"{info.name}: {error.message}")
            return None
        return Traits(vm.id, vm.name, frozenset(vm.tags), vm.cluster or "", vm.data_center or "")


def _asks_more(rules: object) -> bool:
    """Whether the rules ask for what the archive's comment does not tell."""
    return any(getattr(rules, name) for name in ("tags", "clusters", "data_centers", "search"))


def _line(verdict: Verdict, series: Series, damaged: Mapping[str, str]) -> PruneLine:
    info = verdict.archive
    return PruneLine(
        archive=info.name,
        vm=info.comment.vm_name,
        vm_id=info.comment.vm_id,
        engine=series.engine,
        mode=info.comment.mode,
        time=info.time,
        keep=verdict.keep,
        rule=verdict.rule,
        damage=damaged.get(info.name),
    )
