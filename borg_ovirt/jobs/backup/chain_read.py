"""The layers of one disk on their way into an archive: referred to, sampled, or read."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic

from borg_ovirt.blocks import Chunk, Extent
from borg_ovirt.jobs.backup.base import BaseDisk
from borg_ovirt.jobs.backup.chain_reuse import OldLayer
from borg_ovirt.ovirt.data.layers import OpenLayers, layer_request
from borg_ovirt.ovirt.data.transfer import TransferRequest
from borg_ovirt.ovirt.facts.chain import Chain, LayerFacts, check_head
from borg_ovirt.pipe.download import DownloadStats, download
from borg_ovirt.pipe.fetch import Buffers
from borg_ovirt.pipe.plan import REUSE, Plan, make_plan
from borg_ovirt.pipe.ports import P, Sink, Source
from borg_ovirt.pipe.sample import Sampling, check_sample, choose_sample
from borg_ovirt.progress import Progress
from borg_ovirt.qcow2 import HEAD
from borg_ovirt.repository import layout
from borg_ovirt.repository.writer import ArchiveWriter


@dataclass
class LayerWork:
    """One layer between the engine and the archive."""

    facts: LayerFacts
    child: str | None
    active: bool
    """It is the disk's active layer: its disk is transferred, not a snapshot of it."""
    old: OldLayer | None
    reason: str | None
    """Why it is read; None when it is referred to."""
    sampled: bool = False
    """It is referred to, but some of it is read all the same."""
    size: int = 0
    """Bytes of its file, when it is stored."""

    @property
    def opened(self) -> bool:
        """It needs a transfer."""
        return self.old is None or self.sampled


@dataclass
class DiskWork:
    """The layers of one disk that go into the archive, base first."""

    chain: Chain
    layers: list[LayerWork]
    cells_sampled: int = 0
    bytes_sampled: int = 0
    mismatches: int = 0

    @property
    def name(self) -> str:
        return self.chain.disk.alias or self.chain.disk.id

    @property
    def reused(self) -> list[LayerWork]:
        return [layer for layer in self.layers if layer.old is not None]


def pick_samples(works: list[DiskWork], sampling: Sampling) -> None:
    """Choose the reused layers that are looked into: of each disk a share of them, but at least one."""
    if not sampling.rate:
        return
    for work in works:
        reused = work.reused
        if reused:
            count = max(1, math.ceil(sampling.rate * len(reused)))
            # Nobody must be able to guess which layers are looked at.
            for layer in random.SystemRandom().sample(reused, count):
                layer.sampled = True


def requests(layers: Iterable[LayerWork], vm_id: str) -> list[tuple[str, TransferRequest]]:
    """The transfers of these layers, by image id."""
    return [
        (
            layer.facts.image_id,
            layer_request(layer.facts, f"layer {layer.facts.image_id}", vm_id, active=layer.active),
        )
        for layer in layers
    ]


@dataclass
class Reading:
    """What the disks of one backup share while they are read."""

    vm_id: str
    archive: ArchiveWriter
    layers: OpenLayers
    cell: int
    buffers: Buffers
    readers: int
    sampling: Sampling
    progress: Progress
    through: Callable[[Source], Source] | None

    def check_samples(self, work: DiskWork) -> None:
        """Compare a few cells of reused layers; a difference makes every layer of the disk be read."""
        for layer in work.layers:
            if layer.old is not None and layer.sampled:
                self._check(work, layer, layer.old)
        if not work.mismatches:
            return
        self.layers.open(requests((layer for layer in work.reused if not layer.opened), self.vm_id))
        for layer in work.reused:
            layer.old = None
            layer.reason = "a sample of the disk's reused layers differs from the archive"

    def _check(self, work: DiskWork, layer: LayerWork, old: OldLayer) -> None:
        source = self._source(layer)
        if source.size != old.content.size:
            work.mismatches += 1
            return
        base = BaseDisk(old.content, self.cell)
        plan = Plan(source.size, self.cell, f"layer {layer.facts.image_id}")
        plan.kinds[:] = bytes([REUSE]) * plan.cells
        cells = choose_sample(plan, base, self.sampling)
        if cells and cells[0] != 0 and not base.is_zero(0):
            cells.insert(0, 0)  # the header: what every merge writes to
        sink = self.archive.loose_sink(self.cell)
        wrong = check_sample(plan, base, cells, source, sink, readers=self.readers, buffers=self.buffers)
        work.cells_sampled += len(cells)
        work.bytes_sampled += sum(plan.cell_size(index) for index in cells)
        work.mismatches += len(wrong)

    def store(self, work: DiskWork) -> DownloadStats:
        """Bring the disk's layers into the archive, base first."""
        total = DownloadStats()
        for layer in work.layers:
            stats = self._refer(work, layer, layer.old) if layer.old else self._read(work, layer)
            for name, value in vars(stats).items():
                setattr(total, name, getattr(total, name) + value)
        return total

    def _refer(self, work: DiskWork, layer: LayerWork, old: OldLayer) -> DownloadStats:
        """Name the chunks of the earlier archive again."""
        stats = DownloadStats()
        content = old.content
        layer.size = content.size
        sink = self.archive.disk(self._path(work, layer), content.size, self.cell)
        with self.progress.disk(self._name(work, layer), content.size, 0) as gauge:
            for chunk in content.chunks:
                sink.reuse(chunk)
                if content.is_zero(chunk):
                    stats.bytes_zero += chunk.size
                    stats.cells_zero += 1
                else:
                    stats.bytes_reused += chunk.size
                    stats.cells_reused += 1
            gauge.advance(reused=stats.bytes_reused, zero=stats.bytes_zero)
        sink.close()
        return stats

    def _read(self, work: DiskWork, layer: LayerWork) -> DownloadStats:
        source = self._source(layer)
        layer.size = source.size
        name = self._name(work, layer)
        raw = layer.facts.format == "raw"
        extents = source.extents("zero") if raw else [Extent(0, source.size, zero=False)]
        plan = make_plan(source.size, self.cell, extents, longer_export=raw, name=name)
        sink = self.archive.disk(self._path(work, layer), source.size, self.cell)
        headed = _Headed(sink)
        with self.progress.disk(name, source.size, plan.bytes_to_fetch) as gauge:
            stats = download(plan, source, headed, readers=self.readers, buffers=self.buffers, progress=gauge)
        sink.close()
        check_head(work.name, layer.facts, headed.head)
        return stats

    def _source(self, layer: LayerWork) -> Source:
        source: Source = self.layers.source(layer.facts.image_id)
        return self.through(source) if self.through else source

    def _path(self, work: DiskWork, layer: LayerWork) -> str:
        return layout.layer_path(work.chain.disk.id, layer.facts.image_id)

    def _name(self, work: DiskWork, layer: LayerWork) -> str:
        return f"{work.name}, layer {work.layers.index(layer) + 1} of {len(work.layers)}"


class _WithHead(Generic[P]):
    """What a sink prepared, and the first bytes it was prepared from."""

    __slots__ = ("head", "inner")

    def __init__(self, inner: P, head: bytes) -> None:
        self.inner = inner
        self.head = head

    @property
    def id(self) -> bytes:
        return self.inner.id

    @property
    def size(self) -> int:
        return self.inner.size


class _Headed(Generic[P]):
    """A sink that keeps the first bytes that went into it: the header, as it was stored."""

    def __init__(self, sink: Sink[P]) -> None:
        self.head = b""
        self._sink = sink
        self._begun = False

    @property
    def zero_id(self) -> bytes:
        return self._sink.zero_id

    def prepare(self, data: memoryview) -> _WithHead[P]:
        head = b"" if self._begun else bytes(data[:HEAD])
        return _WithHead(self._sink.prepare(data), head)

    def store(self, prepared: _WithHead[P]) -> bool:
        if not self._begun:
            self._begun, self.head = True, prepared.head
        return self._sink.store(prepared.inner)

    def zero(self, size: int, count: int = 1) -> None:
        self._begun = True
        self._sink.zero(size, count)

    def reuse(self, chunk: Chunk) -> None:
        self._begun = True
        self._sink.reuse(chunk)
