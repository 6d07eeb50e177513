"""The bytes of restored chains: each disk's layers base first, one at a time; several disks at once."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from borg_ovirt.errors import Interrupted, RestoreFailed
from borg_ovirt.jobs.restore.chain_plan import ChainDisk, ChainPlan, LayerPlan, most_bytes
from borg_ovirt.jobs.restore.extract import ExtractOptions, RestoredDisk, send
from borg_ovirt.jobs.restore.flatten import image_end, stage, work_place
from borg_ovirt.ovirt.data.transfer import TransferRequest, Upload, upload
from borg_ovirt.ovirt.make.disks import wait_ok
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.pipe.patched import PatchedContent
from borg_ovirt.pipe.ports import Content
from borg_ovirt.pipe.shared import SharedContent
from borg_ovirt.pipe.trimmed import TrimmedContent
from borg_ovirt.pipe.upload import UploadStats
from borg_ovirt.progress import Progress
from borg_ovirt.qcow2 import HEAD, BadHeader, backing_patch, read_header
from borg_ovirt.repository.reader import ArchiveReader

_AT_ONCE = 4
"""Disks that are filled at a time."""


def upload_chains(
    reader: ArchiveReader,
    engine: Engine,
    plan: ChainPlan,
    options: ExtractOptions,
    work_dir: Path | None,
    journal: Journal,
    progress: Progress,
) -> list[RestoredDisk]:
    """Fill every layer of every disk and prove it. The first error ends all, and is raised at the end."""
    work = _Uploads(reader, engine, options, work_dir, journal, progress, plan.restore.vm_id)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="chains") as pool:
        running = [pool.submit(work.fill, disk) for disk in plan.disks]
        try:
            failed = _first_failure(running)
        except BaseException:
            work.stop()
            raise
        if failed is not None:
            work.stop()
    if failed is not None:
        raise failed
    return [done.result() for done in running]


def _first_failure(running: list[Future[RestoredDisk]]) -> BaseException | None:
    left = set(running)
    while left:  # in slices, so that a signal gets its turn
        done, left = wait(left, timeout=0.5, return_when=FIRST_EXCEPTION)
        for future in done:
            if future.exception() is not None:
                return future.exception()
    return None


@dataclass
class _Uploads:
    """What the disks share while they are filled."""

    reader: ArchiveReader
    engine: Engine
    options: ExtractOptions
    work_dir: Path | None
    journal: Journal
    progress: Progress
    vm_id: str | None
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Around the repository, which serves one at a time."""
    under_way: set[Upload] = field(default_factory=set)
    stopped: bool = False

    def stop(self) -> None:
        """End every upload that is under way; none begins any more."""
        self.stopped = True
        for transfer in list(self.under_way):
            transfer.hang_up()

    def fill(self, disk: ChainDisk) -> RestoredDisk:
        """All layers of one disk, base first."""
        base = disk.base
        total = UploadStats()
        proof = None
        for layer in disk.layers:
            if self.stopped:
                raise Interrupted("Interrupted.")
            stats, proof = self._send(disk, layer)
            for name, value in vars(stats).items():
                setattr(total, name, getattr(total, name) + value)
            wait_ok(self.engine, base.disk_id, base.record.alias)
        return RestoredDisk(base.record.alias, base.disk_id, base.record.size, total, proof)

    def _send(self, disk: ChainDisk, layer: LayerPlan) -> tuple[UploadStats, str | None]:
        base = disk.base
        raw = layer.record.format == "raw"
        number = f"{disk.layers.index(layer) + 1} of {len(disk.layers)}"
        name = f"{base.record.alias or base.record.id}, layer {number}"
        content = self._content(disk, layer)
        request = TransferRequest(
            direction="upload",
            disk_id=base.disk_id,
            name=f"disk {name}",
            size=base.record.size if raw else content.size,
            vm_id=self.vm_id,
            image_id=layer.image_id,
            format="raw" if raw else None,
        )
        with upload(self.engine, self.journal, request) as transfer:
            self.under_way.add(transfer)
            try:
                target = transfer.target
                writers = min(self.options.writers, target.max_writers)
                sent = send(
                    content,
                    target,
                    name,
                    replace(self.options, writers=max(1, writers)),
                    self.progress,
                    target_is_zero=raw and base.reads_zero,
                    exact_export=raw and not base.domain.block,
                )
                transfer.finish()
            finally:
                self.under_way.discard(transfer)
        return sent

    def _content(self, disk: ChainDisk, layer: LayerPlan) -> Content:
        """The layer's bytes as they are to be uploaded."""
        with self.lock:
            content: Content = SharedContent(self.reader.disk(layer.record.path), self.lock)
        if layer.backing is not None:
            content = _with_parent(content, layer, layer.backing)
        # A file from block storage holds its whole volume, which may be more than fits into the layer made.
        if layer.record.format == "raw" or content.size <= most_bytes(disk.base):
            return content
        return TrimmedContent(content, self._end(disk, layer))

    def _end(self, disk: ChainDisk, layer: LayerPlan) -> int:
        with work_place(self.work_dir) as place:
            with self.lock:
                stage(self.reader, disk.base.record, [layer.record], place, self.progress)
            return image_end(place / layer.record.image_id)


def _with_parent(content: Content, layer: LayerPlan, parent: str) -> Content:
    """The layer with another backing name in its header; exchanged on the way, not in the archive."""
    head = b""
    for view in content.fetch(content.chunks):
        head += bytes(view[:HEAD])
        if len(head) >= HEAD:
            break
    try:
        return PatchedContent(content, backing_patch(read_header(head[:HEAD]), parent))
    except BadHeader as error:
        raise RestoreFailed(
            f"Layer {layer.record.image_id} cannot be given another parent: {error}."
        ) from None
