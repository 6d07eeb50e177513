"""One instant of a VM's disks, each readable layer by layer, and how it is let go of whatever happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from borg_ovirt.errors import (
    BackupFailed,
    BorgOvirtError,
    CheckpointLost,
    EngineRefused,
    EngineUnreachable,
)
from borg_ovirt.ovirt.capture.methods import CaptureMethod, Log, check_suitable
from borg_ovirt.ovirt.data.file_source import FileSource
from borg_ovirt.ovirt.data.imageio import Source, export_size
from borg_ovirt.ovirt.data.transfer import Download, TransferRequest
from borg_ovirt.ovirt.data.ways import prove_way
from borg_ovirt.ovirt.facts.chain import LayerFacts
from borg_ovirt.ovirt.facts.model import DiskFacts, VmFacts
from borg_ovirt.ovirt.facts.storage import refuse_inactive
from borg_ovirt.ovirt.facts.vm import read_snapshots, vm_status
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import VM_DOWN, EventMark
from borg_ovirt.ovirt.session.probes import prove_reading
from borg_ovirt.ovirt.tracked.journal import Journal

T = TypeVar("T")

_AT_ONCE = 4
"""The engine takes seconds to start or to end a transfer, so a few are asked for at a time."""


@dataclass(eq=False)
class CapturedLayer:
    """What is read as one: a whole disk as the guest sees it, or the file of one layer of its chain."""

    request: TransferRequest
    facts: LayerFacts | None = None
    """None for a whole disk."""
    child: str | None = None
    """The image that lies on the layer."""
    incremental: bool = False
    """The changes since the checkpoint can be asked for."""
    reason: str | None = None
    """Why they cannot though a checkpoint was named."""
    source: Source | None = None
    """Its bytes, once the capture has opened it."""

    @property
    def is_file(self) -> bool:
        """The bytes of a qcow2 file, of which nobody tells zeros or changes."""
        return self.request.format is None


@dataclass(frozen=True)
class CapturedDisk:
    """A disk at the instant."""

    facts: DiskFacts
    method: str
    layers: Sequence[CapturedLayer]
    """Base first; one where the disk is read as a whole."""


@dataclass(eq=False)
class Capture:
    """The instant. Open and read the layers, then `finish`; `wait_merge` may come when the context is left.

    Leaving the context with an error, or without `finish`, ends all that was made.
    """

    engine: Engine
    journal: Journal
    vm: VmFacts
    """As of the instant, without what was made for it."""
    made_by: CaptureMethod
    method_reason: str
    log: Log
    mark: EventMark | None = None
    """The moment before it was begun, of a VM that runs."""
    disks: list[CapturedDisk] = field(default_factory=list)
    left_out: list[tuple[DiskFacts, str]] = field(default_factory=list)
    """Disks that were to be captured and that hold nothing that can be, with the reason."""
    _transfers: list[Download] = field(default_factory=list)
    _of: dict[CapturedLayer, Download] = field(default_factory=dict)
    _finished: bool = False
    _merged: bool = False

    @property
    def method(self) -> str:
        """`live backup`, `cold backup`, `hybrid backup`, `raw transfer`, `temporary snapshot` ..."""
        return self.made_by.name

    @property
    def consistency(self) -> str:
        """`frozen` (also: nothing was running), `not frozen` or `unknown`."""
        return self.made_by.consistency

    @property
    def instant(self) -> datetime:
        return self.made_by.instant

    @property
    def backup_id(self) -> str | None:
        return self.made_by.backup.id if self.made_by.backup else None

    @property
    def from_checkpoint(self) -> str | None:
        return self.made_by.backup.from_checkpoint if self.made_by.backup else None

    @property
    def to_checkpoint(self) -> str | None:
        """Good for the next backup only once this one is finished and stored."""
        return self.made_by.backup.to_checkpoint if self.made_by.backup else None

    def open(self, layers: Iterable[CapturedLayer]) -> None:
        """Start the transfers of these layers; the first that fails is raised when all were tried.

        No two of one disk: while two transfers of a disk are unfinished the engine shows nobody the snapshots
        of its VM (400 `duplicate key`, seen on 4.5.8).
        """
        made = [(layer, Download(self.engine, self.journal, layer.request)) for layer in layers]
        self._of.update(made)
        disks = [layer.request.disk_id for layer in self._of]
        assert len(set(disks)) == len(disks), "two transfers of one disk"
        self._transfers += [transfer for _, transfer in made]
        _each(lambda item: _start(*item), made)

    def close(self, layer: CapturedLayer) -> None:
        """All of it was read: end its transfer with success; another layer of its disk can be opened then."""
        transfer = self._of[layer]
        transfer.finish()
        layer.source = None
        del self._of[layer]
        self._transfers.remove(transfer)

    def finish(self) -> None:
        """Every byte was read: end every transfer with success and let go of the instant.

        The engine has accepted the end when this returns; what it still does, a merge above all, goes on:
        see `wait_merge`.
        """
        for transfer in self._transfers:
            transfer.finalize()
        _each(lambda transfer: transfer.wait_success(), self._transfers)
        self.made_by.end()
        self._finished = True

    @property
    def failed(self) -> bool:
        """The engine calls it failed, after all was read well. Known when `wait_merge` has returned."""
        return self.made_by.backup is not None and self.made_by.backup.failed

    def wait_merge(self) -> list[str]:
        """Wait for what the engine still does after `finish`; warnings if something is left behind."""
        if self._merged:
            return []
        self._merged = True
        return self.made_by.wait_ended()

    @contextmanager
    def unwinding(self) -> Iterator[Capture]:
        """Whatever happens inside, nothing unfinished is left behind."""
        try:
            yield self
        except BorgOvirtError as error:
            reason = self._went_down()
            self._unwind()
            if reason:
                raise BackupFailed(
                    f"VM {self.vm.name} went down while its live backup was read: {reason}",
                    "Nothing was stored. Try again: a VM that is down can be backed up, too.",
                ) from error
            raise
        except BaseException:
            self._unwind()
            raise
        if not self._finished:  # a merge may go on, anything unfinished may not
            self._unwind()

    def _went_down(self) -> str | None:
        """What the engine tells of a guest that is no more: the instant of a live backup went with it."""
        if self.mark is None or self._finished or self.method != "live backup":
            return None
        try:
            if vm_status(self.engine, self.vm.id) not in ("down", "powering_down"):
                return None
            told = self.mark.texts(VM_DOWN, self.vm.id)
        except BorgOvirtError:
            return None
        return told[-1] if told else "the engine does not say why."

    def _unwind(self) -> None:
        """End everything, in order: readers, transfers, backup, snapshot. Errors are logged, not raised."""
        for transfer in self._transfers:
            transfer.hang_up()
        if self._finished:
            for warning in self._guard("wait for the merge", self.wait_merge) or ():
                self.log(warning)
            return
        if self._transfers:
            self.log(f"ending {len(self._transfers)} transfers")
            self._end_transfers()
        self._guard(f"end the {self.method}", self._abort)

    def _abort(self) -> None:
        """What is refused is asked for again, for minutes."""
        give_up = time.monotonic() + self.engine.patience.unwind
        for pause in self.engine.patience.pauses():
            try:
                self.made_by.abort()
                return
            except (EngineRefused, EngineUnreachable):
                if time.monotonic() + pause > give_up:
                    raise
            time.sleep(pause)

    def _end_transfers(self) -> None:
        """What could not be ended is tried again, for minutes; what the user may not end is left at once."""
        left, patience = list(self._transfers), self.engine.patience
        give_up = time.monotonic() + patience.unwind
        for pause in patience.pauses():
            troubles: dict[Download, Exception] = {}
            _each(lambda transfer, into=troubles: _abort(transfer, into), left)  # type: ignore[misc]
            last = time.monotonic() + pause > give_up
            for transfer, error in troubles.items():
                if last or not _may_pass(error):
                    self._guard(f"end the transfer of {transfer.request.name}", partial(_raise, error))
            left = [] if last else [t for t, error in troubles.items() if _may_pass(error)]
            if not left:
                return
            time.sleep(pause)

    def _guard(self, what: str, step: Callable[[], list[str] | None]) -> list[str] | None:
        try:
            return step()
        except BorgOvirtError as error:
            self.log(f"could not {what}: {error.message} The next run or `borg-ovirt cleanup` will.")
        except Exception as error:  # whatever it is, the steps after this one must still be taken
            self.log(f"could not {what}: {error!r}")
        return None


def _abort(transfer: Download, troubles: dict[Download, Exception]) -> None:
    try:
        transfer.abort()
    except Exception as error:  # whatever it is, the others must still be ended
        troubles[transfer] = error


def _may_pass(error: Exception) -> bool:
    return isinstance(error, EngineRefused | EngineUnreachable)


def _raise(error: Exception) -> None:
    raise error


def look_again(engine: Engine, vm: VmFacts, disks: Iterable[DiskFacts]) -> VmFacts:
    """The VM just before its instant is made; refused where it, or one of these disks, cannot be captured as
    it is, and where what would be begun could not be read or ended.
    """
    vm = replace(vm, status=vm_status(engine, vm.id), snapshots=read_snapshots(engine, vm.id))
    check_suitable(vm)
    disks = list(disks)
    refuse_inactive(engine, vm, disks)
    prove_way(engine, vm)
    prove_reading(engine, [(disk.id, disk.alias or disk.id) for disk in disks])
    return vm


def _start(layer: CapturedLayer, transfer: Download) -> None:
    try:
        transfer.start()
    except EngineRefused as error:
        if layer.incremental and error.status == 400 and not error.detail:
            raise CheckpointLost(
                f"The engine could not open {layer.request.name} with its record of changes."
            ) from None
        raise
    # Of a qcow2 file the engine tells only how much room it takes, not how long it is.
    session = transfer.session
    layer.source = (
        FileSource(session, export_size(session)) if layer.is_file else Source(session, layer.request.size)
    )


def _each(work: Callable[[T], object], items: Sequence[T]) -> None:
    """A few at a time; all are tried, then the first error is raised."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="transfers")
    try:
        running = [pool.submit(work, item) for item in items]
        wait(running)
    finally:
        pool.shutdown(cancel_futures=True)
    for done in running:
        done.result()
