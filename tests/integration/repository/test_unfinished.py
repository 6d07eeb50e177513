"""What is kept of an unfinished archive: known to the next one, an archive to nobody, gone after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from stock_borg import (
    CELL,
    DATA,
    NOON,
    OVF_BYTES,
    SYSTEM,
    VM,
    MakeRepository,
    Stock,
    comment,
    image,
    manifest,
    store_disk,
)

from borg_ovirt.errors import ArchiveNotFound, BorgOvirtError, NotOurArchive
from borg_ovirt.jobs.archives.copy import choose, copy
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import OVF, disk_path
from borg_ovirt.repository.open import Repository, open_repository
from borg_ovirt.repository.writer import ArchiveWriter

OFTEN = 1e-6
"""Seconds: a checkpoint with every new chunk."""
FIRST, SECOND = image(5, 8, tail=10), image(6, 8)
BOTH = {SYSTEM: FIRST, DATA: SECOND}
CELLS = [memoryview(SECOND)[at : at + CELL] for at in range(0, len(SECOND), CELL)]


@contextmanager
def opened(stock: Stock, interval: float = OFTEN) -> Iterator[Repository]:
    with open_repository(stock.location, write=True, checkpoint_interval=interval) as repository:
        yield repository


def begin(writer: ArchiveWriter, cells: int) -> list[bool]:
    """The first disk, and so many cells of the second; tells which of these were new."""
    writer.add_file(OVF, OVF_BYTES)
    store_disk(writer, SYSTEM, FIRST)
    sink = writer.disk(disk_path(DATA), len(SECOND), CELL)
    return [sink.store(sink.prepare(cell)) for cell in CELLS[:cells]]


def interrupt(repository: Repository, name: str, cells: int, vm: str = VM) -> list[bool]:
    with suppress(ZeroDivisionError), repository.writer(name, started=NOON, vm_id=vm) as writer:
        new = begin(writer, cells)
        raise ZeroDivisionError
    return new


def finish(repository: Repository, name: str, vm: str = VM) -> int | None:
    """The whole archive; returns by how much the repository grew."""
    with repository.writer(name, started=NOON + timedelta(days=1), vm_id=vm) as writer:
        writer.add_file(OVF, OVF_BYTES)
        for id_, data in BOTH.items():
            store_disk(writer, id_, data)
        writer.commit(comment(vm_id=vm), manifest(BOTH, vm=vm))
    return writer.added


def test_what_was_stored_is_known_to_the_next_run(stock: Stock) -> None:
    with opened(stock) as repository:
        assert any(interrupt(repository, "one", 6))
        assert repository.all_names() == {"one.checkpoint"}
        assert repository.archives() == []
    stock.check()
    with opened(stock, 0) as repository:
        assert not any(interrupt(repository, "two", 6))
        assert finish(repository, "two") < 3 * CELL
        assert repository.all_names() == {"two"}
        assert repository.damage("two") is None
    stock.check()
    assert [stock.content("two", disk_path(id_)) for id_ in BOTH] == [FIRST, SECOND]
    listed = stock.run("list", "--consider-part-files", "--short", f"{stock.path}::two").stdout.decode()
    assert listed.split() == ["manifest.json", OVF, "README.txt", disk_path(SYSTEM), disk_path(DATA)]


def test_nothing_is_left_of_checkpoints(make_repository: MakeRepository) -> None:
    """Every chunk is counted as often as it is referred to: without archives there are none."""
    stock = make_repository("repokey")
    with opened(stock) as repository:
        interrupt(repository, "one", 6)
        finish(repository, "two")  # with checkpoints of its own on the way
        assert repository.all_names() == {"two"}
        repository.delete(["two"])
        assert len(repository._session._repository) == 1, "the manifest alone"
    stock.check()


def test_stock_borg_knows_it_as_unfinished(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    with opened(stock) as repository:
        interrupt(repository, "one", 6)
    assert stock.run("list", "--short", str(stock.path)).stdout == b""
    assert stock.names() == ["one.checkpoint"]
    parts = f"{stock.path}::one.checkpoint"
    assert OVF not in stock.run("list", "--short", parts).stdout.decode(), "nothing under its own name"
    paths = stock.run("list", "--consider-part-files", "--short", parts).stdout.decode().split()
    mine = sorted((p for p in paths if DATA in p), key=lambda p: int(p.rpartition("_")[2]))
    content = b"".join(
        stock.run("extract", "--consider-part-files", "--stdout", parts, path).stdout for path in mine
    )
    assert len(content) > 2 * CELL
    assert SECOND.startswith(content)
    stock.run("prune", "--keep-daily", "1", str(stock.path))
    assert stock.names() == ["one.checkpoint"], "nothing newer is there"
    with opened(stock, 0) as repository:
        finish(repository, "other", "22222222-1111-4111-8111-111111111111")
        assert repository.all_names() == {"one.checkpoint", "other"}, "another VM's"
    stock.run("prune", "--keep-daily", "1", str(stock.path))
    assert stock.names() == ["other"]


def test_it_is_no_archive_under_any_name(make_repository: MakeRepository) -> None:
    stock = make_repository("none")
    with opened(stock) as repository:
        interrupt(repository, "one", 6)
        with pytest.raises(BorgOvirtError, match="an interrupted run"):
            find_archive(repository, "one.checkpoint")
    stock.run("rename", f"{stock.path}::one.checkpoint", "web-01-2026-03-01T120000Z")
    with opened(stock) as repository:
        assert repository.archives() == []
        with pytest.raises((NotOurArchive, ArchiveNotFound)):
            _ = repository.archive("web-01-2026-03-01T120000Z").manifest


def test_an_interrupted_copy_need_not_send_again(make_repository: MakeRepository, tmp_path: Path) -> None:
    stock = make_repository("repokey")
    second = Stock(str(tmp_path / "second"), tmp_path / "second", stock.home)
    second.init("repokey-blake2")
    with opened(stock, 0) as source, opened(second) as target:
        finish(source, "one")
        (info,) = source.archives()
        real, calls = target._session.add, []

        def add(*args: object) -> bool:
            calls.append(args)
            if len(calls) == 8:
                raise ZeroDivisionError
            return real(*args)

        target._session.add = add  # type: ignore[method-assign,assignment]
        with pytest.raises(ZeroDivisionError):
            copy(source, target, [info], Progress())
        target._session.add = real  # type: ignore[method-assign]
        assert target.all_names() == {"one.checkpoint"}
        (line,) = copy(source, target, choose(source, None, None, None), Progress()).lines
        assert line.state == "copied"
        assert target.all_names() == {"one"}
    second.check()
