"""What a writer leaves besides the bytes: who may read it, what it keeps of its run, and what it refuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pytest
from stock_borg import CELL, DATA, NOON, OVF_BYTES, MakeRepository, back_up, comment, image, manifest

from borg_ovirt.errors import RepositoryError, UsageError
from borg_ovirt.repository.layout import OVF, disk_path
from borg_ovirt.repository.open import open_repository
from borg_ovirt.repository.writer import LARGEST_CELL

DISK = image(3, 4, tail=10)


@pytest.fixture
def open_umask() -> Iterator[int]:
    """The umask of a caller who hides nothing."""
    before = os.umask(0o002)
    yield 0o002
    os.umask(before)


def test_files_of_the_repository_are_nobody_elses(make_repository: MakeRepository, open_umask: int) -> None:
    stock = make_repository("repokey")
    before = {path for path in stock.path.rglob("*") if path.is_file()}
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {DATA: DISK})
    made = [path for path in stock.path.rglob("*") if path.is_file() and path not in before]
    assert len(made) > 2
    assert [path for path in made if path.stat().st_mode & 0o077] == []
    assert os.umask(open_umask) == open_umask, "the caller's umask is as it was"


def test_what_stock_borg_tells_of_an_archive(
    make_repository: MakeRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["borg-ovirt", "create", "--password-command", "echo hunter2"])
    stock = make_repository("repokey")
    with open_repository(stock.location, write=True) as repository:
        back_up(repository, "one", {DATA: DISK})
    (info,) = stock.json("info", "--json", f"{stock.location}::one")["archives"]
    assert info["command_line"] == ["borg-ovirt", "create", "web 01"]
    assert info["chunker_params"] == ["fixed", CELL, 0]
    lines = stock.run("list", "--json-lines", f"{stock.location}::one").stdout.splitlines()
    items = [json.loads(line) for line in lines]
    assert [item["path"] for item in items] == ["manifest.json", OVF, "README.txt", disk_path(DATA)]
    assert {item["mode"] for item in items} == {"-rw-------"}
    assert {item["mtime"] for item in items} == {info["start"]}


def test_what_no_writer_makes(make_repository: MakeRepository) -> None:
    stock = make_repository("none")
    with open_repository(stock.location, write=True) as repository:
        with repository.writer("one", started=NOON) as writer:
            for cell in (0, LARGEST_CELL + 1):
                with pytest.raises(UsageError, match="not possible"):
                    writer.disk(disk_path(DATA), 10, cell)
            sink = writer.disk(disk_path(DATA), 2 * CELL, CELL)
            cell_ = sink.prepare(memoryview(DISK)[:CELL])
            sink.store(cell_)
            with pytest.raises(ValueError, match="only once"):
                sink.store(cell_)
        with repository.writer("two", started=NOON) as writer:
            writer.disk(disk_path(DATA), 0, CELL)
            with pytest.raises(RepositoryError, match=f"it has no {OVF}"):
                writer.commit(comment(), manifest({DATA: b""}))
        assert repository.all_names() == set()
        with repository.writer("three", started=NOON) as writer:
            writer.add_file(OVF, OVF_BYTES)
            for path in (OVF, "manifest.json"):
                with pytest.raises(ValueError, match="there already"):
                    writer.add_file(path, b"another")
