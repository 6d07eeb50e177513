"""The items of a backup, each a path in the archive: planned, sampled and stored, disk by disk.

In image mode a disk is one item, in chain mode each of its layers is one. A layer that an earlier archive
holds as it is now is only referred to: it needs no transfer, unless it is one of those that are looked into.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import BackupFailed
from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.headed import Headed
from borg_ovirt.jobs.backup.reuse import Found, ItemBase, Wanted
from borg_ovirt.jobs.backup.stores import Archive
from borg_ovirt.ovirt.capture.capture import Capture, CapturedDisk, CapturedLayer
from borg_ovirt.ovirt.facts.chain import LayerFacts, check_head
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.pipe.download import DownloadStats, download
from borg_ovirt.pipe.fetch import Buffers
from borg_ovirt.pipe.held import Held, size_held
from borg_ovirt.pipe.plan import Plan, make_plan, plan_reuse
from borg_ovirt.pipe.ports import Source
from borg_ovirt.pipe.sample import Sampling, check_sample, choose_sample
from borg_ovirt.progress import Gauge, Progress
from borg_ovirt.repository import layout

_FILES = {"nfs", "localfs", "posixfs", "glusterfs"}
"""Types of storage whose raw volumes are files: as long as the disk, or up to the end of a block."""
_BLOCK = 4096


@dataclass(eq=False)
class Item:
    """A path in the archive, and where its cells come from."""

    path: str
    name: str
    layer: CapturedLayer
    base: ItemBase[object] | None
    reason: str | None
    """Why nothing is reused."""
    fallback: bool
    """That nothing is reused is a step back, not the item's nature."""
    most: int | None
    """Bytes that its export may have; None for a raw volume on block storage, which ends after its disk."""
    source: Source | None = None
    plan: Plan = field(default_factory=lambda: Plan(0, 1))

    @property
    def known(self) -> bool:
        """A layer that the archive holds as it is now: nothing of it has to be read."""
        return self.base is not None and self.layer.facts is not None

    def extents(self) -> Iterator[Extent]:
        """All of the source's, none beyond it unless it may be longer."""
        assert self.source is not None
        if self.layer.is_file:
            yield from self.source.extents("zero")
            return
        for extent in self.source.extents("dirty" if self.base else "zero"):
            if self.most is not None and extent.end > self.most:
                raise BackupFailed(
                    f"{self.layer.request.name} is longer than the engine says: {self.source.size} bytes.",
                    "Nothing was stored. Did it grow while the backup began? Try again.",
                )
            yield extent


@dataclass(eq=False)
class DiskItems:
    """What goes into the archive of one disk, base first."""

    disk: CapturedDisk
    items: list[Item]
    sampled: int = 0
    mismatches: int = 0
    kind_asked: str = field(init=False)

    def __post_init__(self) -> None:
        expected = self.reuses or any(item.layer.incremental for item in self.items)
        self.kind_asked = "incremental" if expected else "full"

    @property
    def facts(self) -> DiskFacts:
        return self.disk.facts

    @property
    def name(self) -> str:
        return self.facts.alias or self.facts.id

    @property
    def reuses(self) -> bool:
        """Something of an earlier archive is used again."""
        return any(item.base is not None for item in self.items)


class Items:
    """All items of one backup. `lay_out` decides what becomes of each; then `check` and `store` each disk."""

    def __init__(
        self,
        captured: Capture,
        domains: Mapping[str, tuple[str, str]],
        cell: int,
        sampling: Sampling,
        readers: int,
        through: Callable[[Source], Source] | None = None,
    ) -> None:
        self.disks: list[DiskItems] = []
        self.cell = cell
        self._captured = captured
        self._domains = domains
        self._sampling = sampling
        self._readers = readers
        self._through = through or (lambda source: source)
        self._gauges: list[Gauge] = []
        self._picked: set[Item] = set()
        """Known layers that are looked into all the same."""
        self._snapshots = frozenset(s.id for s in captured.vm.snapshots if s.type == "regular")

    def lay_out(self, choice: Choice) -> None:
        """Look up what can be reused, start the transfers of whole disks, and lay their extents on the grid.

        Layers are opened one after the other, when their turn comes: they are frozen and lose nothing.
        """
        for disk in self._captured.disks:
            items = [self._item(disk, layer, choice) for layer in disk.layers]
            self.disks.append(DiskItems(disk, items))
        items = [item for disk in self.disks for item in disk.items]
        self._picked = {item for disk in self.disks for item in self._pick(disk)}
        whole = [item for item in items if item.layer.facts is None]
        self._open(whole)
        for item in items:
            if item.known or item in whole:
                self._plan(item)

    def measure(self) -> None:
        """Lay out the layers that would be read, too; nothing of them is read."""
        for disk in self.disks:
            for item in disk.items:
                if not item.known and item.source is None:
                    with self._reading(item):
                        self._plan(item)

    @contextmanager
    def _reading(self, item: Item) -> Iterator[Source]:
        """Its source, for so long: no two layers of a disk may be open at once."""
        self._open([item])
        assert item.source is not None
        yield item.source
        item.source = None
        self._captured.close(item.layer)

    def _item(self, disk: CapturedDisk, layer: CapturedLayer, choice: Choice) -> Item:
        name = disk.facts.alias or disk.facts.id
        if layer.facts is None:
            path = layout.disk_path(disk.facts.id)
        else:
            path = layout.layer_path(disk.facts.id, layer.facts.image_id)
            name = f"{name}, layer {disk.layers.index(layer) + 1} of {len(disk.layers)}"
        wanted = Wanted(
            path, disk.facts.id, self.cell, disk.facts.size, layer.facts, layer.child, self._snapshots
        )
        most = self._most(layer.facts or disk.facts, layer.request.size)
        return Item(path, name, layer, *_look_up(choice, disk.facts, layer, wanted), most=most)

    def _most(self, volume: LayerFacts | DiskFacts, size: int) -> int | None:
        """How long the export of a volume may be: only a raw one may be longer than what is in it."""
        _, storage_type = self._domains.get(volume.storage_domain or "", ("", ""))
        if volume.format != "raw":
            return size
        return -(-size // _BLOCK) * _BLOCK if storage_type in _FILES else None

    def _pick(self, disk: DiskItems) -> list[Item]:
        """Which known layers are looked into all the same: a share of them, but at least one of each disk."""
        known = [item for item in disk.items if item.known]
        if not known or not self._sampling.rate:
            return []
        count = max(1, math.ceil(self._sampling.rate * len(known)))
        # Nobody must be able to guess which layers are looked at.
        return random.SystemRandom().sample(known, count)

    def _open(self, items: list[Item]) -> None:
        self._captured.open(item.layer for item in items)
        for item in items:
            assert item.layer.source is not None
            item.source = self._through(item.layer.source)

    def _plan(self, item: Item) -> None:
        name = item.layer.request.name
        if item.base is not None and item.known:
            item.plan = plan_reuse(item.base, name)
            return
        assert item.source is not None
        item.plan = make_plan(
            item.source.size,
            self.cell,
            item.extents(),
            item.base,
            longer_export=item.most != item.source.size,
            name=name,
        )

    def check(self, disk: DiskItems, buffers: Buffers) -> None:
        """Trust but sample: a few of the reused cells are read; where one differs, nothing is reused.

        What differs is counted in `mismatches`. Nothing of the disk may have been stored yet.
        """
        for item in disk.items:
            if item.base is not None and item.source is not None:
                self._check(disk, item, item.base, item.source, buffers)
            elif item.base is not None and item in self._picked:
                with self._reading(item) as source:
                    self._check(disk, item, item.base, source, buffers)
        if not disk.mismatches:
            return
        for item in [item for item in disk.items if item.base is not None]:
            if item.known:
                item.reason = "a sample of the disk's reused layers differs from the archive"
                item.base = None  # it is read when its turn comes
            else:
                item.reason = f"its change tracking is wrong: {disk.mismatches} cells differ from the base"
                item.base = None
                self._plan(item)

    def _check(
        self, disk: DiskItems, item: Item, base: ItemBase[object], source: Source, buffers: Buffers
    ) -> None:
        if item.known and source.size != base.size:
            disk.mismatches += 1
        elif item.plan.mismatches:
            disk.mismatches += len(item.plan.mismatches)
        else:
            # Of a layer always the header: it is what every merge writes to.
            cells = choose_sample(item.plan, self._sampling, known=item.known)
            wrong = check_sample(item.plan, base, cells, source, readers=self._readers, buffers=buffers)
            disk.sampled += len(cells)
            disk.mismatches += len(wrong)

    def size_held(self) -> int | None:
        """Bytes that `read_ahead` would hold; None where layers are still to be opened one after another."""
        items = [item for disk in self.disks for item in disk.items]
        if any(item.source is None and not item.known for item in items):
            return None
        return sum(size_held(item.plan) for item in items)

    def read_ahead(self, buffers: Buffers) -> None:
        """Read all that is to be stored: the capture is not needed any more."""
        for item in [item for disk in self.disks for item in disk.items]:
            if item.source is not None:
                item.source = Held(item.plan, item.source, readers=self._readers, buffers=buffers)

    def seconds_left(self) -> float:
        """For how long it is still stored, at the rate so far."""
        items = [item for disk in self.disks for item in disk.items]
        left = sum(item.layer.request.size for item in items if item.plan.size == 0 and not item.known)
        left += sum(item.plan.bytes_to_fetch for item in items)
        read = sum(gauge.read for gauge in self._gauges)
        if left <= read:
            return 0.0
        return (left - read) * (time.monotonic() - self._gauges[0].started) / read if read else math.inf

    def store(self, disk: DiskItems, archive: Archive, buffers: Buffers, progress: Progress) -> DownloadStats:
        """Bring the disk's items into the archive."""
        total = DownloadStats()
        for item in disk.items:
            if item.known or item.source is not None:
                total.add(self._store(disk, item, archive, buffers, progress))
                continue
            with self._reading(item):
                self._plan(item)
                total.add(self._store(disk, item, archive, buffers, progress))
        return total

    def _store(
        self, disk: DiskItems, item: Item, archive: Archive, buffers: Buffers, progress: Progress
    ) -> DownloadStats:
        plan = item.plan
        sink = archive.item(item.path, plan.size, plan.cell)
        head: Headed[Any, Any] | None = Headed(sink) if item.layer.is_file and not item.base else None
        with progress.disk(item.name, plan.size, plan.bytes_to_fetch) as gauge:
            self._gauges.append(gauge)
            stats = download(
                plan,
                item.source,
                head or sink,
                base=item.base,
                readers=self._readers,
                buffers=buffers,
                progress=gauge,
            )
            archive.complete(sink, stats)
        if head is not None and item.layer.facts is not None:
            check_head(disk.name, item.layer.facts, head.head)
        return stats


def _look_up(choice: Choice, disk: DiskFacts, layer: CapturedLayer, wanted: Wanted) -> Found:
    if choice.base is None:
        return Found(None, layer.reason or choice.reason, fallback=False)
    if layer.facts is None and not layer.incremental:  # a raw disk is full by nature
        return Found(None, layer.reason, fallback=disk.format != "raw")
    return choice.base.find(wanted)
