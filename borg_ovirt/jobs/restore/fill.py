"""Sends the bytes of restored disks and proves them: several disks at once, the layers of each base first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from borg_ovirt.errors import Interrupted
from borg_ovirt.jobs.restore.contents import Contents
from borg_ovirt.jobs.restore.options import RestoreOptions
from borg_ovirt.jobs.restore.plan import DiskPlan, LayerPlan
from borg_ovirt.ovirt.data.imageio import Target
from borg_ovirt.ovirt.data.transfer import TransferRequest, Upload
from borg_ovirt.ovirt.data.transfer import upload as upload_transfer
from borg_ovirt.ovirt.make.disks import wait_ok
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.digests import BlockDigests
from borg_ovirt.pipe.ports import Content
from borg_ovirt.pipe.proof import prove
from borg_ovirt.pipe.upload import WRITERS, UploadStats, upload
from borg_ovirt.progress import Progress

AT_ONCE = 4
"""Disks that are filled at a time."""


@dataclass
class RestoredDisk:
    """One disk, restored."""

    alias: str
    disk_id: str
    size: int
    stats: UploadStats
    proof: str | None
    """How its content was proven; None without a proof."""


@dataclass
class Filling:
    """What the disks share while they are filled."""

    contents: Contents
    engine: Engine
    options: RestoreOptions
    journal: Journal
    progress: Progress
    stop: threading.Event | None = None
    """Set: it ends as by an interrupt."""
    vm_id: str | None = None
    """The VM that has the disks by now."""
    under_way: set[Upload] = field(default_factory=set)
    stopped: bool = False

    def fill(self, disks: Sequence[DiskPlan], at_once: int) -> list[RestoredDisk]:
        """Fill every disk and prove it. The first error ends all, and is raised at the end."""
        with ThreadPoolExecutor(at_once, thread_name_prefix="restore") as pool:
            running = [pool.submit(self._fill, disk) for disk in disks]
            try:
                failed = _first_failure(running, self.stop)
            except BaseException:
                self._stop()
                raise
            if failed is not None:
                self._stop()
        if failed is not None:
            raise failed
        return [done.result() for done in running]

    def _stop(self) -> None:
        """End every upload that is under way; none begins any more."""
        self.stopped = True
        for transfer in list(self.under_way):
            transfer.hang_up()

    def _fill(self, disk: DiskPlan) -> RestoredDisk:
        total = UploadStats()
        proof = None
        for layer in disk.layers or (None,):
            if self.stopped:
                raise Interrupted("Interrupted.")
            if layer is None:
                with self.contents.image(disk.source) as content:
                    stats, proof = self._send(disk, None, content)
            else:
                stats, proof = self._send(disk, layer, self.contents.layer(disk.source, layer))
                wait_ok(self.engine, disk.disk_id, disk.alias)
            for name, value in vars(stats).items():
                setattr(total, name, getattr(total, name) + value)
        return RestoredDisk(disk.alias, disk.disk_id, disk.source.record.size, total, proof)

    def _send(
        self, disk: DiskPlan, layer: LayerPlan | None, content: Content
    ) -> tuple[UploadStats, str | None]:
        """Move one image, or one layer, into the place made for it: what was sent, and how it was proven."""
        name = disk.alias or disk.disk_id
        if layer is not None:
            name += f", layer {disk.layers.index(layer) + 1} of {len(disk.layers)}"
        raw = layer is None or layer.record.format == "raw"
        request = TransferRequest(
            direction="upload",
            disk_id=disk.disk_id,
            name=f"disk {name}",
            size=disk.size if raw else content.size,
            vm_id=self.vm_id,
            image_id=layer.image_id if layer else None,
            format="raw" if raw else None,
            keep_disk=disk.exists,
        )
        # Elsewhere the daemon exports more than the disk, and its checksum would cover that too.
        exact = raw and (not disk.domain.block or (layer is None and disk.format == "cow"))
        with upload_transfer(self.engine, self.journal, request) as transfer:
            self.under_way.add(transfer)
            try:
                stats, proof = self._move(content, transfer.target, name, raw and disk.reads_zero, exact)
                transfer.finish()
            except BaseException:
                if disk.exists:
                    again = f"restore over it again (--over {disk.disk_id})"
                    self.progress.warn(f"disk {name} stays, and may be overwritten in part: {again}")
                raise
            finally:
                self.under_way.discard(transfer)
        return stats, proof

    def _move(
        self, content: Content, target: Target, name: str, zero: bool, exact: bool
    ) -> tuple[UploadStats, str | None]:
        digests = BlockDigests.of_nothing_yet(content) if not self.options.no_proof else None
        with self.progress.disk(name, target.size) as gauge:
            stats = upload(
                content,
                target,
                target_is_zero=zero,
                writers=max(1, min(self.options.writers or WRITERS, target.max_writers)),
                digests=digests,
                progress=gauge,
                name=f"disk {name}",
            )
        if digests is None:
            return stats, None
        self.progress.step(f"{name}: proving the content")
        return stats, prove(digests, target, use_checksum=exact, name=f"disk {name}").value


def _first_failure(running: list[Future[RestoredDisk]], stop: threading.Event | None) -> BaseException | None:
    left = set(running)
    while left:  # in slices, so that a signal gets its turn
        if stop is not None and stop.is_set():
            raise Interrupted("Interrupted.")
        done, left = wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
        for future in done:
            if future.exception() is not None:
                return future.exception()
    return None
