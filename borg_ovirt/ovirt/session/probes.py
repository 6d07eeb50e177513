"""Questions that show whether the user has the rights a backup needs, and which disks keep bitmaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.faults import NotFound

_READS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("VMs", lambda s: s.vms_service()),
    ("disks", lambda s: s.disks_service()),
    ("clusters", lambda s: s.clusters_service()),
    ("data centers", lambda s: s.data_centers_service()),
    ("storage domains", lambda s: s.storage_domains_service()),
    ("events", lambda s: s.events_service()),
    ("image transfers", lambda s: s.image_transfers_service()),
)


@dataclass(frozen=True)
class DiskFlag:
    """A qcow2 image disk and whether it keeps bitmaps."""

    id: str
    alias: str
    incremental: bool


def read_rights(engine: Engine) -> Iterator[tuple[str, int | None, str]]:
    """Each collection that a backup reads: name, how many the user sees (None: refused), the refusal."""
    for name, service in _READS:
        try:
            found = engine.call(f"list the {name}", lambda s, of=service: of(s).list())  # type: ignore[misc]
        except BorgOvirtError as error:
            yield name, None, error.message
        else:
            yield name, len(found or ()), ""


def backup_rights(engine: Engine, vm_id: str) -> str | None:
    """Whether backups and checkpoints of a VM can be read: None, or what refuses it."""
    for name in ("backups", "checkpoints"):
        try:
            engine.call(
                f"list the {name} of a VM",
                lambda s, of=name: getattr(s.vms_service().vm_service(vm_id), f"{of}_service")().list(),  # type: ignore[misc]
            )
        except NotFound:
            return f"this engine has no {name}: it is older than 4.4"
        except BorgOvirtError as error:
            return error.message
    return None


def disk_flags(engine: Engine) -> list[DiskFlag]:
    """The qcow2 image disks of all VMs."""
    found = engine.call("list the disks", lambda s: s.disks_service().list()) or ()
    return [
        DiskFlag(d.id, d.alias or d.name or d.id, str(d.backup or "none") == "incremental")
        for d in found
        if str(d.storage_type or "") == "image"
        and str(d.format or "") == "cow"
        and str(d.content_type or "data") == "data"
    ]
