"""Reading while another process writes, prunes and compacts: what was committed, or an error."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from stock_borg import NOON, SYSTEM, MakeRepository, Stock, back_up, image, serve_locally
from zygote import run

from borg_ovirt.errors import BorgOvirtError, RepositoryDamaged, RepositoryError, RepositoryLocked
from borg_ovirt.repository import borg_unlocked
from borg_ovirt.repository.layout import disk_path
from borg_ovirt.repository.open import Repository, open_repository

OLD, KEPT = image(21, 24, zeros=0.0), image(22, 24, zeros=0.0)

WRITER = """
import sys
from borg_ovirt.repository.open import open_repository
with open_repository(sys.argv[1], write=True) as repository:
    print("open", flush=True)
    for line in sys.stdin:
        if line == "remove\\n":
            repository.delete(["old"])
            repository.compact(0)
        if line == "store\\n":
            from datetime import datetime, timezone
            writing = repository.writer("half", started=datetime.now(timezone.utc))
            sink = writing.__enter__().disk("disks/x.raw", 1 << 20, 1 << 16)
            for n in range(8):
                sink.store(sink.prepare(memoryview(bytes([n + 1]) * (1 << 16))))
        print("done", flush=True)
    sys.stdin.close()
"""


class Other:
    """Another process that has the repository open for writing."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def leave(self) -> None:
        """Close the repository in order."""
        self._process.communicate(timeout=30)

    def do(self, word: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def other(stock: Stock) -> Iterator[Other]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, stock.location],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        try:
            yield Other(process)
        finally:
            process.kill()


@pytest.fixture
def stock(make_repository: MakeRepository) -> Stock:
    made = make_repository("repokey")
    config = made.path / "config"  # many segments: what is removed is no longer held open by its reader
    lines = config.read_text().splitlines()
    config.write_text("\n".join(["max_segment_size = 100000" if "max_seg" in x else x for x in lines]))
    with open_repository(made.location, write=True) as repository:
        back_up(repository, "old", {SYSTEM: OLD})
        back_up(repository, "kept", {SYSTEM: KEPT}, started=NOON + timedelta(days=1))
    return made


def read(repository: Repository, name: str, meanwhile: object = None) -> bytes:
    """The disk; after its first chunks something else happens."""
    content = repository.archive(name).disk(disk_path(SYSTEM))
    first, rest = content.chunks[:2], content.chunks[2:]
    got = b"".join(content.fetch(first))
    if callable(meanwhile):
        meanwhile()
    return got + b"".join(content.fetch(rest))


def files(stock: Stock) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in stock.path.rglob("*") if p.is_file()}


def test_what_is_committed_is_read_while_an_archive_is_made(stock: Stock) -> None:
    with other(stock) as writer:
        writer.do("store")
        before = files(stock)
        with open_repository(stock.location, write=False, lock_wait=0.0) as repository:
            assert repository.all_names() == {"old", "kept"}
            assert read(repository, "old") == OLD
        assert files(stock) == before
        with pytest.raises(RepositoryLocked, match=r"process \d+"):
            open_repository(stock.location, write=True, lock_wait=0.0).__enter__()


def test_what_is_kept_is_read_through_a_prune_and_a_compact(stock: Stock) -> None:
    with other(stock) as writer, open_repository(stock.location, write=False, lock_wait=0.0) as repository:
        segments = stock.segments()
        assert read(repository, "kept", lambda: writer.do("remove")) == KEPT
        assert not segments <= stock.segments(), "nothing was moved: nothing was tried"
    stock.check()


def test_what_is_removed_meanwhile_is_an_error(stock: Stock) -> None:
    with other(stock) as writer, open_repository(stock.location, write=False, lock_wait=0.0) as repository:
        with pytest.raises(RepositoryError, match="archives were removed"):
            read(repository, "old", lambda: writer.do("remove"))
        assert read(repository, "kept") == KEPT


def test_a_commit_without_its_index_is_left_to_who_has_the_lock(
    stock: Stock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borg_unlocked, "_COMMIT", 0.3)
    with other(stock):
        (index,) = stock.path.glob("index.*")
        index.rename(stock.path / "aside")
        before = files(stock)
        with pytest.raises(RepositoryLocked, match="not complete"):
            open_repository(stock.location, write=False, lock_wait=0.0).__enter__()
        assert files(stock) == before
        (stock.path / "aside").rename(index)


def test_an_index_that_cannot_be_read_stays(stock: Stock) -> None:
    with other(stock):
        (index,) = stock.path.glob("index.*")
        good = index.read_bytes()
        index.write_bytes(good[: len(good) // 2])
        with pytest.raises(BorgOvirtError):
            open_repository(stock.location, write=False, lock_wait=0.0).__enter__()
        assert index.exists()
        index.write_bytes(good)


@pytest.fixture
def served(stock: Stock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    serve_locally(monkeypatch, tmp_path)
    return f"ssh://backup.example{stock.path}"


def test_behind_ssh_the_lock_is_bypassed_on_request_alone(stock: Stock, served: str) -> None:
    with other(stock) as writer:
        writer.do("store")
        before = files(stock)
        with pytest.raises(RepositoryLocked, match="used by another Borg") as refused:
            open_repository(served, write=False, lock_wait=0.0).__enter__()
        assert "--bypass-lock" in str(refused.value.hint)
        with open_repository(served, write=False, lock_wait=0.0, bypass_lock=True) as repository:
            assert repository.all_names() == {"old", "kept"}
            assert read(repository, "old") == OLD
        assert files(stock) == before
        options = ["--lock-wait", "0", served]
        code, _, told = run("borg-ovirt", ["list", *options], os.environ)
        assert code == 31, told
        code, listed, told = run("borg-ovirt", ["list", "--bypass-lock", *options], os.environ)
        assert code == 0, told
        assert "old" in listed, listed
        second = str(stock.path.with_name("second"))
        assert run("borg", ["init", "-e", "repokey", second], os.environ)[0] == 0
        words = ["copy", "--bypass-lock", "--lock-wait", "0", f"{served}::old", second]
        code, _, told = run("borg-ovirt", words, os.environ)
        assert code == 0, told
        with pytest.raises(RepositoryLocked):
            open_repository(served, write=True, lock_wait=0.0, bypass_lock=True).__enter__()


def test_behind_ssh_what_was_compacted_away_is_no_damage(stock: Stock, served: str) -> None:
    reading = open_repository(served, write=False, lock_wait=0.0, bypass_lock=True)
    with other(stock) as writer, reading as repository:
        with pytest.raises(RepositoryError, match="removed meanwhile") as refused:
            read(repository, "old", lambda: writer.do("remove"))
        assert not isinstance(refused.value, RepositoryDamaged)
    with open_repository(served, write=False, bypass_lock=True) as repository:
        assert read(repository, "kept") == KEPT


def test_a_free_lock_is_taken_all_the_same(stock: Stock, served: str) -> None:
    with (
        open_repository(served, write=False, bypass_lock=True),
        pytest.raises(RepositoryLocked),
    ):
        open_repository(stock.location, write=True, lock_wait=0.0).__enter__()


def test_a_read_only_file_system(stock: Stock, tmp_path: Path) -> None:
    place = tmp_path / "read-only"
    place.mkdir()
    subprocess.run(["mount", "--bind", stock.path, place], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        with open_repository(str(place), write=False) as repository:
            assert read(repository, "kept") == KEPT
        with pytest.raises(RepositoryError, match="Cannot lock"):
            open_repository(str(place), write=True).__enter__()
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_writer_waits_and_says_for_whom(stock: Stock, caplog: pytest.LogCaptureFixture) -> None:
    with other(stock) as writer, ThreadPoolExecutor(1) as pool:

        def write() -> set[str]:
            with open_repository(stock.location, write=True, lock_wait=60.0) as repository:
                return repository.all_names()

        waiting = pool.submit(write)
        until = time.monotonic() + 30
        while "waiting for it" not in caplog.text and time.monotonic() < until:
            time.sleep(0.05)
        assert f"process {writer.pid} (" in caplog.text
        writer.leave()
        assert waiting.result(timeout=60) == {"old", "kept"}
