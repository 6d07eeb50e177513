"""A host that crashes, and comes back (or is confirmed to be dead) a while later.

Its guests die, and what their backups and transfers hold cannot be ended while it is away: seen to stay for
ten minutes are the locks of transfers, for ever the scratch disks of live backups and the snapshots of hybrid
ones. What is lost of the rest was read: StartVmBackupCommand (removal of scratch disks is best effort),
HybridBackupCommand (a merge that fails is an event), TransferDiskImageCommand (stopImageTransferSession is
asked for again until the host answers).
"""

from __future__ import annotations

from collections.abc import Callable

from ovirtbox import backups
from ovirtbox.engine import EngineCore
from ovirtbox.model import Backup, Host, Vm

LeaveScratch = Callable[[str, Backup], None]


def crash(engine: EngineCore, host: Host, leave_scratch: LeaveScratch) -> list[Vm]:
    """It loses power: its guests with it, the daemon's tickets, and every change record. Returns its VMs."""
    world = engine.world
    with world.lock:
        host.status = "non_responsive"
        vms = [vm for vm in world.vms.values() if vm.host == host.id]
        for transfer in world.transfers.values():
            transfer.stuck = transfer.stuck or transfer.host == host.id
    for vm in vms:
        engine.data.crash_vm(vm.id)
        engine.data.freeze_truth(f"crash of {vm.id}", [world.disks[a.disk_id] for a in vm.attachments])
        with world.lock:
            vm.status = "unknown"
            for backup in backups.of_vm(engine, vm.id):
                if backup.kind == "live" and backup.phase not in backups.OVER:
                    for disk_id in backup.disks:
                        name = (
                            f"VM {vm.name} backup {backup.id} scratch disk for {world.disks[disk_id].alias}"
                        )
                        leave_scratch(name, backup)
                    backups.fail(engine, backup, "its host does not respond")
    engine.data.restart_imageio()
    return vms


def come_back(engine: EngineCore, host: Host, vms: list[Vm]) -> None:
    """It answers again, or somebody confirmed that it was rebooted: its guests are down."""
    with engine.world.lock:
        host.status = "up"
        for vm in vms:
            vm.status, vm.host, vm.started = "down", None, None
            for call in engine.on_vm_down:
                call(vm)
        for transfer in engine.world.transfers.values():
            transfer.stuck = False
