"""Image transfers: started, kept alive, renewed when a ticket is lost, and always brought to an end."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from borg_ovirt.errors import BorgOvirtError, TransferFailed
from borg_ovirt.ovirt.data.imageio import Source, Target
from borg_ovirt.ovirt.data.imageio_connection import Broken, Refused, TicketGone
from borg_ovirt.ovirt.data.lost_ticket import keep_what_was_written
from borg_ovirt.ovirt.data.transfer_session import Persistence, TransferSession, Urls
from borg_ovirt.ovirt.data.transfers import (
    PASSING,
    end_transfer,
    find_transfer,
    phase_of,
    read_transfer,
    wait_terminal,
)
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import NotFound
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.ovirt.tracked.objects import TrackedObject

log = logging.getLogger(__name__)

INACTIVITY = 3600
"""Seconds without I/O after which the engine ends a transfer. Never 0: the daemon takes that literally."""
KEEP_ALIVE = 60.0
"""A ticket that waits longer than this is asked for its options, in seconds."""
_SPREAD = 9999


@dataclass(frozen=True)
class TransferRequest:
    """What is to be moved."""

    direction: str
    """`download` or `upload`."""
    disk_id: str
    name: str
    """For messages: "disk web01_Disk1"."""
    size: int
    """The disk's size in bytes."""
    vm_id: str | None = None
    image_id: str | None = None
    """One layer of the disk, by its image id, instead of the active one."""
    backup_id: str | None = None
    format: str | None = "raw"
    """`raw`: the guest's bytes, with extents; None: the file's bytes."""
    shallow: bool = False
    keep_disk: bool = False
    """An upload into a disk that was there before: whatever happens, it must not be cancelled, for then the
    engine removes the disk."""
    inactivity_timeout: int = INACTIVITY

    @property
    def renewable(self) -> bool:
        """A second transfer would give the same bytes: the source is a backup or a frozen layer."""
        return self.direction == "download" and (self.backup_id is not None or self.image_id is not None)


class Transfer:
    """A transfer that is under way. `start` makes one; it must be ended by `finish` or `abort`."""

    def __init__(self, engine: Engine, journal: Journal, request: TransferRequest) -> None:
        self.request = request
        self.session: TransferSession
        self._engine = engine
        self._tracked = TrackedObject(engine, journal, "transfer")
        # The engine echoes no field of our choosing but this number, so its odd seconds are our mark.
        self._mark = request.inactivity_timeout + random.randint(1, _SPREAD)
        self._ended = False
        self._finalizing = False
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def id(self) -> str:
        """The engine's id; empty until it is known."""
        return self._tracked.id

    # -- starting ------------------------------------------------------------------------------------

    def start(self, persistence: Persistence | None = None) -> None:
        """Begin, wait until bytes can move, and prove the way to them. On failure nothing is left."""
        try:
            urls = self._begin()
            self.session = TransferSession(
                self.request.name,
                urls,
                ca_file=self._engine.ca_file,
                renew=self._renew,
                persistence=persistence,
                use_socket=self._engine.use_sockets,
            )
            self.session.open()
        except BaseException:
            self.abort()
            raise
        self._keeper = threading.Thread(target=self._keep_alive, name="keep-alive", daemon=True)
        self._keeper.start()

    def _begin(self) -> Urls:
        request, mark = self.request, self._mark
        self._tracked.intend(
            vm=request.vm_id,
            disk=request.disk_id,
            image=request.image_id,
            backup=request.backup_id,
            direction=request.direction,
            mark=mark,
            **({"keep": True} if request.keep_disk else {}),
        )
        self._tracked.make(
            f"start the {request.direction} of {request.name}",
            lambda s: s.image_transfers_service().add(self._describe()),
            lambda: find_transfer(self._engine, request.disk_id, request.direction, mark, well=True),
            left=lambda: find_transfer(self._engine, request.disk_id, request.direction, mark),
        )
        return self._wait_transferring()

    def _describe(self) -> Any:
        """The request as the SDK wants it. The direction is always told: the engine's default is upload."""
        t, request = types(), self.request
        upload = request.direction == "upload"
        transfer = t.ImageTransfer(
            direction=t.ImageTransferDirection.UPLOAD if upload else t.ImageTransferDirection.DOWNLOAD,
            inactivity_timeout=self._mark,
        )
        if request.image_id is not None:
            transfer.snapshot = t.DiskSnapshot(id=request.image_id)
        else:
            transfer.disk = t.Disk(id=request.disk_id)
        if request.backup_id is not None:
            transfer.backup = t.Backup(id=request.backup_id)
        if request.format is not None:
            transfer.format = t.DiskFormat(request.format)
        if request.shallow:
            transfer.shallow = True
        return transfer

    def _wait_transferring(self) -> Urls:
        phase, urls = self._settle()
        if urls is None:
            raise TransferFailed(
                f"The transfer of {self.request.name} did not start (phase {phase}).",
                "Look at the engine's events.",
            )
        return urls

    def _settle(self) -> tuple[str, Urls | None]:
        """Wait out the phases that pass; the phase then, and the addresses if bytes can move."""

        def probe() -> tuple[str, Urls | None] | None:
            transfer = read_transfer(self._engine, self.id)
            phase = phase_of(transfer)
            urls = Urls(getattr(transfer, "transfer_url", None), getattr(transfer, "proxy_url", None))
            if phase == "transferring" and any(urls):
                return phase, urls
            return None if phase in PASSING else (phase, None)

        patience = self._engine.patience
        return patience.wait(f"the transfer of {self.request.name} to start", probe, patience.start)

    # -- while it runs -------------------------------------------------------------------------------

    def _keep_alive(self) -> None:
        period = min(KEEP_ALIVE, self.request.inactivity_timeout / 3)
        while not self._stop.wait(period):
            if self.session.idle < period:
                continue
            try:
                self.session.touch()
            except (BorgOvirtError, Broken, Refused, TicketGone) as error:
                log.info("%s: not kept alive: %s", self.request.name, error)

    def _renew(self) -> Urls:
        """A ticket was not accepted: what does the engine say, and can another one be had?"""
        phase, urls = self._settle()
        name = self.request.name
        if urls is not None:
            return urls  # the engine has not noticed yet, or has prolonged the ticket since
        if phase == "paused_system" and self.request.direction == "upload" and not self._finalizing:
            keep_what_was_written(self._engine, self.id, name, self.request.format, self._wait_terminal)
            self._wait_unlocked()
            return self._begin_again()
        if not self.request.renewable or self._finalizing:
            raise TransferFailed(
                f"The engine ended the transfer of {name} (phase {phase}).", "Look at the engine's events."
            )
        log.warning("%s: the engine ended its transfer (phase %s); starting another", name, phase)
        self._wait_terminal()
        return self._begin_again()

    def _begin_again(self) -> Urls:
        self._gone()
        self._mark = self.request.inactivity_timeout + random.randint(1, _SPREAD)
        return self._begin()

    # -- the end -------------------------------------------------------------------------------------

    def finalize(self) -> None:
        """Every byte has moved: hang up and ask the engine to end the transfer. Does not wait."""
        self.hang_up()
        self._finalizing = True
        self._engine.call(
            f"finalize the transfer of {self.request.name}",
            lambda s: s.image_transfers_service().image_transfer_service(self.id).finalize(),
        )

    def wait_success(self) -> None:
        """Wait until the engine has ended the transfer; `TransferFailed` unless it was a success."""
        phase = self._wait_terminal()
        self._ended = True
        self._gone()
        if phase == "finished_success":
            if self.request.backup_id is None:
                self._wait_unlocked()
            return
        if phase == "gone" and self._outcome_of_disk():
            return
        reason = "its disk was removed" if self.request.direction == "upload" else "the data may be wrong"
        raise TransferFailed(
            f"The transfer of {self.request.name} ended with {phase}; {reason}.",
            "Look at the engine's events.",
        )

    def finish(self) -> None:
        """`finalize` and `wait_success`."""
        self.finalize()
        self.wait_success()

    def abort(self) -> None:
        """Cancel and wait for the end. A cancelled upload takes its whole disk with it; see `keep`."""
        self.hang_up()
        if self._ended or not self._tracked.there():
            return
        end_transfer(self._engine, self.id, self.request.name, keep_disk=self.request.keep_disk)
        self._ended = True
        self._gone()
        if self.request.backup_id is None:
            self._wait_unlocked()

    def _gone(self) -> None:
        """It has ended. One that was asked for twice, for its answer was lost, may be there twice."""
        if self._tracked.doubtful:
            request = self.request
            other = find_transfer(self._engine, request.disk_id, request.direction, self._mark)
            try:
                if other is not None:
                    end_transfer(self._engine, other, request.name, keep_disk=request.keep_disk)
            except BorgOvirtError as error:
                log.warning("%s: a second transfer of it, %s, stays: %s", request.name, other, error.message)
        self._tracked.gone()

    def hang_up(self) -> None:
        self._stop.set()
        if hasattr(self, "session"):
            self.session.close()

    def _wait_terminal(self) -> str:
        return wait_terminal(self._engine, self.id, self.request.name)

    def _wait_unlocked(self) -> None:
        """Until the engine has let go of the disk or of the layer (or it is gone)."""
        engine, name = self._engine, self.request.name
        engine.patience.wait(
            f"{name} to be unlocked", lambda: None if self._is_locked() else True, engine.patience.end
        )

    def _is_locked(self) -> bool:
        disk, image = self.request.disk_id, self.request.image_id
        try:
            if image is None:
                found = self._engine.call(
                    f"read {self.request.name}", lambda s: s.disks_service().disk_service(disk).get()
                )
                return str(found.status) == "locked"
            layers = self._engine.call(
                f"list the layers of {self.request.name}",
                lambda s: s.disks_service().disk_service(disk).disk_snapshots_service().list(),
            )
            return any(str(layer.status) == "locked" for layer in layers or () if layer.id == image)
        except NotFound:
            return False

    def _outcome_of_disk(self) -> bool:
        """Engines before 4.4.7 forget a transfer at its end: then the disk tells."""
        try:
            self._wait_unlocked()
            disk = self._engine.call(
                f"read {self.request.name}",
                lambda s: s.disks_service().disk_service(self.request.disk_id).get(),
            )
        except NotFound:
            return False
        return str(disk.status) == "ok"


class Download(Transfer):
    """A transfer out of the engine."""

    @property
    def source(self) -> Source:
        return Source(self.session, self.request.size)


class Upload(Transfer):
    """A transfer into the engine."""

    @property
    def target(self) -> Target:
        return Target(self.session, self.request.size)


@contextmanager
def download(
    engine: Engine, journal: Journal, request: TransferRequest, persistence: Persistence | None = None
) -> Iterator[Download]:
    """A download, started. Call `finish()` inside; leaving without it cancels and waits for the end."""
    transfer = Download(engine, journal, request)
    transfer.start(persistence)
    try:
        yield transfer
    finally:
        transfer.abort()


@contextmanager
def upload(
    engine: Engine, journal: Journal, request: TransferRequest, persistence: Persistence | None = None
) -> Iterator[Upload]:
    """An upload, started. Call `finish()` inside.

    Leaving without it cancels the transfer, and then the engine removes the WHOLE disk with all its layers,
    whether or not it existed before; unless the request says `keep_disk`.
    """
    transfer = Upload(engine, journal, request)
    transfer.start(persistence)
    try:
        yield transfer
    finally:
        transfer.abort()
