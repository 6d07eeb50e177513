"""Looks for whatever would make a backup fail tonight: each finding says what to do about it."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

from borg_ovirt import __version__
from borg_ovirt.blocks import MiB
from borg_ovirt.config.types import Room
from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.health.doctor_repository import look_at_repository
from borg_ovirt.jobs.health.doctor_way import look_at_way
from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.ovirt.facts.inventory import domain_room, engine_time, list_hosts
from borg_ovirt.ovirt.facts.storage import list_clusters, list_domains
from borg_ovirt.ovirt.facts.vm import list_vms
from borg_ovirt.ovirt.make.disks import MadeDisk, NewDisk
from borg_ovirt.ovirt.session.certificate import certificate_end
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.probes import backup_rights, disk_flags, read_rights
from borg_ovirt.ovirt.tracked.cleanup import leftovers
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.repository.open import Repository
from borg_ovirt.repository.version import check_borg_version
from borg_ovirt.units import format_duration, format_size

_SKEW = timedelta(seconds=60)
_SHOWN = 5


@dataclass(frozen=True)
class DoctorPlan:
    """What to look at."""

    access: EngineAccess | None
    repositories: dict[str, Callable[[], AbstractContextManager[Repository]]]
    """Name -> opens it for reading."""
    state: Path
    min_free: Room | None = None
    host_port: int = 54322
    proxy_port: int = 54323
    probe_write: bool = False
    probe_domain: str | None = None


def doctor(plan: DoctorPlan) -> Iterator[Finding]:
    """Every check, one after the other; one that fails spares those that need it."""
    yield from _machine(plan)
    if plan.access is None:
        yield warn("engine", "no engine is given", "Write `engines` in the configuration, or use --url.")
    else:
        yield from _engine(plan, plan.access)
    if not plan.repositories:
        yield warn("repository", "none is given", "Write `repositories` in the configuration, or name one.")
    for name, opener in plan.repositories.items():
        yield from look_at_repository(name, opener)


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


def _engine(plan: DoctorPlan, access: EngineAccess) -> Iterator[Finding]:
    way = list(look_at_way(access))
    yield from way
    if any(finding.about == "web proxy" and finding.status == "failure" for finding in way):
        return
    try:
        with Engine(access) as engine:
            yield ok("login", f"{access.username} at {engine.host}")
            yield from _logged_in(plan, engine)
    except BorgOvirtError as error:
        yield failed("login", error.message, error.hint)


def _logged_in(plan: DoctorPlan, engine: Engine) -> Iterator[Finding]:
    yield _version(engine)
    yield from _levels(engine)
    yield _clock(engine)
    yield from _rights(engine)
    yield from _ports(plan, engine)
    yield _flags(engine)
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


def _rights(engine: Engine) -> Iterator[Finding]:
    counts = []
    for name, count, refusal in read_rights(engine):
        if count is None:
            yield failed("rights", f"{name} cannot be listed: {refusal}", "See docs/operating.md, The role.")
        else:
            counts.append(f"{count} {name}")
    yield ok("rights", f"sees {', '.join(counts)}")
    vms = list_vms(engine)
    if not vms:
        yield warn(
            "rights", "the user sees no VM", "Give it the role on the data center, or on the VMs to back up."
        )
        return
    refused = backup_rights(engine, vms[0].id)
    if refused:
        yield failed("rights", f"backups cannot be asked for: {refused}", "See docs/operating.md, The role.")
    else:
        yield ok("rights", "backups and checkpoints can be read")


def _ports(plan: DoctorPlan, engine: Engine) -> Iterator[Finding]:
    proxy = _reach(engine.host, plan.proxy_port, engine.ca_file)
    hosts = [host for host in list_hosts(engine) if host.status == "up"]
    unreached = 0
    for host in hosts:
        problem = _reach(host.address, plan.host_port, engine.ca_file)
        name = f"{host.name} ({host.address}:{plan.host_port})"
        if problem is None:
            yield ok("host", f"{name} answers")
            continue
        unreached += 1
        text = f"{name}: {problem}"
        if proxy is None:
            yield warn("host", text, "Its disks come through the engine's proxy: slower. Open the port.")
        else:
            yield failed("host", text, "Open the port to this machine.")
    where = f"{engine.host}:{plan.proxy_port}"
    if proxy is None:
        yield ok("proxy", f"{where} answers")
    elif hosts and not unreached:
        yield warn("proxy", f"{where}: {proxy}", "Not needed while every host can be reached directly.")
    else:
        yield failed("proxy", f"{where}: {proxy}", "Open the port, or that of the hosts.")
    if not hosts:
        yield warn("host", "no host is up, or the user sees none", "A backup needs a host that is up.")


def _reach(host: str, port: int, ca_file: str | None) -> str | None:
    try:
        certificate_end(host, port, ca_file)
    except BorgOvirtError as error:
        return error.message
    return None


def _flags(engine: Engine) -> Finding:
    disks = disk_flags(engine)
    without = [disk.alias for disk in disks if not disk.incremental]
    if not without:
        return ok("change tracking", f"on for all {len(disks)} qcow2 disks")
    names = ", ".join(sorted(without)[:_SHOWN]) + (" ..." if len(without) > _SHOWN else "")
    return warn(
        "change tracking",
        f"off for {len(without)} of {len(disks)} qcow2 disks ({names}): read whole each time",
        "In the web interface: Storage, Disks, Edit, Enable Incremental Backup; or PUT /disks/ID with "
        "<disk><backup>incremental</backup></disk>.",
    )


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
    if found:
        return warn(
            "leftovers",
            f"{len(found)} of runs that died",
            "The next run removes them, or `borg-ovirt cleanup`.",
        )
    return ok("leftovers", "none")


def _probe_write(plan: DoctorPlan, engine: Engine) -> Finding:
    """Make and remove a disk: the one right that no question proves."""
    usable = [d for d in list_domains(engine) if d.status == "active" and plan.probe_domain in (None, d.name)]
    if not usable:
        return failed("write", f"no active storage domain {plan.probe_domain or ''}".rstrip(), None)
    domain = max(usable, key=lambda d: d.available)
    with Journal(plan.state, engine.instance_id) as journal:
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
