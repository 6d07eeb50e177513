"""Disks that a restore makes: created with the ids, size and form of the archive, removed when it fails."""

from __future__ import annotations

from dataclasses import dataclass

from borg_ovirt.errors import EngineRefused
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.ovirt.facts.vm import read_disk
from borg_ovirt.ovirt.make.made import Made
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.session.probes import prove_ending
from borg_ovirt.ovirt.tracked.journal import Journal


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
    quota: str | None = None
    """Its id; None leaves it to the engine."""
    fresh: bool = True
    """The id is new: no disk of anybody else can have it."""


class MadeDisk(Made):
    """A disk that is made out of an archive."""

    def __init__(self, engine: Engine, journal: Journal, new: NewDisk) -> None:
        super().__init__(engine, journal, "disk", new.id, f"disk {new.alias}", fresh=new.fresh)
        self._new = new

    def make(self) -> None:
        """Make it and wait until it is `ok`."""
        prove_ending(self._engine)  # what cannot be filled and ended is not begun
        new, t = self._new, types()
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
            quota=t.Quota(id=new.quota) if new.quota else None,
        )
        self._request(f"make the {self.name}", lambda s: s.disks_service().add(disk), alias=new.alias)
        wait_ok(self._engine, new.id, new.alias)

    def exists(self) -> bool:
        return disk_exists(self._engine, self.id)

    def _remove(self) -> None:
        remove_disk(self._engine, self.id)


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
    except EngineRefused:
        # One that goes at this moment, with its VM, is a NullPointerException. [seen on 4.5.8]
        if disk_exists(engine, disk_id):
            raise
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
