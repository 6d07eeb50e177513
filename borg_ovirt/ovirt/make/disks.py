"""Disks that a restore makes: created with the ids, size and form of the archive, removed when it fails."""

from __future__ import annotations

from dataclasses import dataclass

from borg_ovirt.errors import EngineRefused, NotAuthorized
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.ovirt.facts.vm import read_disk
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import NotFound, Unclear
from borg_ovirt.ovirt.session.probes import prove_ending
from borg_ovirt.ovirt.tracked.journal import Entry, Journal


@dataclass(frozen=True)
class NewDisk:
    """A disk to make. Sizes in bytes."""

    id: str
    image_id: str
    alias: str
    size: int
    format: str
    """`cow` or `raw`."""
    sparse: bool
    storage_domain_id: str
    description: str = ""
    backup: str = "none"
    initial_size: int | None = None
    """Block domains: first size of the volume of a sparse disk."""
    wipe_after_delete: bool = False
    propagate_errors: bool = False


def create_disk(engine: Engine, journal: Journal, new: NewDisk) -> Entry:
    """Make a disk and wait until it is `ok`; it stands in the journal until the entry is `done()`."""
    prove_ending(engine)  # what cannot be filled and ended is not begun
    t = types()
    disk = t.Disk(
        id=new.id,
        image_id=new.image_id,
        alias=new.alias,
        name=new.alias,
        description=new.description,
        provisioned_size=new.size,
        initial_size=new.initial_size,
        format=t.DiskFormat.RAW if new.format == "raw" else t.DiskFormat.COW,
        sparse=new.sparse,
        backup=t.DiskBackup.INCREMENTAL if new.backup == "incremental" else t.DiskBackup.NONE,
        wipe_after_delete=new.wipe_after_delete,
        propagate_errors=new.propagate_errors,
        storage_domains=[t.StorageDomain(id=new.storage_domain_id)],
    )
    entry = journal.intend("disk", id=new.id, alias=new.alias)
    try:
        engine.call(f"make the disk {new.alias}", lambda s: s.disks_service().add(disk), once=True)
    except Unclear:  # it may be there all the same; to ask again would only be told that the id is taken
        if engine.patience.look(lambda: disk_exists(engine, new.id) or None) is None:
            raise
    except (EngineRefused, NotAuthorized):
        entry.done()
        raise
    entry.made(new.id)
    try:
        wait_ok(engine, new.id, new.alias)
    except BaseException:
        remove_disk(engine, new.id)
        entry.done()
        raise
    return entry


def wait_ok(engine: Engine, disk_id: str, alias: str) -> DiskFacts:
    """Wait until a disk is unlocked. `EngineRefused` when it vanished or became illegal."""

    def probe() -> DiskFacts | None:
        try:
            facts = read_disk(engine, disk_id)
        except NotFound:
            raise EngineRefused(
                f"The engine could not keep the disk {alias}: it vanished.",
                "The engine's events tell why; often the storage domain is full.",
            ) from None
        if facts.status == "illegal":
            raise EngineRefused(f"The disk {alias} became illegal.", "The engine's events tell why.")
        return facts if facts.status == "ok" else None

    return engine.patience.wait(f"the disk {alias} to be ok", probe, engine.patience.machine)


def remove_disk(engine: Engine, disk_id: str) -> None:
    """Remove a disk and wait until it is gone; a disk that is not there is fine."""
    try:
        engine.call(
            f"remove the disk {disk_id}",
            lambda s: s.disks_service().disk_service(disk_id).remove(),
            wait_for_locks=engine.patience.lock,
        )
    except NotFound:
        return

    def probe() -> bool | None:
        return True if not disk_exists(engine, disk_id) else None

    engine.patience.wait(f"the disk {disk_id} to be removed", probe, engine.patience.machine)


def disk_exists(engine: Engine, disk_id: str) -> bool:
    """Whether the engine knows a disk of that id."""
    try:
        read_disk(engine, disk_id)
    except NotFound:
        return False
    return True
