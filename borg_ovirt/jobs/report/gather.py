"""Puts a report together: what the repositories hold, judged by the engine's VMs where it answers.

Without the engine each VM that has archives is judged by what its last archive tells of its tags and cluster.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from borg_ovirt import __version__
from borg_ovirt.config.schema import Config
from borg_ovirt.config.select import Traits, fits, searches_of, selected, settings_for
from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.archives.heat import heats, nights
from borg_ovirt.jobs.health.age import limits
from borg_ovirt.jobs.health.doctor_repository import LookedAt
from borg_ovirt.jobs.health.vms import Protection, judged, protection
from borg_ovirt.jobs.report.held import Held, Looks, read
from borg_ovirt.jobs.report.model import HeldArchive, NightPoint, Report, VmReport
from borg_ovirt.jobs.report.words import retention, why
from borg_ovirt.jobs.selection import EngineId, Member, fleet
from borg_ovirt.ovirt.facts.vm import VmSummary
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.repository.series import Series

WEEKS = timedelta(weeks=4)
"""So far back the charts of VMs go."""
_LATELY = timedelta(days=7)
"""A night of unusual change stays a warning for so long."""


@dataclass(frozen=True)
class ReportPlan:
    """What to look at."""

    config: Config
    access: EngineAccess | None
    """None: the engine is not asked."""
    repositories: Mapping[str, tuple[str, LookedAt]]
    """Name -> location and the rest."""
    state: Path
    looks: Looks


@dataclass(frozen=True)
class _Engine:
    """What is known of an engine's VMs."""

    id: EngineId
    members: Sequence[Member]
    lines: Sequence[Protection]


def gather(plan: ReportPlan, now: datetime) -> Report:
    """Read the repositories, ask the engine, judge. What does not answer is told of."""
    held = {
        name: read(name, where, looked_at, plan.looks, plan.state, now)
        for name, (where, looked_at) in plan.repositories.items()
    }
    found: list[_Engine] = []
    asked: EngineId | None = None
    host = error = None
    if plan.access is not None:
        host = plan.access.host
        try:
            with Engine(plan.access) as engine:
                asked = engine.identity
                members = fleet(engine, plan.config)
                histories = {name: one.history for name, one in held.items() if not one.report.error}
                found.append(_Engine(asked, members, protection(engine, members, histories, now)))
        except BorgOvirtError as failed:
            asked, error = None, str(failed)
    found += _unasked(plan.config, held, asked, now)
    rows = [_row(plan.config, line, one, held[line.repository], now) for one in found for line in one.lines]
    order = {"bad": 0, "warn": 1, "good": 2, "none": 3}
    rows.sort(key=lambda row: order[row.grade])  # within a grade as `vms` has them
    return Report(
        time=now,
        version=__version__,
        host=platform.node(),
        engine=host,
        engine_error=error,
        vms=rows,
        repositories=[one.report for one in held.values()],
    )


def _unasked(
    config: Config, held: Mapping[str, Held], asked: EngineId | None, now: datetime
) -> list[_Engine]:
    """The VMs of engines that were not asked, as their archives have them."""
    every = [series for one in held.values() for series in one.history.series]
    manifests = {name: manifest for one in held.values() for name, manifest in one.manifests.items()}
    engines: dict[EngineId, dict[str, Member]] = {}
    for series in every:
        if asked is not None and series.is_of(*asked):
            continue
        engine = (series.engine_id or "", series.engine)
        last = next((manifests[i.name] for i in series.newest_first if i.name in manifests), None)
        tags = last.vm.tags if last else ()
        cluster, data_center = (last.vm.cluster, last.vm.data_center) if last else (None, None)
        traits = Traits(series.vm_id, series.vm_name, frozenset(tags), cluster or "", data_center or "")
        engines.setdefault(engine, {})[series.vm_id] = _remembered(config, traits)
    histories = {name: one.history for name, one in held.items()}
    return [
        _Engine(engine, list(members.values()), judged(engine, list(members.values()), here, {}, now))
        for engine, members in engines.items()
        if (here := {n: h for n, h in histories.items() if any(s.is_of(*engine) for s in h.series)})
    ]


def _remembered(config: Config, vm: Traits) -> Member:
    """A VM as its last archive tells of it. What a search would find nobody knows: it counts as found."""
    include = config.vms.include.search
    searches = {text: frozenset({vm.id}) if text == include else frozenset() for text in searches_of(config)}
    return Member(
        VmSummary(vm.id, vm.name, "unknown", "", tuple(vm.tags)),
        vm,
        settings_for(config, vm, searches),
        selected(config, vm, searches),
        fits(config.vms.exclude, vm, searches),
    )


def _row(config: Config, line: Protection, engine: _Engine, held: Held, now: datetime) -> VmReport:
    member = next((member for member in engine.members if member.id == line.vm_id), None)
    mine = [s for s in held.history.series if s.vm_id == line.vm_id and s.is_of(*engine.id)]
    points = [point for series in mine for point in _nights(series, now)]
    used = held.usage.vms.get(line.vm_id) if held.usage else None
    rules = member.settings if member else settings_for(config, Traits(line.vm_id, line.vm), {})
    bounds = limits(rules.policy)
    last = held.manifests.get(line.archive or "")
    left_out = [
        f"disk {disk.alias or disk.id} is not in its last archive: {disk.reason}"
        for disk in (last.skipped if last else ())
        if not disk.expected
    ]
    hot = [] if "changes" in rules.policy.expect else _hot(points, now)
    return VmReport(
        protection=line,
        why=why(line, bounds, excluded=bool(member and member.excluded)),
        max_age=bounds.max_age,
        max_proof_age=bounds.max_proof_age,
        unique=used.unique if used else None,
        shared=used.shared if used else None,
        nights=sorted(points, key=lambda point: point.time),
        oldest=min((min(series.times.values()) for series in mine), default=None),
        retention=retention(rules.retention),
        holds=[held_archive for series in mine for held_archive in _holds(series)],
        warnings=[*_wrong(line, held), *hot, *left_out],
        notes=[w for w in (last.warnings if last else ()) if " is skipped: " not in w],
    )


def _nights(series: Series, now: datetime) -> list[NightPoint]:
    known, hot = nights(series.archives), heats(series)
    return [
        NightPoint(
            info.name,
            series.times[info.name],
            info.comment.kind,
            known[info.name].changed if info.name in known else None,
            info.comment.figures.added if info.comment.figures else None,
            hot.get(info.name),
        )
        for info in series.archives
        if series.times[info.name] >= now - WEEKS
    ]


def _holds(series: Series) -> list[HeldArchive]:
    found = []
    for info in series.archives:
        if info.comment.held:
            hold = info.comment.hold
            told = (hold.by, hold.reason, hold.since, hold.until) if hold else ("", "", None, None)
            found.append(HeldArchive(info.name, *told))
    return found


def _wrong(line: Protection, held: Held) -> list[str]:
    damaged = [
        f"{name} cannot be restored whole: {held.history.damaged.get(name, '')}" for name in line.damaged
    ]
    failed = [f"{name} failed its proof" for name in line.failed_proofs if name not in line.damaged]
    return damaged + failed


def _hot(points: Sequence[NightPoint], now: datetime) -> list[str]:
    return [
        f"{point.archive}: {point.heat}"
        for point in points
        if point.heat is not None and point.time >= now - _LATELY
    ]
