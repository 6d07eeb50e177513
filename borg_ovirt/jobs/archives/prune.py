"""Removes archives that no rule keeps: for each VM and mode by the exact VM id, never by a name.

Nothing that others made is touched, nothing that is held, and never the newest archive of a VM that exists.
It works without an engine too: then no VM counts as gone, and the last archive tells what the rules ask of
a VM (its tags, its cluster).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from borg_ovirt.config.schema import Config, Retention
from borg_ovirt.config.select import Traits, settings_for
from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.archives.retention import judge, judge_gone
from borg_ovirt.jobs.selection import Member
from borg_ovirt.repository.catalogue import ArchiveInfo
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.retention import Verdict


@dataclass(frozen=True)
class Known:
    """What the engine says: which VMs it has. Only archives of this engine are judged by it."""

    host: str
    members: Mapping[str, Member]


@dataclass(frozen=True)
class PruneLine:
    """What happens to one archive, and why."""

    archive: str
    vm: str
    vm_id: str
    mode: str
    time: datetime
    keep: bool
    rule: str
    """What keeps it; empty if nothing does."""


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
    vm: str | None = None,
    dry_run: bool = False,
    compact: bool | None = None,
) -> PruneResult:
    """Judge every archive of ours (or those of one VM, by name or id) and remove what no rule keeps.

    `rules` go before the configuration's. With `compact` the space is given back at once; None leaves that
    to the rules.
    """
    warnings: list[str] = []
    verdicts: list[Verdict] = []
    for series in _series(repository.archives(), vm):
        verdicts += _judge_series(repository, config, known, now, series, rules, warnings)
    doomed = [verdict.archive.name for verdict in verdicts if not verdict.keep]
    wish = (rules or config.retention).compact if compact is None else compact
    freed: int | None = 0
    if not dry_run and doomed:
        repository.delete(doomed)
        if wish:
            freed = repository.compact()
    lines = [_line(verdict) for verdict in verdicts]
    done = wish and not dry_run and bool(doomed)
    return PruneResult(lines, len(doomed), len(lines) - len(doomed), done, freed, warnings)


def _series(archives: Collection[ArchiveInfo], vm: str | None) -> list[list[ArchiveInfo]]:
    """The archives of each VM and mode, sorted by the VM's latest name."""
    found: dict[tuple[str, str], list[ArchiveInfo]] = {}
    for info in sorted(archives, key=lambda a: (a.time, a.name)):
        if vm is None or vm.lower() == info.comment.vm_id or vm == info.comment.vm_name:
            found.setdefault((info.comment.vm_id, info.comment.mode), []).append(info)
    return sorted(found.values(), key=lambda s: (s[-1].comment.vm_name, s[-1].comment.vm_id))


def _judge_series(
    repository: Repository,
    config: Config,
    known: Known | None,
    now: datetime,
    series: Sequence[ArchiveInfo],
    rules: Retention | None,
    warnings: list[str],
) -> list[Verdict]:
    newest = series[-1]
    member = known.members.get(newest.comment.vm_id) if known else None
    if rules is not None:
        choices = [rules]
    elif member is not None:
        choices = [member.settings.retention]
    else:
        choices = _rules_from_archive(repository, config, newest, warnings)
    gone = known is not None and member is None and newest.comment.engine == known.host
    judged = [(judge_gone if gone else judge)(series, choice, now) for choice in choices]
    return [_kindest(verdicts) for verdicts in zip(*judged, strict=True)]


def _kindest(verdicts: Sequence[Verdict]) -> Verdict:
    return next((verdict for verdict in verdicts if verdict.keep), verdicts[0])


def _rules_from_archive(
    repository: Repository, config: Config, newest: ArchiveInfo, warnings: list[str]
) -> list[Retention]:
    """The rules for a VM that no engine tells about.

    Whether a search of the engine would find it nobody knows, so what any of the rules in question keeps
    stays.
    """
    comment = newest.comment
    traits = Traits(comment.vm_id, comment.vm_name)
    doubtful = [o.retention for o in config.overrides if o.retention and _asks_more(o.vms)]
    if doubtful:
        try:
            vm = repository.archive(newest.name).manifest.vm
            traits = Traits(vm.id, vm.name, frozenset(vm.tags), vm.cluster or "", vm.data_center or "")
        except BorgOvirtError as error:
            warnings.append(f"{newest.name}: {error.message}")
    chosen = settings_for(config, traits, {}).retention
    unknown = [o.retention for o in config.overrides if o.retention and (o.vms.search or o.vms.data_centers)]
    if unknown:
        warnings.append(
            f"{comment.vm_name}: without the engine nobody knows whether overrides by search or data center "
            "apply; what any of them keeps stays"
        )
    return [chosen, *unknown]


def _asks_more(rules: object) -> bool:
    return any(getattr(rules, name) for name in ("tags", "clusters", "data_centers", "search"))


def _line(verdict: Verdict) -> PruneLine:
    info = verdict.archive
    return PruneLine(
        archive=info.name,
        vm=info.comment.vm_name,
        vm_id=info.comment.vm_id,
        mode=info.comment.mode,
        time=info.time,
        keep=verdict.keep,
        rule=verdict.rule,
    )
