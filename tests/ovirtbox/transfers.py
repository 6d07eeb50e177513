"""Image transfers: what starts one, the phases it goes through, and how it ends."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ovirtbox import backups, disks
from ovirtbox.dataplane import RENEW_BELOW, TicketBusy, ToolFailed
from ovirtbox.engine import USER, EngineCore
from ovirtbox.events import ERROR, NORMAL, WARNING
from ovirtbox.faults import bad, conflict, internal
from ovirtbox.locks import DISK, VM, exclusive, shared
from ovirtbox.model import Backup, Disk, Layer, StorageDomain, Transfer, Vm, new_id

ADD = "Cannot transfer Virtual Disk"
FINISHED = ("finished_success", "finished_failure")
PAUSED = ("paused_system", "paused_user")
KEEP_SUCCESS, KEEP_FAILURE = 15 * 60, 30 * 60
_STEPS = {"finalizing_success": "transfer end", "finalizing_cleanup": "transfer cancelled"}
_LONGEST_WAIT = 10
"""The poller backs off to so many ticks."""


@dataclass
class Wanted:
    """What a client asked for."""

    disk_id: str | None = None
    image_id: str | None = None
    """By `snapshot`: the layer."""
    direction: str = "upload"
    format: str | None = None
    inactivity_timeout: int = 60
    timeout_policy: str = "legacy"
    shallow: bool = False
    host: str | None = None
    backup_id: str | None = None


def install(engine: EngineCore) -> None:
    engine.clock.every_tick(lambda: tick(engine))


# --- start -----------------------------------------------------------------------------------------


def start(engine: EngineCore, wanted: Wanted) -> Transfer:
    """Everything up to the ticket happens here; a step that fails after validation is 400 `[]`."""
    with engine.world.lock:
        disk, layer = _target(engine, wanted)
        domain = engine.world.domains[disk.domain]
        transfer = Transfer(
            id=new_id(),
            disk_id=disk.id,
            image_id=layer.image_id,
            direction=wanted.direction,
            format=wanted.format,
            shallow=wanted.shallow,
            backup_id=wanted.backup_id,
            by_snapshot=wanted.image_id is not None,
            inactivity_timeout=wanted.inactivity_timeout,
            timeout_policy=wanted.timeout_policy,
            updated=engine.clock.monotonic(),
            busy=True,
        )
        backup = _check_and_lock(engine, transfer, disk, layer, domain)
        transfer.host = _host(engine, wanted, backup) or ""
        engine.world.transfers[transfer.id] = transfer
        if backup is None:
            layer.status = "locked"
        kind = "Upload" if transfer.direction == "upload" else "Download"
        text = f"Image {kind} with disk {disk.alias} was initiated by {USER}."
        engine.log(1031, NORMAL, text, disk_id=disk.id)

    problem = "no host" if not transfer.host else _open_session(engine, transfer, disk, layer, domain)
    with engine.world.lock:
        transfer.busy = False
        if problem is None:
            return transfer
        engine.log(1066, ERROR, f"Unable to start the transfer of disk {disk.alias}.", disk_id=disk.id)
        if not transfer.host:
            _end(engine, transfer, success=False)
        else:
            transfer.phase = "paused_system" if transfer.direction == "upload" else "cancelled_system"
    raise bad()


def _target(engine: EngineCore, wanted: Wanted) -> tuple[Disk, Layer]:
    unknown = internal("[General command validation failure.]")
    if wanted.image_id is not None:
        for disk in engine.world.disks.values():
            layer = disk.layer(wanted.image_id)
            if layer is not None:
                return disk, layer
        raise unknown
    found = engine.world.disks.get(wanted.disk_id or "")
    if found is None or not found.layers:
        raise unknown
    return found, found.active


def _check_and_lock(
    engine: EngineCore, transfer: Transfer, disk: Disk, layer: Layer, domain: StorageDomain
) -> Backup | None:
    if transfer.backup_id is None:
        _lock(engine, transfer, disk)
    try:
        return _validate(engine, transfer, disk, layer, domain)
    except Exception:
        engine.locks.drop(transfer.id)
        raise


def _lock(engine: EngineCore, transfer: Transfer, disk: Disk) -> None:
    busy = f"Disk {disk.alias} is being transferred."
    how = exclusive if transfer.direction == "upload" else shared
    wants = [how(DISK, disk.id, busy)]
    if transfer.by_snapshot:
        wants += [shared(VM, vm.id, busy) for vm in engine.world.vms_of_disk(disk.id)]
    engine.locks.take(transfer.id, ADD, *wants)


def _validate(
    engine: EngineCore, transfer: Transfer, disk: Disk, layer: Layer, domain: StorageDomain
) -> Backup | None:
    if layer.status == "illegal" or disk.status == "illegal":
        disks.refuse_illegal(ADD, [disk])
    disks.refuse_inactive_domain(ADD, domain)
    if transfer.backup_id is not None:
        return _validate_backup(engine, transfer, disk)
    if layer is disk.active:
        users = [vm for vm in engine.world.vms_of_disk(disk.id) if _uses(vm, disk)]
        if users:
            names = ", ".join(vm.name for vm in users)
            raise conflict(f"{ADD}. The disk {disk.alias} is plugged to non-Down VMs: {names}")
    if layer.status == "locked":
        raise conflict(
            f"{ADD}: The following disks are locked: {disk.alias}. Please try again in a few minutes."
        )
    return None


def _uses(vm: Vm, disk: Disk) -> bool:
    return vm.status != "down" and any(a.active and a.disk_id == disk.id for a in vm.attachments)


def _validate_backup(engine: EngineCore, transfer: Transfer, disk: Disk) -> Backup:
    backup = engine.world.backups.get(transfer.backup_id or "")
    hybrid = backup is not None and backup.kind == "hybrid"
    if backup is None or (hybrid and (backup.phase != "ready" or disk.id not in backup.disks)):
        raise internal("[General command validation failure.]")
    if backup.phase != "ready":
        phase = backup.phase.upper()
        raise conflict(f"{ADD}. The VM backup is not in READY phase, backup phase is {phase}.")
    if transfer.format == "cow":
        raise bad(f"{ADD}. The specified format is not applicable for VM backup.")
    if hybrid:
        vm = engine.world.vms[backup.vm_id]
        snapshot = next((s for s in vm.snapshots if s.id == backup.snapshot_id), None)
        if snapshot is None:
            raise bad(f"{ADD}. The specified VM Snapshot does not exist.")
        transfer.image_id = snapshot.images[disk.id]
    return backup


def _host(engine: EngineCore, wanted: Wanted, backup: Backup | None) -> str | None:
    if backup is not None and backup.kind == "live":
        return backup.host
    hosts = [host.id for host in engine.world.hosts.values() if host.status == "up"]
    if wanted.host in hosts:
        return wanted.host
    return next(iter(hosts), None)  # an unknown one is not minded: any host is taken


def _open_session(
    engine: EngineCore, transfer: Transfer, disk: Disk, layer: Layer, domain: StorageDomain
) -> str | None:
    """Server and ticket on the host; the reason if it cannot be. Not under the world's lock."""
    backup = engine.world.backups.get(transfer.backup_id or "")
    layer = disk.layer(transfer.image_id) or layer
    bitmap = None
    if backup is not None and transfer.direction == "upload":
        return "a backup is not written to"
    if backup is not None and backup.kind == "live" and disk.id not in backup.disks:
        return "the backup does not have the disk"
    if backup is not None and backup.modes.get(disk.id) == "incremental":
        bitmap = backup.from_checkpoint
    transfer.ticket = new_id()
    try:
        transfer.size = engine.data.transfer_size(transfer, layer, domain)
        live = backup is not None and backup.kind == "live"
        urls = engine.data.open_transfer(
            transfer,
            disk,
            layer,
            domain,
            bitmap=None if live else bitmap,
            live_url=engine.data.live_backup_url(backup.vm_id, backup.id, disk.id)
            if live and backup
            else None,
            dirty=bitmap is not None,
        )
    except (ToolFailed, OSError, KeyError) as error:
        transfer.ticket = None
        return str(error)
    with engine.world.lock:
        transfer.transfer_url, transfer.proxy_url = urls
        transfer.polls = 0
        _plan_poll(engine, transfer)
        transfer.phase = "transferring"
    return None


# --- what a client asks of one ---------------------------------------------------------------------


def ask(engine: EngineCore, transfer_id: str, action: str) -> None:
    """Most actions only write a phase; on an unknown or finished transfer they do nothing, and say 200."""
    with engine.world.lock:
        transfer = engine.world.transfers.get(transfer_id)
        if action == "resume":
            if transfer is None:
                return
            if transfer.phase not in PAUSED:
                raise conflict("Cannot resume image transfer as it's not in a paused state.")
            transfer.phase = "resuming"
        elif transfer is None or transfer.phase in FINISHED:
            return
        elif action == "pause" and transfer.direction == "download":
            raise bad(
                "Cannot pause image download as it's handled by the client."
                " Note that it can be canceled if you wish to stop it."
            )
        elif action != "extend":
            phases = {"pause": "paused_user", "cancel": "cancelled_user", "finalize": "finalizing_success"}
            transfer.phase = phases[action]
        transfer.updated = engine.clock.monotonic()


# --- the state machine -----------------------------------------------------------------------------


def tick(engine: EngineCore) -> None:
    due = []
    with engine.world.lock:
        for transfer in list(engine.world.transfers.values()):
            if transfer.phase in FINISHED:
                _age(engine, transfer)
            elif not transfer.busy:
                if transfer.phase == "transferring":
                    if time.monotonic() >= transfer.next_poll:
                        transfer.busy = True
                        due.append(transfer)
                else:
                    _step(engine, transfer)
    if due:
        engine.clock.work(lambda: _poll(engine, due))


def _age(engine: EngineCore, transfer: Transfer) -> None:
    keep = KEEP_SUCCESS if transfer.phase == "finished_success" else KEEP_FAILURE
    if engine.clock.aged(transfer.updated, keep):
        del engine.world.transfers[transfer.id]


def _step(engine: EngineCore, transfer: Transfer) -> None:
    """One tick of a phase that moves on by itself."""
    phase = transfer.phase
    if phase == "cancelled_user":
        transfer.phase = "finalizing_cleanup"
    elif phase == "cancelled_system":
        transfer.phase = "finalizing_failure"
    elif phase == "finished_cleanup":
        _end(engine, transfer, success=False)
    elif phase == "resuming":
        # The ticket is neither made nor renewed: one that is gone stays gone, and the next poll finds out.
        transfer.phase = "transferring" if transfer.ticket is not None else "paused_system"
        transfer.polls = 0
        _plan_poll(engine, transfer)
    elif phase.startswith("finalizing"):
        _in_background(engine, transfer, _finalize)


def _in_background(engine: EngineCore, transfer: Transfer, job: object) -> None:
    assert callable(job)
    transfer.busy = True

    def run() -> None:
        try:
            job(engine, transfer)
        finally:
            transfer.busy = False

    engine.clock.work(run)


def _close_session(engine: EngineCore, transfer: Transfer) -> bool:
    """False while a client's operation holds the ticket: the next tick tries again."""
    try:
        engine.data.close_transfer(transfer.id)
    except TicketBusy:
        return False
    with engine.world.lock:
        transfer.ticket = transfer.transfer_url = transfer.proxy_url = None
        transfer.active = False
    return True


def _finalize(engine: EngineCore, transfer: Transfer) -> None:
    time.sleep(engine.rhythm.seconds(_STEPS.get(transfer.phase)))
    if transfer.stuck or not _close_session(engine, transfer):
        return
    world = engine.world
    disk = world.disks.get(transfer.disk_id)
    layer = disk.layer(transfer.image_id) if disk else None
    reason = None
    upload = transfer.direction == "upload"
    if upload and layer is not None and transfer.phase == "finalizing_success":
        reason = engine.data.verify_upload(layer)
    with world.lock:
        if transfer.phase == "finalizing_success" and reason is None:
            _end(engine, transfer, success=True)
        elif transfer.phase == "finalizing_success":
            transfer.phase = "finalizing_failure"
            engine.log(1070, ERROR, f"Image verification failed: {reason}.", disk_id=transfer.disk_id)
        elif transfer.phase == "finalizing_cleanup":
            _give_back(engine, transfer, success=False)
            transfer.phase = "finished_cleanup"
        elif transfer.phase == "finalizing_failure":
            _end(engine, transfer, success=False)


def _end(engine: EngineCore, transfer: Transfer, *, success: bool) -> None:
    _give_back(engine, transfer, success=success)
    transfer.phase = "finished_success" if success else "finished_failure"
    transfer.updated = engine.clock.monotonic()
    disk = engine.world.disks.get(transfer.disk_id)
    alias = disk.alias if disk else transfer.disk_id
    kind = transfer.direction.capitalize()
    if success:
        engine.log(1032, NORMAL, f"Image {kind} with disk {alias} succeeded.", disk_id=transfer.disk_id)
    else:
        engine.log(1034, ERROR, f"Image {kind} with disk {alias} failed.", disk_id=transfer.disk_id)


def _give_back(engine: EngineCore, transfer: Transfer, *, success: bool) -> None:
    """Unlock the image; an upload that did not succeed takes the whole disk with it."""
    engine.locks.drop(transfer.id)
    disk = engine.world.disks.get(transfer.disk_id)
    layer = disk.layer(transfer.image_id) if disk else None
    if disk is None or layer is None or transfer.phase == "finished_cleanup":
        return
    if success or transfer.direction == "download" or transfer.backup_id is not None:
        if layer.status == "locked" and (transfer.backup_id is None or backups.locks_image(engine, transfer)):
            layer.status = "ok"
        return
    users = [vm for vm in engine.world.vms_of_disk(disk.id) if vm.status != "down"]
    if users:
        layer.status = "illegal"
    else:
        disks.destroy(engine, disk)


# --- polling the tickets ---------------------------------------------------------------------------


def _plan_poll(engine: EngineCore, transfer: Transfer) -> None:
    wait = min(1 << transfer.polls, _LONGEST_WAIT)
    transfer.polls += 1
    transfer.next_poll = time.monotonic() + wait * engine.clock.tick


def _poll(engine: EngineCore, due: list[Transfer]) -> None:
    for transfer in due:
        try:
            info = engine.data.ticket_info(transfer)
            if info is not None and info["expires"] - time.monotonic() < RENEW_BELOW:
                assert transfer.ticket is not None
                engine.data.renew(transfer.ticket)
        except ToolFailed:
            info = {}  # the daemon does not answer: the next poll will tell
        with engine.world.lock:
            transfer.busy = False
            _plan_poll(engine, transfer)
            if transfer.phase == "transferring":
                _judge(engine, transfer, info)


def _judge(engine: EngineCore, transfer: Transfer, info: dict[str, object] | None) -> None:
    upload = transfer.direction == "upload"
    if info is None:
        transfer.phase = "paused_system" if upload else "cancelled_system"
        text = "The ticket of a transfer is gone from the host."
        engine.log(1077 if upload else 1076, WARNING, text, disk_id=transfer.disk_id)
        return
    if not info:
        return
    active, idle = bool(info["active"]), float(str(info["idle_time"]))
    moved = info.get("transferred")
    transfer.active = active
    if isinstance(moved, int):
        transfer.transferred = moved
    done = not upload and not active and transfer.transferred == transfer.size
    transfer.quiet_polls = transfer.quiet_polls + 1 if done else 0
    if transfer.quiet_polls >= 2:
        transfer.phase = "finalizing_success"
    elif not active and 0 < transfer.inactivity_timeout < idle:
        _give_up_waiting(engine, transfer)


def _give_up_waiting(engine: EngineCore, transfer: Transfer) -> None:
    upload = transfer.direction == "upload"
    pause = transfer.timeout_policy == "pause" or (transfer.timeout_policy == "legacy" and upload)
    transfer.phase = "paused_system" if pause else "cancelled_system"
    verb = "paused" if pause else "canceled"
    text = (
        f"{transfer.direction.capitalize()} was {verb} by system. Reason: timeout due to transfer inactivity."
    )
    engine.log(1071 if upload else 1072, WARNING, text, disk_id=transfer.disk_id)
