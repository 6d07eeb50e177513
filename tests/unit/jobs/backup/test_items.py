"""What becomes of each item of a backup: read, reused, doubted; nothing is stored before it is sure."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from unit.pipe.fakes import Base, Sink, Source

from borg_ovirt.blocks import Extent
from borg_ovirt.errors import BackupFailed
from borg_ovirt.jobs.backup.base import Choice
from borg_ovirt.jobs.backup.items import DiskItems, Items
from borg_ovirt.jobs.backup.reuse import Found, Wanted
from borg_ovirt.ovirt.capture.capture import CapturedDisk, CapturedLayer
from borg_ovirt.ovirt.data.transfer import TransferRequest
from borg_ovirt.ovirt.facts.chain import LayerFacts
from borg_ovirt.ovirt.facts.model import DiskFacts
from borg_ovirt.pipe.fetch import Buffers
from borg_ovirt.pipe.sample import Sampling
from borg_ovirt.progress import Progress

CELL = 4
OLD = b"aaaabbbbccccdddd"


class Bench:
    """Disks of an instant, the bases of an archive, and a repository."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.bases: dict[str, Found] = {}
        self.disks: list[CapturedDisk] = []
        self.opened: list[str] = []
        self.held: list[str] = []
        self.wanted: list[Wanted] = []
        self.sinks: dict[str, Sink] = {}
        self.vm = SimpleNamespace(snapshots=())
        self.repository: dict[bytes, bytes] = {}

    def open(self, layers: Iterable[CapturedLayer]) -> None:
        for layer in layers:
            self.opened.append(layer.request.name)
            layer.source = self.sources[layer.request.name]  # type: ignore[assignment]
            self.held.append(layer.request.disk_id)
        assert len(set(self.held)) == len(self.held), "one transfer of a disk at a time"

    def close(self, layer: CapturedLayer) -> None:
        layer.source = None
        self.held.remove(layer.request.disk_id)

    def find(self, wanted: Wanted) -> Found:
        self.wanted.append(wanted)
        return self.bases.get(wanted.path, Found(None, "it is not in web01-1"))

    def disk(
        self, data: bytes, extents: list[Extent], *, incremental: bool = True, form: str = "cow", **facts: Any
    ) -> None:
        """A disk read as a whole."""
        number = len(self.disks)
        name = f"disk {number}"
        self.sources[name] = Source(data, extents)
        size = facts.pop("size", len(data))
        request = TransferRequest("download", f"d{number}", name, size)
        layer = CapturedLayer(request, incremental=incremental, reason=None if incremental else "a raw disk")
        disk = DiskFacts(f"d{number}", f"disk{number}", size, form, True, "image", **facts)
        self.disks.append(CapturedDisk(disk, "live backup", [layer]))

    def chain(self, *layers: bytes) -> None:
        """A disk read layer by layer."""
        found = []
        for number, data in enumerate(layers):
            name = f"layer i{number}"
            self.sources[name] = Source(data, [Extent(0, len(data), zero=False)])
            request = TransferRequest("download", "d0", name, len(data), image_id=f"i{number}", format=None)
            below = f"i{number - 1}" if number else None
            found.append(
                CapturedLayer(request, LayerFacts(f"i{number}", "d0", below, "cow", True, len(data)), None)
            )
        disk = DiskFacts("d0", "disk0", len(layers[-1]), "cow", True, "image")
        self.disks.append(CapturedDisk(disk, "temporary snapshot", found))

    def base(self, path: str, data: bytes) -> None:
        made: Any = Base(data, CELL)
        made.archive = "web01-1"
        made.fill(self.repository)
        self.bases[path] = Found(made)

    def items(
        self, *, base: bool = True, rate: float = 1.0, domains: dict[str, tuple[str, str]] | None = None
    ) -> Items:
        captured: Any = self
        made = Items(captured, domains or {}, CELL, Sampling(rate, 1), 2)
        start: Any = self
        made.lay_out(Choice(start if base else None, None if base else "first backup", fallback=False))
        return made

    # the archive
    def item(self, path: str, size: int, cell: int) -> Sink:
        self.sinks[path] = Sink(cell, self.repository)
        return self.sinks[path]

    def complete(self, sink: object, stats: object) -> None:
        """All its cells are there."""

    def store(self, items: Items) -> dict[str, bytes]:
        archive: Any = self
        for disk in items.disks:
            buffers = Buffers(CELL, 8)
            items.check(disk, buffers)
            assert not self.sinks or disk is not items.disks[0], "nothing is stored before it was looked at"
            items.store(disk, archive, buffers, Progress())
        return {path: sink.content for path, sink in self.sinks.items()}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def only(items: Items) -> DiskItems:
    (disk,) = items.disks
    return disk


CLEAN = [Extent(0, 4, False, True), Extent(4, 12, False, False)]


def test_only_what_changed_is_read(bench: Bench) -> None:
    bench.disk(b"AAAA" + OLD[4:], CLEAN)
    bench.base("disks/d0.raw", OLD)
    items = bench.items(rate=0)
    assert bench.store(items) == {"disks/d0.raw": b"AAAA" + OLD[4:]}
    assert bench.sources["disk 0"].bytes_served == 4
    assert (only(items).kind_asked, only(items).reuses, only(items).sampled) == ("incremental", True, 0)


def test_a_change_map_that_lies_is_found_and_nothing_of_it_is_used(bench: Bench) -> None:
    bench.disk(OLD[:4] + b"BBBB" + OLD[8:], [Extent(0, 16, False, False)])
    bench.base("disks/d0.raw", OLD)
    items = bench.items(rate=1.0)
    assert bench.store(items) == {"disks/d0.raw": OLD[:4] + b"BBBB" + OLD[8:]}
    disk = only(items)
    assert (disk.mismatches, disk.reuses) == (1, False)
    assert disk.items[0].reason == "its change tracking is wrong: 1 cells differ from the base"


def test_zeros_where_the_base_has_data_are_a_lie_too(bench: Bench) -> None:
    bench.disk(bytes(16), [Extent(0, 16, True, False)])
    bench.base("disks/d0.raw", OLD)
    items = bench.items(rate=0)
    assert bench.store(items) == {"disks/d0.raw": bytes(16)}
    assert only(items).mismatches == 4


def test_without_a_base_everything_is_read_and_the_reason_is_told(bench: Bench) -> None:
    bench.disk(OLD, [Extent(0, 16, False)])
    items = bench.items(base=False)
    assert bench.store(items) == {"disks/d0.raw": OLD}
    assert only(items).items[0].reason == "first backup"
    assert not only(items).items[0].fallback
    assert bench.wanted == []


@pytest.mark.parametrize(("form", "fallback"), [("raw", False), ("cow", True)])
def test_a_disk_without_a_record_of_changes_is_not_looked_up(bench: Bench, form: str, fallback: bool) -> None:
    bench.disk(OLD, [Extent(0, 16, False)], incremental=False, form=form)
    bench.base("disks/d0.raw", OLD)
    (item,) = only(bench.items()).items
    assert (item.base, item.reason, item.fallback) == (None, "a raw disk", fallback)


def test_an_export_that_is_longer_than_the_disk_is_no_backup_of_it(bench: Bench) -> None:
    """It grew while the backup began; on block storage a raw volume always is longer."""
    longer = [Extent(0, 16, False), Extent(16, 8192, True)]
    bench.disk(OLD, longer)
    with pytest.raises(BackupFailed, match="longer than the engine says"):
        bench.items(base=False)
    data = OLD * 256
    beyond = [Extent(0, 4096, False), Extent(4096, 4096, True)]
    for storage_type, fits in (("nfs", False), ("iscsi", True)):
        other = Bench()
        other.disk(data, beyond, form="raw", incremental=False, storage_domain="sd-1")
        domains = {"sd-1": ("data", storage_type)}
        if fits:
            assert other.store(other.items(base=False, domains=domains)) == {"disks/d0.raw": data}
        else:
            with pytest.raises(BackupFailed, match="longer than the engine says"):
                other.items(base=False, domains=domains)


# -- layers ----------------------------------------------------------------------------------------------

LAYERS = (b"one.one.", b"two.two.two.", b"three...")


def test_a_known_layer_is_referred_to_and_needs_no_transfer(bench: Bench) -> None:
    bench.chain(*LAYERS)
    for number in (0, 1):
        bench.base(f"disks/d0/i{number}", LAYERS[number])
    items = bench.items(rate=0)
    with pytest.raises(BackupFailed, match="should be qcow2"):
        bench.store(items)  # the new layer is looked at as it is stored; these are no qcow2 files
    assert bench.sinks["disks/d0/i0"].content == LAYERS[0]
    assert bench.sinks["disks/d0/i1"].content == LAYERS[1]
    assert bench.opened == ["layer i2"]


def test_at_least_one_known_layer_of_each_disk_is_looked_into(bench: Bench) -> None:
    bench.chain(*LAYERS)
    for number, layer in enumerate(LAYERS):
        bench.base(f"disks/d0/i{number}", layer)
    items = bench.items(rate=0.01)
    assert bench.store(items) == {f"disks/d0/i{n}": layer for n, layer in enumerate(LAYERS)}
    assert only(items).sampled >= 1
    assert only(items).mismatches == 0
    assert len(bench.opened) == 1


@pytest.mark.parametrize("now", [b"ONE.one.", b"one.one.more"])
def test_a_known_layer_that_changed_makes_all_of_them_doubtful(bench: Bench, now: bytes) -> None:
    bench.chain(now, LAYERS[1])
    bench.base("disks/d0/i0", LAYERS[0])
    bench.base("disks/d0/i1", LAYERS[1])
    items = bench.items(rate=1.0)
    disk = only(items)
    items.check(disk, Buffers(CELL, 8))
    assert disk.mismatches == 1
    assert [item.base for item in disk.items] == [None, None]
    assert {item.reason for item in disk.items} == {
        "a sample of the disk's reused layers differs from the archive"
    }
    assert sorted(set(bench.opened)) == ["layer i0", "layer i1"]
    assert bench.held == [], "only one layer of a disk is open at a time"


def test_what_layers_would_cost_is_asked_of_one_after_the_other(bench: Bench) -> None:
    bench.chain(*LAYERS)
    bench.base("disks/d0/i0", LAYERS[0])
    items = bench.items(rate=0)
    items.measure()
    assert bench.opened == ["layer i1", "layer i2"]
    assert bench.held == []
    assert sum(item.plan.bytes_to_fetch for item in only(items).items) == len(LAYERS[1]) + len(LAYERS[2])
