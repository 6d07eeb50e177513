"""The engine's backup of a VM: one instant of all its disks, live, cold or hybrid."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from borg_ovirt import stopping
from borg_ovirt.errors import BackupFailed, BorgOvirtError, CheckpointLost, EngineRefused, Timeout
from borg_ovirt.ovirt.capture.backups import (
    backup_phase,
    backups_of,
    end_backup,
    finalize_backup,
    find_backup,
    read_backup,
    wait_backup,
)
from borg_ovirt.ovirt.capture.refused import Obstacle, seen
from borg_ovirt.ovirt.capture.scratch import remove_scratch_disks
from borg_ovirt.ovirt.capture.snapshot import merge_away
from borg_ovirt.ovirt.facts.checkpoints import SINGLE_LEVEL, list_checkpoints
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.facts.storage import refuse_inactive
from borg_ovirt.ovirt.facts.vm import utc
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.events import FULL_NEEDED, EventMark
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.tracked.objects import TrackedObject

log = logging.getLogger(__name__)

_CHECKPOINT_REFUSALS = (
    "doesn't exist",
    "does not exist",
    "is invalid",
    "not included in the",  # previous VM backup: old clusters mix no full and incremental
)
_RESTARTS = 2
"""So many restarts of the engine one backup sits out while it is being started."""


class FreezeFailed(BackupFailed):
    """The backup failed with consistency demanded; the guest may not have been able to freeze."""


class _InTheWay(Exception):
    """The engine refused the backup without a word: something is in the way of it, or was until now."""

    def __init__(self, refusal: BackupFailed, obstacle: Obstacle | None, text: str) -> None:
        self.refusal = refusal
        self.obstacle = obstacle
        self.text = text


class Backup:
    """A backup of ours. `start` waits until it is ready; it must be ended by `finalize` or `abort`."""

    def __init__(
        self, engine: Engine, journal: Journal, vm: VmFacts, disks: Sequence[DiskFacts], description: str
    ) -> None:
        self.kind = ""
        """`live`, `cold` or `hybrid`, known when it is ready."""
        self.from_checkpoint: str | None = None
        self.to_checkpoint: str | None = None
        self.snapshot_id: str | None = None
        self.modes: dict[str, str] = {}
        """Disk id -> `full` or `incremental`."""
        self.created: datetime = utc(None)
        self.failed = False
        """It ended so: its checkpoint may be gone."""
        self._engine = engine
        self._tracked = TrackedObject(engine, journal, "backup")
        self._vm = vm
        self._disks = disks
        self._description = description
        self._astray = False
        """It went to its end before we asked: it may never reach it."""

    @property
    def id(self) -> str:
        """The engine's id; empty until it is known."""
        return self._tracked.id

    # -- starting ------------------------------------------------------------------------------------

    def start(self, *, from_checkpoint: str | None, legacy: bool, consistent: bool) -> None:
        """Start and wait until the disks can be read.

        `legacy` asks for a live backup where the engine would make a hybrid one; `consistent` lets a live
        backup fail if the guest cannot be frozen. On failure nothing is left, and `CheckpointLost`,
        `FreezeFailed`, `BackupFailed` or the engine's refusal is raised.
        """
        self.from_checkpoint = from_checkpoint
        patience, restarts = self._engine.patience, _RESTARTS
        deadline, pauses = time.monotonic() + patience.lock, [patience.unclear, patience.unclear / 2]
        while True:
            away = patience.absence.seconds
            try:
                self._start(from_checkpoint, legacy=legacy, consistent=consistent)
                return
            except _InTheWay as error:
                self._wait_out(error, deadline, pauses)
            except (EngineRefused, BackupFailed, CheckpointLost) as error:
                if not restarts or patience.absence.seconds <= away:
                    raise
                # Not its verdict: it was restarted meanwhile, and forgot what it was about to do.
                log.warning("%s The engine was away meanwhile: once more.", error.message)
                restarts -= 1
                refuse_inactive(self._engine, self._vm, self._disks)  # it learns their states first

    def _start(self, from_checkpoint: str | None, *, legacy: bool, consistent: bool) -> None:
        mark, held = EventMark(self._engine), self._at_risk()
        try:
            self._begin(from_checkpoint, legacy, consistent)
            self._wait_ready()
        except (EngineRefused, BackupFailed) as error:
            told = self._explain(error, mark, consistent)
            self._tell_lost(held)
            self.abort()
            raise told from None
        except BaseException:
            self.abort()
            raise

    def _wait_out(self, error: _InTheWay, deadline: float, pauses: list[float]) -> None:
        """Wait until what is in the way may be gone; raise the refusal where it will not go."""
        found = error.obstacle
        stays = not pauses if found is None else not found.passes
        if stays or time.monotonic() > deadline:
            raise error.refusal from None
        log.warning("VM %s: no backup can be made yet, %s; waiting", self._vm.name, error.text)
        if found is None:  # a command that works on the VM is not to be seen
            stopping.pause(pauses.pop())
        else:
            self._wait_free(deadline)

    def _wait_free(self, deadline: float) -> None:
        """Until what was in the way is gone, or until it is too late."""

        def probe() -> bool | None:
            found = seen(self._engine, self._vm)
            return None if found is not None and found.passes else True

        with suppress(Timeout):
            self._engine.patience.wait("", probe, max(0.0, deadline - time.monotonic()))

    def _begin(self, from_checkpoint: str | None, legacy: bool, consistent: bool) -> None:
        engine, vm = self._engine, self._vm
        description = str(self._tracked.intend(vm=vm.id, description=self._description)["description"])
        t = types()
        wanted = t.Backup(
            description=description,
            disks=[t.Disk(id=disk.id) for disk in self._disks],
            from_checkpoint_id=from_checkpoint,
        )
        query = {"legacy": "true"} if legacy else None
        self._tracked.make(
            f"start a backup of VM {vm.name}",
            lambda s: backups_of(s, vm.id).add(
                wanted, require_consistency=True if consistent else None, query=query
            ),
            lambda: find_backup(engine, vm.id, description),
        )

    def _at_risk(self) -> set[str]:
        """The checkpoints that this backup may cost.

        Below cluster level 4.6 the engine has the host define all of a running VM again before any backup,
        and removes them all where one is lost (RedefineVmCheckpointCommand). It would do so for whoever comes
        next, and with one of them lost nobody can use the others: that is not avoided, but told.
        """
        if self._vm.status != "up" or self._vm.level >= SINGLE_LEVEL:
            return set()
        return {c.id for c in list_checkpoints(self._engine, self._vm.id)} - {self.from_checkpoint or ""}

    def _tell_lost(self, held: set[str]) -> None:
        gone = held and held - {c.id for c in list_checkpoints(self._engine, self._vm.id)}
        if gone:
            log.warning(
                "VM %s: a record of changes was lost, and the engine has removed all checkpoints of the VM,"
                " %d of other tools or repositories too: their next backups read everything",
                self._vm.name,
                len(gone),
            )

    def _explain(self, error: BorgOvirtError, mark: EventMark, consistent: bool) -> Exception:
        """What a refusal or a failure means. Only what is known of the checkpoint is laid to it."""
        detail = error.detail if isinstance(error, EngineRefused) else ""
        lost = mark.texts(FULL_NEEDED, self._vm.id)
        refused = any(text in detail for text in _CHECKPOINT_REFUSALS)
        if self.from_checkpoint is not None and (lost or refused):
            return CheckpointLost(lost[0] if lost else detail)
        wordless = isinstance(error, EngineRefused) and error.status == 400 and not detail
        if not wordless and not isinstance(error, BackupFailed):
            return error
        if self.from_checkpoint is not None and not self._held(self.from_checkpoint):
            return CheckpointLost(f"The engine no longer has the checkpoint {self.from_checkpoint}.")
        found = seen(self._engine, self._vm)
        if wordless:
            text = "its checkpoints were lost" if lost else "the engine gives no reason"
            return _InTheWay(_refused(self._vm, found), found, found.text if found else text)
        if found is not None:
            return BackupFailed(f"{error.message} The likely reason: {found.text}.", _hint(found))
        if consistent:
            return FreezeFailed(error.message, error.hint)
        if self.from_checkpoint is not None:
            return CheckpointLost(f"{error.message} It was to start from checkpoint {self.from_checkpoint}.")
        return error

    def _held(self, checkpoint_id: str) -> bool:
        """Whether the engine has it still, as far as it says."""
        try:
            held = list_checkpoints(self._engine, self._vm.id)
        except BorgOvirtError:
            return True
        return any(c.id == checkpoint_id and c.state != "invalid" for c in held)

    def _wait_ready(self) -> None:
        patience = self._engine.patience
        backup = patience.wait(
            f"the backup of VM {self._vm.name} to be ready",
            self._probe_ready,
            patience.start,
        )
        self.created = utc(backup.creation_date)
        self.to_checkpoint = backup.to_checkpoint_id
        self.snapshot_id = backup.snapshot.id if backup.snapshot else None
        if self.snapshot_id:
            self._tracked.note(snapshot=self.snapshot_id)
        self.kind = "hybrid" if self.snapshot_id else ("live" if self._vm.status == "up" else "cold")
        self.modes = self._read_modes()

    def _probe_ready(self) -> Any | None:
        backup = self.read()
        phase = backup_phase(backup)
        if phase == "ready":
            return backup
        self._astray = phase == "finalizing"
        if phase in ("failed", "gone", "finalizing", "succeeded"):
            raise BackupFailed(
                f"The backup of VM {self._vm.name} failed before it could be read (phase {phase}).",
                "Look at the engine's events.",
            )
        return None

    def _read_modes(self) -> dict[str, str]:
        disks = self._engine.call(
            f"list the disks of the backup of {self._vm.name}",
            lambda s: backups_of(s, self._vm.id).backup_service(self.id).disks_service().list(),
        )
        return {disk.id: str(disk.backup_mode or "full") for disk in disks or ()}

    # -- the end -------------------------------------------------------------------------------------

    def finalize(self) -> None:
        """Ask the engine to end the backup; every transfer of it has ended. Does not wait."""
        finalize_backup(self._engine, self._vm.id, self.id, [disk.id for disk in self._disks])

    def wait_ended(self, seconds: float) -> tuple[str, str | None]:
        """The phase in which the backup ended (`succeeded`, `failed`, or `gone` on old engines), and why its
        snapshot is still there, if it is."""
        phase = wait_backup(self._engine, self._vm.id, self.id, seconds)
        self.failed = phase == "failed"
        return phase, self._ended(phase)

    def abort(self) -> None:
        """End the backup, whatever its phase, and wait for the end. All its transfers must have ended."""
        if not self._tracked.there():
            return
        if self._astray:
            try:
                phase = wait_backup(self._engine, self._vm.id, self.id, self._engine.patience.unclear)
            except Timeout:
                log.warning(
                    "The backup %s of VM %s went to its end unasked and does not reach it: its disks stay"
                    " locked. Look at the engine's log.",
                    self.id,
                    self._vm.name,
                )
                return  # it stays in the journal
        else:
            disks = [disk.id for disk in self._disks]
            phase = end_backup(self._engine, self._vm.id, self.id, self._vm.name, disks)
        left = self._ended(phase)
        if left:
            log.warning("%s. The next run or `borg-ovirt cleanup` tries again.", left)

    def _ended(self, phase: str) -> str | None:
        """It is over. A snapshot that the engine made for it, and could not merge, is merged now: a snapshot
        of somebody else's, or a host that failed, may have been in the way. So are scratch disks removed."""
        left = None
        if self.snapshot_id is not None:
            left = merge_away(self._engine, self._vm.id, self.snapshot_id)
        elif phase == "failed":
            left = remove_scratch_disks(self._engine, self.id)
        if left is None:
            self._tracked.gone()
        return left

    def read(self) -> Any | None:
        return read_backup(self._engine, self._vm.id, self.id)


def _refused(vm: VmFacts, found: Obstacle | None) -> BackupFailed:
    if found is None:
        return BackupFailed(
            f"The engine refuses a backup of VM {vm.name} and gives no reason.",
            "Look at the engine's events and at engine.log.",
        )
    return BackupFailed(f"The engine refuses a backup of VM {vm.name}: {found.text}.", _hint(found))


def _hint(found: Obstacle) -> str:
    return "Try again when that is over." if found.passes else "Mend that, then try again."
