"""One instant by a temporary snapshot: the layers that it freezes are read, then it is merged away."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from borg_ovirt.errors import BackupFailed, BorgOvirtError, EngineRefused, NotAuthorized, Timeout
from borg_ovirt.ovirt.capture.backup import Backup
from borg_ovirt.ovirt.capture.methods import Log, disk_name, freeze_told
from borg_ovirt.ovirt.capture.snapshot import TemporarySnapshot
from borg_ovirt.ovirt.data.transfer import TransferRequest
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.facts.vm import vm_status
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import EventMark
from borg_ovirt.ovirt.session.faults import NotFound, Unclear
from borg_ovirt.ovirt.tracked.journal import Entry, Journal

log = logging.getLogger(__name__)


class SnapshotMethod:
    """A temporary snapshot of the VM: the layers it freezes are read, then it is merged away."""

    name = "temporary snapshot"
    backup: Backup | None = None

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        vm: VmFacts,
        disks: Sequence[DiskFacts],
        *,
        description: str,
        freeze: str,
        log: Log,
    ) -> None:
        self.consistency = "unknown"
        self.instant = datetime.now(timezone.utc)
        self._engine = engine
        self._journal = journal
        self._vm = vm
        self._disks = disks
        self._freeze = freeze if vm.status == "up" else "never"
        self._log = log
        self._snapshot = TemporarySnapshot(engine, journal, vm, description)
        self._thaw: Entry | None = None
        self.frozen: Mapping[str, str] | None = None

    def start(self) -> None:
        self._log(f"{self._vm.name}: taking a temporary snapshot")
        mark = EventMark(self._engine)
        if self._freeze == "require":
            self._freeze_guest()
        try:
            self._snapshot.take(disk.id for disk in self._disks)
        finally:
            self._thaw_guest()
        self.instant, self.frozen = self._snapshot.date, self._snapshot.frozen
        sure = self._freeze == "require" or self._vm.status != "up"
        self.consistency = "frozen" if sure else freeze_told(mark, self._vm.id)

    def _freeze_guest(self) -> None:
        """Freeze for the time of the snapshot. The journal knows: a guest left frozen is a dead guest."""
        self._thaw = self._journal.intend("freeze", vm=self._vm.id, id=self._vm.id)
        try:
            try:
                self._ask_to_freeze()
            except Unclear:  # a guest that is frozen refuses to be frozen again
                thaw(self._engine, self._vm.id)
                self._ask_to_freeze()
        except NotAuthorized:  # nothing was frozen, and thawing is not ours either
            self._thaw.done()
            self._thaw = None
            raise
        except EngineRefused as error:
            self._thaw_guest()
            raise BackupFailed(
                f"VM {self._vm.name} could not be frozen: {error.message}",
                "Is the guest agent running in it? `--freeze auto` goes on without.",
            ) from None
        except BaseException:
            self._thaw_guest()
            raise

    def _ask_to_freeze(self) -> None:
        self._engine.call(
            f"freeze the file systems of VM {self._vm.name}",
            lambda s: s.vms_service().vm_service(self._vm.id).freeze_filesystems(),
            once=True,
        )

    def _thaw_guest(self) -> None:
        """Whatever happened. A guest that could not be thawed stays in the journal, and is told loudly."""
        if self._thaw is None:
            return
        try:
            thaw(self._engine, self._vm.id)
        except BorgOvirtError as error:
            log.warning("%s", self._still_frozen(error.message))
        else:
            self._thaw.done()
            self._thaw = None

    def _still_frozen(self, why: str) -> str:
        return f"VM {self._vm.name} MAY STILL BE FROZEN: {why} Thaw it; `borg-ovirt cleanup` tries again."

    def request(self, disk: DiskFacts) -> TransferRequest:
        image = self._snapshot.frozen.get(disk.id)
        if image is None:
            raise BackupFailed(f"The snapshot of VM {self._vm.name} holds no layer of disk {disk.alias}.")
        return TransferRequest(
            "download", disk.id, disk_name(disk), disk.size, vm_id=self._vm.id, image_id=image
        )

    def mode(self, disk: DiskFacts) -> tuple[bool, str | None]:
        return False, "a temporary snapshot knows no changes"

    def end(self) -> None:
        self._thaw_guest()
        self._snapshot.ask_to_go()

    def wait_ended(self) -> list[str]:
        left = self._snapshot.wait_gone()
        warnings = [f"{left}: remove it in the engine"] if left else []
        return warnings + ([self._still_frozen("thawing failed.")] if self._thaw is not None else [])

    def abort(self) -> None:
        self._thaw_guest()
        self._snapshot.abort()


def thaw(engine: Engine, vm_id: str) -> None:
    """Thaw the guest; one that is no longer up refuses, and that is fine."""

    def probe() -> bool | None:
        try:
            engine.call(
                f"thaw the file systems of VM {vm_id}",
                lambda s: s.vms_service().vm_service(vm_id).thaw_filesystems(),
                wait_for_locks=engine.patience.lock,
            )
        except NotFound:
            return True
        except EngineRefused as error:
            refused.append(error)
            return None if vm_status(engine, vm_id) == "up" else True
        return True

    refused: list[EngineRefused] = []
    try:
        engine.patience.wait(f"VM {vm_id} to be thawed", probe, engine.patience.unclear)
    except Timeout:
        raise refused[-1] from None
