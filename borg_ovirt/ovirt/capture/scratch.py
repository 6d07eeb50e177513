"""Scratch disks of live backups: the engine removes them at the end, but not where the host has crashed.

They are disks like others, under the name of their backup, and may be removed as such (seen to stay for ever;
RemoveScratchDisksCommand, DiskOperationsValidator).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.make.disks import remove_disk
from borg_ovirt.ovirt.session.engine import Engine

_NAME = re.compile(r"^VM (?P<vm>.*) backup (?P<backup>[0-9a-f-]{36}) scratch disk for ", re.DOTALL)


@dataclass(frozen=True)
class ScratchDisk:
    """One of a backup."""

    id: str
    vm_name: str
    backup_id: str


def scratch_disks(engine: Engine) -> Iterator[ScratchDisk]:
    """Those of all backups, that go on or are over."""
    for disk in engine.call("list the disks", lambda s: s.disks_service().list()) or ():
        match = _NAME.match(disk.name or disk.alias or "")
        if str(disk.content_type) == "backup_scratch" and match:
            yield ScratchDisk(str(disk.id), match["vm"], match["backup"])


def remove_scratch_disks(engine: Engine, backup_id: str) -> str | None:
    """Remove what a backup that is over left behind; None when nothing is left, else what is and why."""
    try:
        for disk in [d for d in scratch_disks(engine) if d.backup_id == backup_id]:
            try:
                remove_disk(engine, disk.id)
            except BorgOvirtError as error:
                return (
                    f"scratch disk {disk.id} of a live backup of VM {disk.vm_name} is still there:"
                    f" {error.message} Remove it in the engine (Storage, Disks), if that stays so"
                )
    except BorgOvirtError as error:
        return f"whether scratch disks of backup {backup_id} are left is not known: {error.message}"
    return None
