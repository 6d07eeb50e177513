"""VMs: started, stopped, frozen, changed and removed by the engine's rules."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator

from ovirtbox import disks as disk_rules
from ovirtbox import jobs
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL
from ovirtbox.faults import Fault, bad, conflict
from ovirtbox.locks import VM, exclusive
from ovirtbox.model import BLANK, Disk, Job, Vm
from ovirtbox.snapshots import is_during_backup

RUN = "Cannot run VM"
STOP = "Cannot stop VM"
SHUTDOWN = "Cannot shutdown VM"
REMOVE = "Cannot remove VM"

AGENT = b"a guest agent is installed here"
"""What stands at the start of a disk makes a guest with an agent, whoever made the VM."""
DURING_BACKUP = "The VM is during a backup operation."


@contextlib.contextmanager
def as_action() -> Iterator[None]:
    """A refusal of an action comes wrapped in the action."""
    try:
        yield
    except Fault as fault:
        fault.bare = False
        raise


def plugged_disks(engine: EngineCore, vm: Vm) -> list[Disk]:
    """What the guest sees, in the order of attachment."""
    return [engine.world.disks[a.disk_id] for a in vm.attachments if a.active]


def start(engine: EngineCore, vm: Vm) -> Job:
    with engine.world.lock:
        if vm.status == "paused":
            vm.status = "up"
            return jobs.start(engine, f"Launching VM {vm.name}")
        if vm.status not in ("down", "suspended"):
            raise conflict(f"{RUN} because the VM is in {disk_rules.status_text(vm)} status.")
        if is_during_backup(engine, vm) and not _during_hybrid_backup(engine, vm):
            raise conflict(f"{RUN}. {DURING_BACKUP}")
        disk_rules.refuse_busy_snapshots(RUN, vm)
        disks = plugged_disks(engine, vm)
        disk_rules.refuse_locked(RUN, disks)
        disk_rules.refuse_illegal(RUN, disks)
        for disk in disks:
            if disk.storage_type == "image":
                disk_rules.refuse_inactive_domain(RUN, engine.world.domains[disk.domain])
        owner = f"run {vm.id}"
        engine.locks.take(owner, RUN, exclusive(VM, vm.id))
        host = next(h for h in engine.world.hosts.values() if h.status == "up" and h.cluster == vm.cluster)
        vm.status = "wait_for_launch"
        vm.host = host.id
        engine.log(150, NORMAL, f"Starting VM {vm.name} was initiated by {USER}.", vm_id=vm.id)
        job = jobs.start(engine, f"Launching VM {vm.name}")

    def power_up() -> None:
        images = [d for d in disks if d.storage_type == "image"]
        vm.agent = vm.agent or any(_holds_agent(disk) for disk in images)
        engine.data.start_vm(vm, images)

    def done(error: Exception | None) -> None:
        engine.locks.drop(owner)
        jobs.finish(engine, job, error is None)
        if error is not None:
            vm.status, vm.host = "down", None
            engine.log(119, ERROR, f"VM {vm.name} is down with error. {error}.", vm_id=vm.id)
            return
        vm.status, vm.started = "powering_up", engine.clock.now()
        engine.clock.after(1, up)

    def up() -> None:
        with engine.world.lock:
            if vm.status == "powering_up":
                vm.status = "up"
                text = f"VM {vm.name} started on Host {host.name}"
                engine.log(32, NORMAL, text, vm_id=vm.id, correlation_id=job.correlation_id)

    engine.background(1, power_up, done)
    return job


def _holds_agent(disk: Disk) -> bool:
    """Read before it runs, through the whole chain."""
    found = subprocess.run(
        ["qemu-io", "-r", "-c", f"read -v 0 {len(AGENT)}", str(disk.active.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = re.findall(r"^[0-9a-f]+: ((?: [0-9a-f]{2})+)", found.stdout, re.MULTILINE)
    dump = "".join(rows)
    return bytes.fromhex(dump) == AGENT


def _during_hybrid_backup(engine: EngineCore, vm: Vm) -> bool:
    return any(b.vm_id == vm.id and b.kind == "hybrid" for b in engine.world.backups.values())


def stop(engine: EngineCore, vm: Vm, *, gently: bool = False, force: bool = False) -> Job:
    """Power off, or ask the guest to shut down."""
    action = SHUTDOWN if gently else STOP
    with engine.world.lock:
        if is_during_backup(engine, vm) and not force and not _during_hybrid_backup(engine, vm):
            raise conflict(f"{action}. {DURING_BACKUP}")
        if vm.status == "down":
            return jobs.start(engine, f"Stopping VM {vm.name}")  # nothing to do is no error
        if vm.status == "image_locked":
            raise conflict(f"{action}. VM is not running.")
        disk_rules.refuse_busy_snapshots(action, vm)
        owner = f"stop {vm.id}"
        engine.locks.take(owner, action, exclusive(VM, vm.id))
        vm.status = "powering_down"
        verb = "shutdown initiated" if gently else "powering off initiated"
        engine.log(73 if gently else 33, NORMAL, f"VM {verb} by {USER} on VM {vm.name}.", vm_id=vm.id)
        job = jobs.start(engine, f"{'Shutting down' if gently else 'Stopping'} VM {vm.name}")

    def done(error: Exception | None) -> None:
        engine.locks.drop(owner)
        jobs.finish(engine, job, error is None)
        vm.status, vm.host, vm.stopped = "down", None, engine.clock.now()
        vm.generation += 1
        engine.log(61, NORMAL, f"VM {vm.name} is down. Exit message: User shut down", vm_id=vm.id)
        for call in engine.on_vm_down:
            call(vm)

    engine.background(2 if gently else 1, lambda: engine.data.stop_vm(vm.id), done)
    return job


def freeze(engine: EngineCore, vm: Vm, *, thaw: bool = False) -> None:
    """The guest agent freezes or thaws all file systems; without one the host says so."""
    verb = "thaw" if thaw else "freeze"
    with engine.world.lock:
        if vm.status != "up":
            shown = disk_rules.status_text(vm)
            raise conflict(f"Cannot {verb} VM because the VM is in {shown} status.")
        if not vm.agent:
            raise bad(f"Unable to {verb} guest filesystems")
        if vm.frozen and not thaw:  # read in QEMU's agent: frozen, it takes no command but to thaw
            raise bad(f"Unable to {verb} guest filesystems")
        vm.frozen = not thaw
        code = 10768 if thaw else 10767
        done = "thawed" if thaw else "frozen"
        text = f"Guest filesystems on VM {vm.name} have been {done} successfully."
        engine.log(code, NORMAL, text, vm_id=vm.id)


def remove(engine: EngineCore, vm: Vm, *, detach_only: bool = False) -> Job:
    """Remove the VM; its disks go too unless they are only to be detached."""
    world = engine.world
    with world.lock:
        if vm.delete_protected:
            raise conflict(
                f"{REMOVE}. Delete protection is enabled."
                " In order to delete, disable Delete protection first."
            )
        disks = [world.disks[a.disk_id] for a in vm.attachments]
        if detach_only and vm.template != BLANK:
            raise conflict(f"{REMOVE} with detaching disks, VM is based from template.")
        if detach_only and any(len(disk.layers) > 1 for disk in disks):
            raise conflict(f"{REMOVE} with detaching disks, snapshots exist.")
        if vm.status == "suspended":
            raise conflict("Cannot remove VM that its state is not down.\n-Please stop the VM first.")
        if vm.status not in ("down", "unassigned", "image_locked"):
            raise conflict(f"{REMOVE}. VM is running.")
        disk_rules.refuse_busy_snapshots(REMOVE, vm)
        disk_rules.refuse_locked(REMOVE, [disk for disk in disks if not disk.shareable])
        if vm.status == "image_locked":
            raise conflict(f"{REMOVE}: VM is locked. Please try again in a few minutes.")
        if is_during_backup(engine, vm):
            raise conflict(f"{REMOVE}. {DURING_BACKUP}")
        engine.locks.check(REMOVE, exclusive(VM, vm.id), *(exclusive("disk", d.id) for d in disks))
        job = jobs.start(engine, f"Removing VM {vm.name}")
        kept = [d for d in disks if detach_only or d.shareable or d.storage_type != "image"]
        for disk in kept:
            if disk.layers and not disk.shareable:
                disk.active.snapshot_id = None
        for disk in disks:
            for call in engine.on_disk_detached:
                call(vm, disk)
        vm.attachments.clear()
        world.vms.pop(vm.id)
        world.checkpoints.pop(vm.id, None)
        for disk in disks:
            if disk not in kept:
                disk_rules.destroy(engine, disk)
        engine.log(113, NORMAL, f"VM {vm.name} was successfully removed by {USER}.")
        jobs.finish(engine, job)
        return job
