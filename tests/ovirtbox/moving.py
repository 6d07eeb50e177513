"""Disks moved to another storage domain, while their VMs are down."""

from __future__ import annotations

import os
import shutil

from ovirtbox import jobs
from ovirtbox.disks import (
    layer_path,
    refuse_full_domain,
    refuse_illegal,
    refuse_inactive_domain,
    refuse_locked,
)
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL
from ovirtbox.faults import conflict
from ovirtbox.locks import DISK, exclusive
from ovirtbox.model import Disk, Job, StorageDomain
from ovirtbox.processes import tool
from ovirtbox.volumes import EXTENT, round_up

MOVE = "Cannot move Virtual Disk"


def move(engine: EngineCore, disk: Disk, target: StorageDomain) -> Job:
    """A cold move: every layer is copied to the other domain."""
    world = engine.world
    with world.lock:
        vms = list(world.vms_of_disk(disk.id))
        if any(vm.status != "down" for vm in vms):
            raise conflict(f"{MOVE}. At least one of the VMs is not down.")
        refuse_locked(MOVE, [disk])
        refuse_illegal(MOVE, [disk])
        source = world.domains[disk.domain]
        for domain in (source, target):
            refuse_inactive_domain(MOVE, domain)
        refuse_full_domain(engine, MOVE, target, sum(engine.data.actual_size(x) for x in disk.layers))
        busy = f"Disk {disk.alias} is being moved or copied."
        engine.locks.take(f"move {disk.id}", MOVE, exclusive(DISK, disk.id, busy))
        for layer in disk.layers:
            layer.status = "locked"
        job = jobs.start(engine, f"Moving disk {disk.alias}")

    def done(error: Exception | None) -> None:
        engine.locks.drop(f"move {disk.id}")
        jobs.finish(engine, job, error is None)
        for layer in disk.layers:
            layer.status = "ok"
        if error is None:
            disk.domain = target.id
            text = f"User {USER} finished moving disk {disk.alias} to domain {target.name}."
            engine.log(2010, NORMAL, text, disk_id=disk.id)
        else:
            text = f"User {USER} has failed to move disk {disk.alias} to domain {target.name}."
            engine.log(2011, ERROR, text, disk_id=disk.id)

    engine.background(1, lambda: relocate(disk, target), done)
    return job


def relocate(disk: Disk, target: StorageDomain) -> None:
    """Copy the volumes of a disk to another domain, bitmaps included, and drop the old ones."""
    old = disk.layers[0].path.parent
    for layer in disk.layers:
        path = layer_path(target, disk.id, layer.image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        tool("cp", "--sparse=always", layer.path, path)
        layer.path = path
        layer.volume_size = 0
        if target.kind == "block":
            layer.volume_size = round_up(path.stat().st_size, EXTENT)
            os.truncate(path, layer.volume_size)
        elif layer.format == "raw":
            os.truncate(path, layer.virtual_size)
    shutil.rmtree(old)
