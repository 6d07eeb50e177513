"""One instant of a VM's disks, each of them readable: made by the best way on offer, and unmade."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from borg_ovirt.errors import BorgOvirtError, CheckpointLost, EngineRefused, UsageError, VmNotSuitable
from borg_ovirt.ovirt.capture.methods import (
    COLD_LEVEL,
    HYBRID_LEVEL,
    BackupMethod,
    CaptureMethod,
    Log,
    RawMethod,
    SnapshotMethod,
    check_suitable,
)
from borg_ovirt.ovirt.data.imageio import Source
from borg_ovirt.ovirt.data.transfer import Download
from borg_ovirt.ovirt.data.transfer_session import Persistence
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.facts.storage import refuse_inactive
from borg_ovirt.ovirt.facts.vm import read_snapshots, vm_status
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.probes import prove_reading
from borg_ovirt.ovirt.tracked.journal import Journal

APIS = ("auto", "live", "hybrid", "none")
FREEZES = ("auto", "require", "never")
_NO_SUCH_BACKUP = re.compile(
    r"Incremental backup is (disabled|not supported)|Bitmaps operations are not supported"
    r"|Backup is not supported by the host|running on a version lower",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CapturedDisk:
    """A disk at the instant, ready to be read."""

    facts: DiskFacts
    source: Source
    incremental: bool
    """`source.extents("dirty")` can be asked."""
    mode_reason: str | None
    """Why the disk is not incremental though a checkpoint was named."""
    method: str


class Capture:
    """The instant. Read every disk, then `finish`; `wait_merge` may come after the context was left."""

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        method: CaptureMethod,
        method_reason: str,
        log: Log,
        persistence: Persistence | None,
    ) -> None:
        self.method_reason = method_reason
        self.disks: list[CapturedDisk] = []
        self._engine = engine
        self._journal = journal
        self._method = method
        self._log = log
        self._persistence = persistence
        self._transfers: list[Download] = []
        self._finished = False
        self._merged = False

    @property
    def method(self) -> str:
        """`live backup`, `cold backup`, `hybrid backup`, `raw transfer` or `temporary snapshot`."""
        return self._method.name

    @property
    def consistency(self) -> str:
        """`frozen` (also: nothing was running), `not frozen` or `unknown`."""
        return self._method.consistency

    @property
    def instant(self) -> datetime:
        return self._method.instant

    @property
    def backup_id(self) -> str | None:
        return self._method.backup.id if self._method.backup else None

    @property
    def from_checkpoint(self) -> str | None:
        return self._method.backup.from_checkpoint if self._method.backup else None

    @property
    def to_checkpoint(self) -> str | None:
        """Good for the next backup only once this one is finished and stored."""
        return self._method.backup.to_checkpoint if self._method.backup else None

    def open_disk(self, method: CaptureMethod, disk: DiskFacts) -> None:
        """Start the transfer of one disk."""
        incremental, reason = method.mode(disk)
        transfer = Download(self._engine, self._journal, method.request(disk))
        try:
            transfer.start(self._persistence)
        except EngineRefused as error:
            if incremental and error.status == 400 and not error.detail:
                raise CheckpointLost(
                    f"The engine could not open disk {disk.alias} with its record of changes."
                ) from None
            raise
        self._transfers.append(transfer)
        self.disks.append(CapturedDisk(disk, transfer.source, incremental, reason, method.name))

    def finish(self) -> None:
        """Every disk was read: end every transfer with success and let go of the instant.

        A live or cold backup has succeeded when this returns; of a hybrid one, and of a temporary snapshot,
        the merge goes on: see `wait_merge`.
        """
        for transfer in self._transfers:
            transfer.finalize()
        for transfer in self._transfers:
            transfer.wait_success()
        self._method.end()
        self._finished = True

    def wait_merge(self) -> list[str]:
        """Wait for what the engine still does after `finish`; warnings if something is left behind."""
        if self._merged:
            return []
        self._merged = True
        return self._method.wait_ended()

    def unwind(self) -> None:
        """End everything, in order: readers, transfers, backup, snapshot. Errors are logged, not raised."""
        for transfer in self._transfers:
            transfer.hang_up()
        if self._finished:
            for warning in self._guard("wait for the merge", self.wait_merge) or ():
                self._log(warning)
            return
        if self._transfers:
            self._log(f"ending {len(self._transfers)} transfers")
        for transfer in self._transfers:
            self._guard(f"end the transfer of {transfer.request.name}", transfer.abort)
        self._guard(f"end the {self.method}", self._method.abort)

    def leave(self) -> None:
        """The context was left without an error: a merge may go on, anything unfinished may not."""
        if not self._finished:
            self.unwind()

    def _guard(self, what: str, step: Callable[[], list[str] | None]) -> list[str] | None:
        try:
            return step()
        except BorgOvirtError as error:
            self._log(f"could not {what}: {error.message} The next run or `borg-ovirt cleanup` will.")
        except Exception as error:  # whatever it is, the steps after this one must still be taken
            self._log(f"could not {what}: {error!r}")
        return None


@contextmanager
def capture(
    engine: Engine,
    vm: VmFacts,
    disks: Sequence[DiskFacts],
    *,
    journal: Journal,
    description: str,
    from_checkpoint: str | None = None,
    freeze: str = "auto",
    api: str = "auto",
    log: Log = lambda text: None,
    persistence: Persistence | None = None,
) -> Iterator[Capture]:
    """One instant of these disks of a VM, each with its transfer started.

    `api`: `auto` takes what the engine prefers, `live` asks for a live backup where it would make a hybrid
    one, `hybrid` insists on that, `none` does without the backup API. `CheckpointLost` says that a backup
    from `from_checkpoint` cannot be had; everything is cleaned up then, and a full one may be tried.
    Leaving with an error, or without `finish`, ends all that was made.
    """
    if api not in APIS or freeze not in FREEZES:
        raise UsageError(f"Unknown method to back up: api {api}, freeze {freeze}.")
    vm = replace(vm, status=vm_status(engine, vm.id), snapshots=read_snapshots(engine, vm.id))
    check_suitable(vm)
    refuse_inactive(engine, vm, disks)
    prove_reading(engine, [(disk.id, disk.alias or disk.id) for disk in disks])
    active = [disk for disk in disks if disk.active]
    resting = [disk for disk in disks if not disk.active]
    methods = _methods(engine, vm, active, journal, description, from_checkpoint, freeze, api, log)
    method, reason = _start_first(methods, vm, log)
    captured = Capture(engine, journal, method, reason, log, persistence)
    try:
        for disk in active:
            captured.open_disk(method, disk)
        for disk in resting:
            captured.open_disk(RawMethod(vm), disk)
        order = [disk.id for disk in disks]
        captured.disks.sort(key=lambda disk: order.index(disk.facts.id))
        yield captured
    except BaseException:
        captured.unwind()
        raise
    captured.leave()


def _methods(
    engine: Engine,
    vm: VmFacts,
    active: Sequence[DiskFacts],
    journal: Journal,
    description: str,
    from_checkpoint: str | None,
    freeze: str,
    api: str,
    log: Log,
) -> list[tuple[CaptureMethod, str]]:
    """The ways to try, best first, each with the reason for it. The last one is the last resort."""
    up = vm.status == "up"
    if not active:
        return [(RawMethod(vm), "no disk is plugged in")]
    resort: CaptureMethod = RawMethod(vm)
    if up:
        resort = SnapshotMethod(engine, journal, vm, active, description=description, freeze=freeze, log=log)
    if api == "none":
        return [(resort, "asked for")]
    if (0, 0) < engine.version[:2] < (4, 4):
        return [(resort, f"engine {engine.full_version} has no backup API fit for use")]
    level = "{}.{}".format(*vm.level)
    if not up and vm.level < COLD_LEVEL:
        return [(resort, f"at level {level} the engine backs up no VM that is down")]
    if api == "hybrid" and vm.level < HYBRID_LEVEL:
        raise VmNotSuitable(f"VM {vm.name} is at level {level}: hybrid backups need 4.7.", "Use `live`.")
    legacy = api == "live" or (up and freeze == "require" and vm.level >= HYBRID_LEVEL)
    reason = "asked for" if api != "auto" else f"the engine's own at level {level}"
    if legacy and api == "auto":
        reason = "only a live backup can demand frozen file systems"
    backup = BackupMethod(
        engine,
        journal,
        vm,
        active,
        description=description,
        from_checkpoint=from_checkpoint,
        freeze=freeze,
        legacy=legacy,
        log=log,
    )
    return [(backup, reason), (resort, "")]


def _start_first(
    methods: list[tuple[CaptureMethod, str]], vm: VmFacts, log: Log
) -> tuple[CaptureMethod, str]:
    """Start the best way; only where the engine cannot do it at all, the next one."""
    refusal = ""
    for method, reason in methods[:-1]:
        try:
            method.start()
            return method, reason
        except EngineRefused as error:
            if not _NO_SUCH_BACKUP.search(error.detail):
                raise
            refusal = error.detail
            log(f"{vm.name}: {refusal}")
    method, reason = methods[-1]
    method.start()
    return method, reason or refusal
