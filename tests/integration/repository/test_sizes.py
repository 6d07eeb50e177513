"""What the repository grew by, and whose its chunks are, as stock Borg counts them."""

from __future__ import annotations

from stock_borg import (
    DATA,
    NOON,
    OVF_BYTES,
    SYSTEM,
    MakeRepository,
    Stock,
    back_up,
    comment,
    image,
    manifest,
    store_disk,
)

from borg_ovirt.jobs.archives.sizes import sizes_of
from borg_ovirt.repository.layout import OVF, FiguresRecord
from borg_ovirt.repository.open import Repository, open_repository

OTHER = "22222222-2222-4222-8222-222222222222"
_METADATA = 2500
"""Bytes of an archive's own chunk at most: all that `added` leaves out."""


def stored(stock: Stock) -> int:
    return int(stock.json("info", "--json", stock.location)["cache"]["stats"]["unique_csize"])


def figures(repository: Repository, name: str) -> FiguresRecord:
    (info,) = (info for info in repository.archives() if info.name == name)
    assert info.comment.figures is not None
    return info.comment.figures


def added(repository: Repository, name: str) -> int:
    return figures(repository, name).added


def test_an_archive_tells_what_the_repository_grew_by(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    disk = image(3, 40, tail=10)
    changed = disk[:-10] + bytes(reversed(disk[-10:]))
    before = 0
    told = {}
    for name, data, base in (("one", disk, None), ("two", disk, "one"), ("three", changed, "two")):
        with open_repository(stock.location, write=True) as repository:
            back_up(repository, name, {DATA: data}, base=base)
            told[name] = added(repository, name)
            total = figures(repository, name).total
        after = stored(stock)
        assert 0 <= after - before - told[name] < _METADATA, name
        assert 0 <= after - total < _METADATA, name
        before = after
    assert told["one"] > 20 * told["two"]
    assert 0 < told["two"] < told["three"] + 10


def test_what_is_stored_over_a_lost_chunk_counts(make_repository: MakeRepository) -> None:
    stock = make_repository("none")
    disk = image(5, 6, zeros=0)
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {DATA: disk})
        whole = added(repository, "one")
        lost = {chunk.id for chunk in repository.archive("one").disk(f"disks/{DATA}.raw").chunks}
        with repository.writer("two", started=NOON) as writer:
            repository._session.rotten = set(lost)
            writer.add_file(OVF, OVF_BYTES)
            store_disk(writer, DATA, disk)
            writer.commit(comment(), manifest({DATA: disk}))
        assert added(repository, "two") > 0.9 * whole


def test_whose_the_chunks_are(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    mine, ours, theirs = image(1, 8, zeros=0), image(2, 8, zeros=0), image(3, 4, zeros=0)
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {DATA: mine, SYSTEM: ours})
        back_up(repository, "two", {DATA: mine, SYSTEM: ours})
        back_up(repository, "other", {DATA: ours + theirs}, vm_id=OTHER, vm_name="db")
    outside = stock.home / "outside"
    outside.write_bytes(b"foreign" * 1000)
    stock.run("create", f"{stock.path}::foreign", str(outside))
    every = stored(stock)
    with open_repository(stock.location, write=False) as repository:
        sizes = sizes_of(repository)
        by_name = {vm.vm: vm for vm in sizes.vms}
        web, db = by_name["web 01"], by_name["db"]
        assert (web.archives, db.archives) == (2, 1)
        # Shared is the disk that both have; the small files (OVF) are the same everywhere.
        assert web.shared == db.shared > 0
        assert abs(web.unique + web.shared + db.unique - sizes.stored) < 1000  # all but the foreign file
        assert 0 < every - sizes.stored < 0.1 * every  # lists of items, archives' own metadata
        # The only VM of a repository shares nothing.
        assert {vm.vm for vm in sizes_of(repository, "db").vms} == {"db"}
    stock.run("delete", f"{stock.path}::one", "two")
    gone = every - stored(stock)
    assert web.unique <= gone < web.unique + 3 * _METADATA
