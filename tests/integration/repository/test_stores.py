"""What every store promises, one repository or several: bases cell by cell, whole archives or none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stock_borg import CELL, DATA, NOON, OVF_BYTES, PASSPHRASE, SYSTEM, VM, Stock, image, manifest

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.backup.base import BaseQuery, Choice
from borg_ovirt.jobs.backup.reuse import Wanted
from borg_ovirt.jobs.backup.stores import SingleStore, Store
from borg_ovirt.jobs.backup.workers.messages import Spec
from borg_ovirt.jobs.backup.workers.repositories import SeveralRepositories
from borg_ovirt.pipe.download import DownloadStats
from borg_ovirt.repository.layout import OVF, disk_path
from borg_ovirt.repository.open import open_repository

CHECKPOINTS = [f"00000000-0000-4000-8000-00000000000{n}" for n in range(9)]
PATH = disk_path(SYSTEM)


@dataclass
class Shop:
    """A store, and the repositories behind it as stock borg sees them."""

    store: Store
    stocks: list[Stock]
    stack: ExitStack
    made: int = 0

    def back_up(self, disks: Mapping[str, bytes], choice: Choice | None = None) -> tuple[str, int]:
        """An archive of these disks, with cells of the base where they are equal; its name, what was new."""
        self.made += 1
        name, new = f"archive{self.made}", 0
        started = NOON + timedelta(hours=self.made)
        with self.store.writer(name, started=started) as archive:
            archive.add_file(OVF, OVF_BYTES)
            for disk_id, data in disks.items():
                new += self._store(archive, disk_id, data, choice)
            kind = "incremental" if choice and choice.base else "full"
            base = choice.base.record if choice and choice.base else None
            facts = manifest(disks, kind=kind, base=base, to_checkpoint=CHECKPOINTS[self.made])
            archive.commit(facts)
        return name, new

    def _store(self, archive: Any, disk_id: str, data: bytes, choice: Choice | None) -> int:
        found = choice.base.find(wanted(disk_id, len(data))) if choice and choice.base else None
        base = found.base if found else None
        sink = archive.item(disk_path(disk_id), len(data), CELL)
        stats = DownloadStats()
        for index in range(-(-len(data) // CELL)):
            cell = memoryview(bytearray(data[index * CELL : (index + 1) * CELL]))
            inside = base is not None and (index + 1) * CELL <= base.size
            if base is not None and inside and base.same(index, base.digest(cell)):
                sink.reuse(base.reference(index))
            elif not bytes(cell).strip(b"\0"):
                sink.zero(len(cell))
            else:
                stats.bytes_new += len(cell) * sink.store(sink.prepare(cell))
        archive.complete(sink, stats)
        return stats.bytes_new

    def choose(self, **more: Any) -> Choice:
        """What the next backup would build on."""
        options: dict[str, Any] = {
            "mode": "image",
            "checkpoints": dict.fromkeys(CHECKPOINTS, "created"),
            "full": False,
            "full_every": None,
            "now": NOON + timedelta(days=1),
        }
        return self.store.choose(BaseQuery(VM, **{**options, **more}))

    def check(self, archive: str, disks: Mapping[str, bytes]) -> None:
        """Stock borg takes the disks out of each repository."""
        self.stack.close()
        for stock in self.stocks:
            assert archive in stock.names()
            for disk_id, data in disks.items():
                same = stock.content(archive, disk_path(disk_id)) == data
                assert same
            stock.check()


def wanted(disk_id: str, size: int) -> Wanted:
    return Wanted(disk_path(disk_id), disk_id, CELL, size)


@pytest.fixture(params=["single", "several"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, home: Path) -> Iterator[Shop]:
    names = ["one"] if request.param == "single" else ["one", "two"]
    stocks = [Stock(str(tmp_path / name), tmp_path / name, home) for name in names]
    for stock, mode in zip(stocks, ("repokey", "repokey-blake2"), strict=False):
        stock.init(mode)
    with ExitStack() as stack:
        if len(stocks) == 1:
            opened: AbstractContextManager[Any] = open_repository(stocks[0].location, write=True)
            store: Store = SingleStore(stack.enter_context(opened))
        else:
            specs = {stock.location: Spec(stock.location, passphrase=PASSPHRASE) for stock in stocks}
            together = SeveralRepositories(specs)
            stack.enter_context(together.opened())
            store = together.store()
        yield Shop(store, stocks, stack)


def test_a_base_names_cells_and_knows_zeros_and_differences(shop: Shop) -> None:
    first = {SYSTEM: image(1, 12, tail=777), DATA: image(2, 5)}
    assert shop.choose().base is None
    assert shop.choose().cell is None
    name, new = shop.back_up(first)
    assert new > 0 or len(shop.stocks) > 1
    choice = shop.choose()
    assert choice.base is not None
    assert (choice.base.name, choice.base.checkpoint, choice.cell) == (name, CHECKPOINTS[1], CELL)
    base, reason, _ = choice.base.find(wanted(SYSTEM, len(first[SYSTEM])))
    assert base is not None
    assert (reason, base.size, base.cell) == (None, len(first[SYSTEM]), CELL)
    cells = [first[SYSTEM][at : at + CELL] for at in range(0, len(first[SYSTEM]), CELL)]
    data = [index for index, cell in enumerate(cells) if cell.strip(b"\0")]
    assert list(base.data_cells(0, len(cells))) == data
    assert [index for index in range(len(cells)) if not base.is_zero(index)] == data
    for index in data[:3]:
        assert base.same(index, base.digest(memoryview(bytearray(cells[index]))))
        assert not base.same(index, base.digest(memoryview(bytearray(b"x" * len(cells[index])))))
    second = {SYSTEM: b"changed".ljust(CELL, b"!") + first[SYSTEM][CELL:], DATA: first[DATA]}
    name, _ = shop.back_up(second, choice)
    assert [stored.base for stored in shop.store.stored()] == ["archive1"] * len(shop.stocks)
    assert [stored.error for stored in shop.store.stored()] == [None] * len(shop.stocks)
    assert shop.store.losses() == []
    shop.check(name, second)


def test_what_cannot_be_built_on_has_its_reason(shop: Shop) -> None:
    shop.back_up({SYSTEM: image(3, 4)})
    base = shop.choose().base
    assert base is not None
    for item, word in ((wanted(DATA, CELL), "not in archive1"), (wanted(SYSTEM, CELL), "smaller")):
        found = base.find(item)
        assert found.base is None
        assert word in str(found.reason)
    for more, word in (
        ({"full": True}, "asked for"),
        ({"full_every": timedelta(hours=1)}, "older"),
        ({"checkpoints": {}}, "no longer holds"),
        ({"mode": "chain"}, "first chain backup"),
    ):
        choice = shop.choose(**more)
        assert choice.base is None
        assert word in str(choice.reason)
        assert choice.cell == (None if more.get("mode") else CELL)
    assert list(shop.store.by_grid(VM, "image")) == [shop.store]


def test_without_a_commit_nothing_stays_and_the_next_goes_on(shop: Shop) -> None:
    disks = {SYSTEM: image(4, 6)}

    def short() -> None:
        with shop.store.writer("short", started=NOON) as archive:
            archive.add_file(OVF, OVF_BYTES)
            sink = archive.item(PATH, 2 * CELL, CELL)
            sink.zero(CELL)
            archive.complete(sink, DownloadStats())

    def broken() -> None:
        with shop.store.writer("broken", started=NOON) as archive:
            sink = archive.item(PATH, CELL, CELL)
            sink.store(sink.prepare(memoryview(bytearray(b"y" * CELL))))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert shop.store.all_names() == set()
    name, _ = shop.back_up(disks)
    assert shop.store.all_names() == {name}
    with pytest.raises(BorgOvirtError, match=r"has 65536 of 131072 bytes"):
        short()
    shop.check(name, disks)
