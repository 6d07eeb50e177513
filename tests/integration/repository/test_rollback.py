"""Whatever goes wrong while an archive is made: nothing of it stays, and the next archive is whole."""

# ruff: noqa: PT012  (what fails in these tests is the leaving of a block)

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from borg.archive import Archive
from stock_borg import (
    CELL,
    DATA,
    NOON,
    OVF_BYTES,
    SYSTEM,
    VM,
    MakeRepository,
    Stock,
    back_up,
    comment,
    image,
    manifest,
    store_disk,
)

from borg_ovirt.blocks import Chunk
from borg_ovirt.errors import RepositoryError
from borg_ovirt.repository.layout import OVF, disk_path
from borg_ovirt.repository.open import open_repository
from borg_ovirt.repository.writer import ArchiveWriter

DISK = image(5, 8, tail=100, zeros=0.2)
OTHER = image(6, 8, tail=100, zeros=0.2)


def short_disk(writer: ArchiveWriter) -> None:
    sink = writer.disk(disk_path(DATA), 3 * CELL, CELL)
    sink.store(sink.prepare(memoryview(OTHER)[:CELL]))
    writer.commit(comment(), manifest({DATA: OTHER[: 3 * CELL]}))


def long_disk(writer: ArchiveWriter) -> None:
    sink = writer.disk(disk_path(DATA), CELL, CELL)
    sink.store(sink.prepare(memoryview(OTHER)[:CELL]))
    sink.zero(CELL)


def ragged_cell(writer: ArchiveWriter) -> None:
    sink = writer.disk(disk_path(DATA), 3 * CELL, CELL)
    sink.store(sink.prepare(memoryview(OTHER)[: CELL - 1]))


def unknown_chunk(writer: ArchiveWriter) -> None:
    writer.disk(disk_path(DATA), CELL, CELL).reuse(Chunk(b"\x17" * 32, CELL))


def chunk_of_another_size(writer: ArchiveWriter) -> None:
    sink = writer.disk(disk_path(DATA), CELL - 5, CELL)
    prepared = sink.prepare(memoryview(OTHER)[: CELL - 5])
    prepared._id = writer.disk(disk_path(SYSTEM), CELL, CELL).zero_id
    sink.store(prepared)


def borg_warns(writer: ArchiveWriter) -> None:
    store_disk(writer, DATA, OTHER)
    logging.getLogger("borg.repository").warning("something is odd")
    writer.commit(comment(), manifest({DATA: OTHER}))


def error_swallowed(writer: ArchiveWriter) -> None:
    sink = writer.disk(disk_path(DATA), CELL, CELL)
    with pytest.raises(RepositoryError, match="got a cell"):
        sink.store(sink.prepare(memoryview(OTHER)[:7]))
    sink.store(sink.prepare(memoryview(OTHER)[:CELL]))


def failure_swallowed(writer: ArchiveWriter) -> None:
    with pytest.raises(RepositoryError, match="different size"):
        chunk_of_another_size(writer)
    writer.add_file("later.bytes", b"x")


def refusal_swallowed(writer: ArchiveWriter) -> None:
    with pytest.raises(RepositoryError, match="the manifest tells"):
        manifest_of_another_disk(writer)
    writer.add_file("later.bytes", b"x")


def manifest_of_another_disk(writer: ArchiveWriter) -> None:
    store_disk(writer, DATA, OTHER)
    writer.commit(comment(), manifest({SYSTEM: OTHER}))


def manifest_of_another_size(writer: ArchiveWriter) -> None:
    store_disk(writer, DATA, OTHER)
    writer.commit(comment(), manifest({DATA: OTHER + b"x"}))


def comment_of_another_vm(writer: ArchiveWriter) -> None:
    store_disk(writer, DATA, OTHER)
    writer.commit(comment(vm_id=VM.replace("1", "2")), manifest({DATA: OTHER}))


FAULTS: list[tuple[Callable[[ArchiveWriter], None], str]] = [
    (short_disk, f"has {CELL} of {3 * CELL} bytes"),
    (long_disk, "got a cell"),
    (ragged_cell, "got a cell"),
    (unknown_chunk, "misses a chunk"),
    (chunk_of_another_size, "different size"),
    (borg_warns, "something is odd"),
    (error_swallowed, "nothing can be added"),
    (failure_swallowed, "failed .*nothing can be added"),
    (refusal_swallowed, "is not good.*nothing can be added"),
    (manifest_of_another_disk, "the manifest tells"),
    (manifest_of_another_size, "the manifest tells"),
    (comment_of_another_vm, "different VMs"),
]


def test_every_fault_leaves_nothing_and_the_next_archive_is_whole(stock: Stock) -> None:
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        id_before = repository.archive("before").id
        for number, (fault, told) in enumerate(FAULTS):
            with (
                pytest.raises(RepositoryError, match=told),
                repository.writer(f"bad-{number}", started=NOON) as writer,
            ):
                writer.add_file(OVF, OVF_BYTES)
                writer.add_file("new.bytes", image(100 + number, 3, zeros=0))
                fault(writer)
            assert repository.all_names() == {"before"}
        with (
            pytest.raises(KeyboardInterrupt),
            repository.writer("bad", started=NOON) as writer,
        ):
            store_disk(writer, SYSTEM, OTHER)
            raise KeyboardInterrupt
        with repository.writer("left without a commit", started=NOON) as writer:
            store_disk(writer, SYSTEM, OTHER)
        back_up(repository, "after", {SYSTEM: OTHER})
        assert repository.archive("before").id == id_before
    stock.check()
    assert stock.content("after", disk_path(SYSTEM)) == OTHER


def test_the_first_archive_fails_in_an_empty_repository(make_repository: MakeRepository) -> None:
    stock = make_repository("repokey")
    segments = stock.segments()
    with open_repository(stock.location, write=True) as repository:
        with pytest.raises(ZeroDivisionError), repository.writer("bad", started=NOON) as writer:
            store_disk(writer, SYSTEM, DISK)
            raise ZeroDivisionError
        assert stock.segments() == segments
        back_up(repository, "good", {SYSTEM: DISK})
    stock.check()


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "place",
    ["repository.SyncFile.write", "repository.Repository.commit", "cache.LocalCache.begin_txn"],
)
def test_a_full_disk_at_any_place(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        with monkeypatch.context() as patch, pytest.raises(RepositoryError, match="No space left") as error:
            patch.setattr(f"borg.{place}", full_disk)
            back_up(repository, "bad", {SYSTEM: OTHER})
        assert "Nobody knows" not in str(error.value), "it was read again: the archive is not there"
        assert repository.all_names() == {"before"}
        back_up(repository, "after", {SYSTEM: OTHER})
        assert repository.all_names() == {"after", "before"}
    stock.check()


def test_what_filled_a_disk_is_given_back(make_repository: MakeRepository) -> None:
    """The system itself refuses to let files grow: closing the segment fails as writing it did."""
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        segments = stock.segments()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * CELL, hard))
        try:
            with pytest.raises(RepositoryError, match="File too large"):
                back_up(repository, "bad", {SYSTEM: image(7, 20, zeros=0)})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert stock.segments() == segments
        back_up(repository, "after", {SYSTEM: OTHER})
        assert repository.all_names() == {"after", "before"}
    stock.check()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("repository.Repository.write_index", "Nobody knows whether archive there was made"),
        ("cache.LocalCache.commit", "there is in the repository, as read again"),
    ],
)
def test_a_full_disk_after_the_commit(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch, place: str, words: str
) -> None:
    """The archive is there and whole; but with that cache nothing more may be counted up or down."""
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        with (
            monkeypatch.context() as patch,
            pytest.raises(RepositoryError, match=rf"{words}.*No space"),
        ):
            patch.setattr(f"borg.{place}", full_disk)
            back_up(repository, "there", {SYSTEM: OTHER})
        assert repository.all_names() == {"before", "there"}
        with pytest.raises(RepositoryError, match="cannot be written any more"):
            back_up(repository, "later", {SYSTEM: OTHER})
        with pytest.raises(RepositoryError, match="cannot be written any more"):
            repository.delete(["before"])
    with open_repository(stock.location, write=True) as repository:
        repository.delete(["before"])
        repository.compact(0)
    stock.check()
    assert stock.content("there", disk_path(SYSTEM)) == OTHER


@pytest.mark.parametrize("way", ["local", "serve"])
def test_a_repository_that_is_renamed_under_the_commit_is_not_vouched_for(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    """What cannot be read again is not claimed, though the list in memory has it."""
    stock = make_repository("repokey", way=way)
    save = Archive.save

    def renamed(archive: Any, *args: Any, **options: Any) -> None:
        os.rename(stock.path, tmp_path / "elsewhere")
        save(archive, *args, **options)

    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        with monkeypatch.context() as patch, pytest.raises(RepositoryError) as told:
            patch.setattr("borg.archive.Archive.save", renamed)
            back_up(repository, "there", {SYSTEM: OTHER})
        assert "Nobody knows whether archive there was made" in str(told.value)
        os.rename(tmp_path / "elsewhere", stock.path)
    stock.check()


@pytest.mark.parametrize("write", [True, False])
def test_a_repository_that_is_renamed_under_us_leaves_no_traceback(
    make_repository: MakeRepository, tmp_path: Path, caplog: pytest.LogCaptureFixture, write: bool
) -> None:
    """Borg tries the lock again when its objects are collected, and tells; to have read is enough."""
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
    told = ""
    try:
        with open_repository(stock.location, write=write) as repository:
            borgs = repository._session._repository
            os.rename(stock.path, tmp_path / "elsewhere")
    except RepositoryError as error:
        told = str(error)
    kept = borgs.lock is not None
    assert not kept
    assert ("is not there any more" in told) is write
    assert ("cannot be closed" in caplog.text) is not write


@pytest.mark.parametrize("way", ["local", "serve"])
def test_a_quota(make_repository: MakeRepository, way: str) -> None:
    stock = make_repository("none", "--storage-quota", "10M", way=way)
    big = image(7, 400, zeros=0)
    with open_repository(stock.location, write=True, compression="none") as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        with pytest.raises(RepositoryError, match="quota"):
            back_up(repository, "bad", {SYSTEM: big})
        back_up(repository, "after", {SYSTEM: OTHER})
        assert repository.all_names() == {"after", "before"}
    stock.check()


def test_the_server_dies(
    make_repository: MakeRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = make_repository("repokey", way="serve")
    rsh = tmp_path / "rsh"
    rsh.write_text(f'#!/bin/sh\necho $$ > {tmp_path}/pid\nshift\nexec "$@"\n')
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        with (
            pytest.raises(RepositoryError, match=r"connection to .* failed"),
            repository.writer("bad", started=NOON) as writer,
        ):
            writer.add_file(OVF, OVF_BYTES)
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
            store_disk(writer, SYSTEM, OTHER)
            writer.commit(comment(), manifest({SYSTEM: OTHER}))
        with pytest.raises(RepositoryError, match="cannot be written any more"):
            back_up(repository, "later", {SYSTEM: OTHER})
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "after", {SYSTEM: OTHER})
        assert repository.all_names() == {"after", "before"}
    stock.check()


def test_warnings_of_the_opening_do_not_spoil_an_archive(make_repository: MakeRepository, home: Path) -> None:
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "first", {SYSTEM: DISK})
    (chunks,) = (home / ".cache/borg").glob("*/chunks")
    damaged = bytearray(chunks.read_bytes())
    damaged[-1] ^= 1
    chunks.write_bytes(damaged)
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "second", {SYSTEM: DISK}, base="first")
    stock.check()


def test_one_archive_at_a_time(make_repository: MakeRepository) -> None:
    stock = make_repository("none")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "before", {SYSTEM: DISK})
        with repository.writer("one", started=NOON) as writer:
            writer.add_file(OVF, OVF_BYTES)
            for other in (
                lambda: repository.delete(["before"]),
                lambda: repository.hold(["before"]),
                repository.compact,
                lambda: back_up(repository, "two", {SYSTEM: OTHER}),
            ):
                with pytest.raises(RuntimeError, match="being made"):
                    other()
            store_disk(writer, SYSTEM, OTHER)
            writer.commit(comment(), manifest({SYSTEM: OTHER}))
        assert repository.all_names() == {"before", "one"}
    stock.check()
