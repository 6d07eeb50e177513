"""The methods to have one instant of a VM's disks; the one by a snapshot has a module of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Protocol

from borg_ovirt.errors import BackupFailed, VmNotSuitable
from borg_ovirt.ovirt.capture.backup import Backup, FreezeFailed
from borg_ovirt.ovirt.capture.snapshot import frozen_layers
from borg_ovirt.ovirt.data.transfer import TransferRequest
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import FROZEN, NOT_FROZEN, EventMark
from borg_ovirt.ovirt.tracked.journal import Journal

Log = Callable[[str], None]

HYBRID_LEVEL = (4, 7)
"""From this compatibility level on the engine makes hybrid backups unless told otherwise."""
COLD_LEVEL = (4, 5)
"""From this cluster level on VMs that are down can be backed up, and full and incremental mixed."""


class CaptureMethod(Protocol):
    """How one instant is had. `start`, then transfers are made and ended, then `end`, then `wait_ended`."""

    name: str
    consistency: str
    """`frozen`, `not frozen` or `unknown`."""
    instant: datetime
    backup: Backup | None
    frozen: Mapping[str, str] | None
    """Under a snapshot: disk id -> image id of the layer that it froze. Else the active layers are read."""

    def start(self) -> None:
        """Make the disks readable at one instant. On failure nothing is left."""
        ...

    def request(self, disk: DiskFacts) -> TransferRequest:
        """What to ask for one of the disks."""
        ...

    def mode(self, disk: DiskFacts) -> tuple[bool, str | None]:
        """Whether the disk's dirty extents can be had, and why not where they were asked for."""
        ...

    def end(self) -> None:
        """All transfers have succeeded: have the engine let go of the instant. It is not waited for."""
        ...

    def wait_ended(self) -> list[str]:
        """Wait until it has; warnings if something is left behind."""
        ...

    def abort(self) -> None:
        """All transfers have ended: end whatever there is, and wait."""
        ...


class AsItIs:
    """Nothing is made in the engine: what is read rests and is locked meanwhile, so that no VM can start."""

    backup: Backup | None = None
    frozen: Mapping[str, str] | None = None

    def __init__(self, vm: VmFacts, name: str = "raw transfer", consistency: str = "frozen") -> None:
        self.name = name
        self.consistency = consistency  # nobody writes to a disk that no running VM has
        self.instant = datetime.now(timezone.utc)
        self._vm = vm

    def start(self) -> None:
        self.instant = datetime.now(timezone.utc)

    def request(self, disk: DiskFacts) -> TransferRequest:
        return TransferRequest("download", disk.id, disk_name(disk), disk.size, vm_id=self._vm.id)

    def mode(self, disk: DiskFacts) -> tuple[bool, str | None]:
        return False, "a raw transfer knows no changes"

    def end(self) -> None:
        return

    def wait_ended(self) -> list[str]:
        return []

    def abort(self) -> None:
        return


class BackupMethod:
    """The engine's backup API: live, cold or hybrid."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        vm: VmFacts,
        disks: Sequence[DiskFacts],
        *,
        description: str,
        from_checkpoint: str | None,
        freeze: str,
        legacy: bool,
        log: Log,
    ) -> None:
        self.name = "backup"
        self.consistency = "unknown"
        self.instant = datetime.now(timezone.utc)
        self.backup: Backup | None = None
        self.frozen: Mapping[str, str] | None = None
        self._engine = engine
        self._journal = journal
        self._vm = vm
        self._disks = disks
        self._description = description
        self._from_checkpoint = from_checkpoint
        self._freeze = freeze
        self.legacy = legacy
        self.log = log

    def start(self) -> None:
        up = self._vm.status == "up"
        hybrid = not self.legacy and self._vm.level >= HYBRID_LEVEL
        demand = up and not hybrid and (self._freeze == "require" or self._ask_kindly())
        mark = EventMark(self._engine)
        try:
            self._start(demand)
        except FreezeFailed as error:
            if self._freeze == "require":
                raise BackupFailed(
                    f"VM {self._vm.name} could not be backed up with frozen file systems: {error.message}",
                    "Is the guest agent running in it? `--freeze auto` goes on without.",
                ) from None
            self.log(f"{self._vm.name} could not be frozen; backing it up without")
            self._start(False)
            self.consistency = "not frozen"
        else:
            self.consistency = "frozen" if demand or not up else freeze_told(mark, self._vm.id)

    def _ask_kindly(self) -> bool:
        """A live backup that must freeze fails where the guest cannot: ask only where an agent is seen."""
        return self._freeze == "auto" and self._vm.guest_agent

    def _start(self, consistent: bool) -> None:
        backup = Backup(self._engine, self._journal, self._vm, self._disks, self._description)
        backup.start(from_checkpoint=self._from_checkpoint, legacy=self.legacy, consistent=consistent)
        self.backup = backup
        self.name = f"{backup.kind} backup"
        self.instant = backup.created
        if backup.snapshot_id is not None:
            self.frozen = frozen_layers(self._engine, self._vm.id, backup.snapshot_id)

    def request(self, disk: DiskFacts) -> TransferRequest:
        assert self.backup is not None
        return TransferRequest(
            "download", disk.id, disk_name(disk), disk.size, vm_id=self._vm.id, backup_id=self.backup.id
        )

    def mode(self, disk: DiskFacts) -> tuple[bool, str | None]:
        assert self.backup is not None
        if self.backup.modes.get(disk.id) == "incremental":
            return True, None
        if self._from_checkpoint is None:
            return False, None
        if disk.format == "raw":
            return False, "a raw disk keeps no record of changes"
        return False, "the disk is not part of the checkpoint"

    def end(self) -> None:
        assert self.backup is not None
        self.backup.finalize()

    def wait_ended(self) -> list[str]:
        """What was read stays right where it fails: every transfer had ended well. But then the engine has
        removed the new checkpoint (of a live or cold one: ovirt-engine's StartVmBackupCommand)."""
        backup = self.backup
        if backup is None:
            return []
        patience = self._engine.patience
        phase, left = backup.wait_ended(patience.merge if backup.kind == "hybrid" else patience.end)
        if left and backup.kind != "hybrid":
            return [f"{left}. The next run or `borg-ovirt cleanup` tries again"]
        if left:
            return [
                f"the snapshot that the engine made for the backup of VM {self._vm.name} (Auto-generated for "
                f"Backup VM) is still there: {left}. The next run or `borg-ovirt cleanup` tries again"
            ]
        if phase == "failed":
            return [
                f"the engine calls the backup of VM {self._vm.name} failed after it was read: its archive is"
                " complete, and the next one starts from an older checkpoint or reads everything"
            ]
        return []

    def abort(self) -> None:
        if self.backup is not None:
            self.backup.abort()


def freeze_told(mark: EventMark, vm_id: str) -> str:
    """What the audit log tells of a freeze; hosts freeze on their own and mostly tell nobody."""
    if mark.after(NOT_FROZEN, vm_id):
        return "not frozen"
    return "frozen" if mark.after(FROZEN, vm_id) else "unknown"


def check_suitable(vm: VmFacts) -> None:
    """Refuse VMs that cannot be backed up as they are, in one clear line."""
    if vm.is_hosted_engine:
        raise VmNotSuitable(
            f"VM {vm.name} is the Hosted Engine: oVirt makes no backup of it.",
            "Use engine-backup inside it.",
        )
    if vm.in_preview:
        raise VmNotSuitable(
            f"VM {vm.name} is previewing a snapshot.", "Commit or undo the preview, then try again."
        )
    if vm.runs_stateless:
        raise VmNotSuitable(
            f"VM {vm.name} runs stateless: what it writes is thrown away when it stops, and the engine"
            " takes no snapshot of it.",
            "Back it up while it is down, or run it without Stateless.",
        )
    if vm.status not in ("up", "down"):
        raise VmNotSuitable(
            f"VM {vm.name} is {vm.status.replace('_', ' ')}; only a VM that is up or down can be backed up.",
            "Try again when it is up or down.",
        )


def disk_name(disk: DiskFacts) -> str:
    """A disk as messages call it."""
    return f"disk {disk.alias or disk.id}"
