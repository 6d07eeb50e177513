"""Looks for whatever would make a backup fail tonight: each finding says what to do about it."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

from borg_ovirt import __version__
from borg_ovirt.blocks import MiB
from borg_ovirt.config.schema import Config
from borg_ovirt.config.types import Room
from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.health.doctor_files import look_at_files
from borg_ovirt.jobs.health.doctor_ports import look_at_ports
from borg_ovirt.jobs.health.doctor_repository import LookedAt, look_at_repository
from borg_ovirt.jobs.health.doctor_rights import look_at_rights
from borg_ovirt.jobs.health.doctor_selection import Unselected
from borg_ovirt.jobs.health.doctor_way import look_at_way
from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.jobs.notify import missing
from borg_ovirt.ovirt.facts.inventory import domain_room, engine_time, image_disks
from borg_ovirt.ovirt.facts.storage import list_clusters, list_domains
from borg_ovirt.ovirt.make.disks import MadeDisk, NewDisk
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.cleanup import leftovers
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.tracked.tagged import find_tagged
from borg_ovirt.repository.version import check_borg_version
from borg_ovirt.units import format_duration, format_size

_SKEW = timedelta(seconds=60)
_SHOWN = 5
MIXED_LEVEL = (4, 5)
"""From here on a backup takes disks whether or not `backup` is enabled for them."""


@dataclass(frozen=True)
class DoctorPlan:
    """What to look at."""

    access: EngineAccess | None
    repositories: dict[str, LookedAt]
    """By name."""
    state: Path
    config_file: Path | None = None
    secrets: tuple[Path, ...] = ()
    """Files that hold one."""
    min_free: Room | None = None
    host_port: int = 54322
    proxy_port: int | None = None
    """None: what transfers of this engine name."""
    rights: bool = False
    """Prove every right on a VM of each cluster."""
    probe_write: bool = False
    probe_domain: str | None = None
    config: Config | None = None
    """Which VMs are to be backed up; None: nobody asks."""


def doctor(plan: DoctorPlan) -> Iterator[Finding]:
    """Every check, one after the other; one that fails spares those that need it."""
    unselected = Unselected(plan.config) if plan.config is not None else None
    yield from _machine(plan)
    yield from look_at_files(plan.config_file, plan.secrets)
    if plan.config is not None and plan.config.notify and (why := missing()):
        yield warn("notify", why, "pip install 'borg-ovirt[notify]'; then `borg-ovirt config notify-test`.")
    if plan.access is None:
        yield warn("engine", "no engine is given", "Write `engines` in the configuration, or use --url.")
    else:
        yield from _engine(plan, plan.access, unselected)
    if not plan.repositories:
        yield warn("repository", "none is given", "Write `repositories` in the configuration, or name one.")
    for name, looked_at in plan.repositories.items():
        yield from look_at_repository(name, looked_at, plan.state, unselected)


def _machine(plan: DoctorPlan) -> Iterator[Finding]:
    text = (
        f"borg-ovirt {__version__}, Python {platform.python_version()}, BorgBackup {version('borgbackup')}, "
        f"oVirt SDK {version('ovirt-engine-sdk-python')}"
    )
    try:
        check_borg_version()
        yield ok("versions", text)
    except BorgOvirtError as error:
        yield failed("versions", error.message, error.hint)
    above = plan.state
    while not above.exists():
        above = above.parent
    if os.access(above, os.W_OK | os.X_OK):
        yield ok("state directory", str(plan.state))
    else:
        yield failed(
            "state directory", f"{plan.state} cannot be written", "Set BORG_OVIRT_STATE_DIR to one of yours."
        )


def _engine(plan: DoctorPlan, access: EngineAccess, unselected: Unselected | None) -> Iterator[Finding]:
    way = list(look_at_way(access))
    yield from way
    if any(finding.about == "web proxy" and finding.status == "failure" for finding in way):
        return
    try:
        with Engine(access) as engine:
            yield ok("login", f"{access.username} at {engine.host}")
            yield from _logged_in(plan, engine)
            if unselected is not None:
                unselected.ask(engine)
    except BorgOvirtError as error:
        yield failed("login", error.message, error.hint)


def _logged_in(plan: DoctorPlan, engine: Engine) -> Iterator[Finding]:
    yield _version(engine)
    yield from _levels(engine)
    yield _clock(engine)
    yield from look_at_rights(engine, every=plan.rights)
    yield from look_at_ports(engine, plan.host_port, plan.proxy_port)
    yield _tracking(engine)
    yield from _domains(plan, engine)
    yield _leftovers(plan, engine)
    if plan.probe_write:
        yield _probe_write(plan, engine)


def _version(engine: Engine) -> Finding:
    text = f"oVirt {engine.full_version or 'of unknown version'}"
    if (0, 0) < engine.version[:2] < (4, 4):
        return failed(
            "engine",
            f"{text}: no backup API fit for use",
            "VMs are read whole; upgrade for incremental ones.",
        )
    if engine.version[:2] == (4, 4):
        return warn(
            "engine",
            f"{text}: incremental backups of running VMs",
            "4.5 backs up VMs that are down, too.",
        )
    return ok("engine", f"{text}: incremental backups of VMs that run and that are down")


def _levels(engine: Engine) -> Iterator[Finding]:
    for cluster in list_clusters(engine):
        level = "{}.{}".format(*cluster.level)
        text = f"{cluster.name} at level {level}"
        if cluster.level >= (4, 7):
            yield ok("cluster", f"{text}: hybrid backups")
        elif cluster.level >= (4, 5):
            yield ok("cluster", f"{text}: live and cold backups")
        else:
            yield warn(
                "cluster",
                f"{text}: VMs that are down are read whole",
                "Raise its compatibility level to 4.5 or later.",
            )


def _clock(engine: Engine) -> Finding:
    skew = abs(engine_time(engine) - datetime.now(timezone.utc))
    if skew > _SKEW:
        return warn(
            "clock",
            f"this machine and the engine are {format_duration(skew.total_seconds())} apart",
            "Run NTP on both: archives bear these times, and retention goes by them.",
        )
    return ok("clock", "this machine and the engine agree")


def _tracking(engine: Engine) -> Finding:
    """Which disks keep a record of changes: from level 4.5 on all qcow2 ones, whatever `backup` says."""
    disks = image_disks(engine)
    tracked, raw = [d for d in disks if d.format == "cow"], [d for d in disks if d.format != "cow"]
    old = [c for c in list_clusters(engine) if c.level < MIXED_LEVEL]
    without = [disk for disk in tracked if not disk.incremental]
    if old and without:
        names = ", ".join(sorted(disk.alias for disk in without)[:_SHOWN])
        names += " ..." if len(without) > _SHOWN else ""
        return warn(
            "change tracking",
            f"{len(without)} of {len(tracked)} qcow2 disks are not enabled ({names}): in clusters below level"
            f" 4.5 ({', '.join(c.name for c in old)}) such disks are read whole each time",
            "Raise the level; or in the web interface: Storage, Disks, Edit, Enable Incremental Backup.",
        )
    text = f"{len(tracked)} qcow2 disks keep a record of changes"
    if raw:
        text += f"; {len(raw)} raw ones keep none and are read whole each time"
    return ok("change tracking", text)


def _domains(plan: DoctorPlan, engine: Engine) -> Iterator[Finding]:
    rooms = domain_room(engine)
    for domain in list_domains(engine):
        if domain.status not in ("active", ""):
            yield warn("storage domain", f"{domain.name} is {domain.status}", "Its disks cannot be read now.")
            continue
        room = rooms.get(domain.id)
        if room is None:
            continue
        limit = plan.min_free.bytes_of(room.total) if plan.min_free else 0
        text = f"{domain.name}: {format_size(room.available)} of {format_size(room.total)} free"
        if room.available < limit:
            yield failed(
                "storage domain", text, f"{format_size(limit)} must be free for a backup (limits.min_free)."
            )
        else:
            yield ok("storage domain", text)


def _leftovers(plan: DoctorPlan, engine: Engine) -> Finding:
    found = leftovers(plan.state, engine.instance_id)
    living = {path.stem for path in plan.state.glob("*.jsonl")} if plan.state.is_dir() else set()
    others = [str(stray) for stray in find_tagged(engine, living)]
    if found:
        return warn(
            "leftovers",
            f"{len(found)} of runs that died" + (f"; besides {'; '.join(others)}" if others else ""),
            "The next run removes them, or `borg-ovirt cleanup`.",
        )
    if others:
        return warn(
            "leftovers",
            "; ".join(others[:_SHOWN]) + (" ..." if len(others) > _SHOWN else ""),
            "Of a run on another machine, or left by the engine: see `borg-ovirt cleanup`.",
        )
    return ok("leftovers", "none")


def _probe_write(plan: DoctorPlan, engine: Engine) -> Finding:
    """Make and remove a disk: the one right that no question proves."""
    usable = [d for d in list_domains(engine) if d.status == "active" and plan.probe_domain in (None, d.name)]
    if not usable:
        return failed("write", f"no active storage domain {plan.probe_domain or ''}".rstrip(), None)
    domain = max(usable, key=lambda d: d.available)
    with Journal(plan.state, engine.instance_id, engine.run_id) as journal:
        new = NewDisk(
            id=str(uuid.uuid4()),
            image_id=str(uuid.uuid4()),
            alias="borg-ovirt-probe",
            size=MiB,
            format="cow",
            sparse=True,
            storage_domain_id=domain.id,
            description=journal.describe("probe of doctor"),
        )
        disk = MadeDisk(engine, journal, new)
        try:
            try:
                disk.make()
            finally:
                disk.remove()
        except BorgOvirtError as error:
            return failed("write", f"no disk could be made on {domain.name}: {error.message}", error.hint)
    return ok("write", f"a disk was made on {domain.name} and removed: restores can be")
