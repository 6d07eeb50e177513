"""Archives copied into another repository: equal there in all that counts, moving only what it lacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from stock_borg import CELL, DATA, NOON, PASSPHRASE, SYSTEM, MakeRepository, Stock, back_up, image

from borg_ovirt.cli import boundary
from borg_ovirt.errors import RepositoryError
from borg_ovirt.jobs.archives.copy import CopyResult, choose, copy
from borg_ovirt.progress import Progress
from borg_ovirt.repository.layout import disk_path
from borg_ovirt.repository.open import open_repository

DAY = timedelta(days=1)
OTHER_VM = "22222222-2222-4222-8222-222222222222"
DISK = image(5, 12, tail=100)
TWICE = image(8, 1, zeros=0.0) * 3
FILES = ("manifest.json", "vm.ovf", "README.txt", disk_path(SYSTEM), disk_path(DATA))

Pair = tuple[Stock, Stock]


def changed(disk: bytes, cell: int, seed: int) -> bytes:
    fresh = image(seed, 1, zeros=0.0)
    return disk[: cell * CELL] + fresh + disk[(cell + 1) * CELL :]


NIGHTS = {"first": DISK, "second": changed(DISK, 3, 70), "third": changed(DISK, 9, 71)}


def fill(stock: Stock, nights: dict[str, bytes] = NIGHTS) -> None:
    with open_repository(stock.location, write=True) as repository:
        for day, (name, disk) in enumerate(nights.items()):
            back_up(repository, name, {SYSTEM: disk, DATA: TWICE}, started=NOON + day * DAY)


@pytest.fixture
def two(tmp_path: Path, make_repository: MakeRepository, home: Path) -> Callable[..., Pair]:
    """A filled repository and an empty one."""

    def make(source: str, target: str, *, way: str = "local") -> Pair:
        first = make_repository(source, way=way)
        path = tmp_path / "second"
        location = str(path) if way == "local" else f"ssh://backup.example{path}"
        second = Stock(location, path, home)
        second.init(target)
        fill(first)
        return first, second

    return make


def copied(pair: Pair, name: str | None = None, last: int | None = None) -> CopyResult:
    source, target = pair
    with (
        open_repository(source.location, write=False) as reading,
        open_repository(target.location, write=True, compression="zstd,3") as writing,
    ):
        return copy(reading, writing, choose(reading, name, last, None), Progress())


def states(result: CopyResult) -> dict[str, str]:
    return {line.archive: line.state for line in result.lines}


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("source", "target", "way"),
    [
        ("none", "none", "local"),
        ("repokey", "repokey-blake2", "local"),
        ("repokey", "none", "local"),
        ("none", "repokey", "serve"),
    ],
)
def test_all_comes_over_and_later_only_what_is_new(
    two: Callable[..., Pair], source: str, target: str, way: str
) -> None:
    pair = first, second = two(source, target, way=way)
    with open_repository(first.location, write=True) as repository:
        repository.hold(["second"])
    assert states(copied(pair)) == dict.fromkeys(NIGHTS, "copied")
    for name in NIGHTS:
        for path in FILES:
            assert second.content(name, path) == first.content(name, path)
    second.check()
    with (
        open_repository(first.location, write=True) as one,
        open_repository(second.location, write=False) as other,
    ):
        for a, b in zip(one.archives(), other.archives(), strict=True):
            own = {"number": None, "figures": None}
            assert a.comment.model_copy(update=own) == b.comment.model_copy(update=own)
            assert (a.name, a.time, a.comment.held) == (b.name, b.time, a.name == "second")
            assert abs(a.duration - b.duration) < timedelta(seconds=5)
        back_up(one, "fourth", {SYSTEM: changed(NIGHTS["third"], 5, 72), DATA: TWICE}, started=NOON + 3 * DAY)
    again = copied(pair)
    assert states(again) == {**dict.fromkeys(NIGHTS, "there"), "fourth": "copied"}
    assert again.lines[-1].read == CELL
    assert second.content("fourth", disk_path(SYSTEM)) == changed(NIGHTS["third"], 5, 72)
    assert states(copied(pair)) == dict.fromkeys([*NIGHTS, "fourth"], "there")
    second.check()


def test_what_is_equal_within_an_archive_is_read_once(two: Callable[..., Pair]) -> None:
    pair = two("repokey", "repokey")
    (line,) = copied(pair, "first").lines
    cells = {DISK[at : at + CELL] for at in range(0, len(DISK), CELL)} | {TWICE[:CELL]}
    assert line.read == sum(len(cell) for cell in cells if any(cell))


def test_what_was_cut_anew_is_cut_as_it_was(two: Callable[..., Pair]) -> None:
    pair = first, second = two("none", "repokey")
    first.run("recreate", "--chunker-params", "buzhash,10,14,12,4095", f"{first.path}::third")
    assert states(copied(pair))["third"] == "copied"
    for path in FILES:
        assert second.content("third", path) == first.content("third", path)
    with open_repository(second.location, write=False) as repository:
        assert repository.archive("third").disk(disk_path(SYSTEM)).chunks.on_grid(CELL)


def test_what_comes_late_is_not_the_latest(two: Callable[..., Pair]) -> None:
    pair = _, second = two("none", "none")
    copied(pair, "third")
    result = copied(pair)
    assert states(result) == {"first": "copied", "second": "copied", "third": "there"}
    with open_repository(second.location, write=False) as repository:
        (series,) = repository.series()
        assert [info.name for info in series.archives] == list(NIGHTS)


def test_another_archive_of_the_name_is_left_alone(two: Callable[..., Pair]) -> None:
    pair = _, second = two("none", "none")
    with open_repository(second.location, write=True) as repository:
        back_up(repository, "second", {SYSTEM: DISK}, vm_id=OTHER_VM)
    result = copied(pair)
    assert states(result) == {"first": "copied", "second": "left", "third": "copied"}
    assert ["another archive of that name" in warning for warning in result.warnings] == [True]
    assert second.content("second", disk_path(SYSTEM)) == DISK


def test_what_is_damaged_is_left_and_nothing_of_it_is_made(two: Callable[..., Pair]) -> None:
    pair = first, second = two("none", "none")
    with open_repository(first.location, write=True) as repository:
        disk = repository.archive("second").disk(disk_path(SYSTEM))
        repository._session._repository.delete(disk.chunks[3].id)
        repository._session._repository.commit(compact=False)
    result = copied(pair)
    assert states(result) == {"first": "copied", "second": "left", "third": "copied"}
    assert "lost chunks" in result.warnings[0]
    assert second.names() == ["first", "third"]
    second.check()


def test_an_interrupted_copy_goes_on(two: Callable[..., Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    from borg_ovirt.repository.writer import ArchiveWriter

    pair = _, second = two("repokey", "none")
    commit, calls = ArchiveWriter.commit, []

    def fails_once(self: ArchiveWriter, *words: object, **more: object) -> str:
        calls.append(self.name)
        if len(calls) == 2:
            raise RepositoryError("The line is cut.")
        return commit(self, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ArchiveWriter, "commit", fails_once)
    with pytest.raises(RepositoryError, match="line is cut"):
        copied(pair)
    assert second.names() == ["first"]
    assert states(copied(pair)) == {"first": "there", "second": "copied", "third": "copied"}
    second.check()


def test_a_disk_that_is_not_the_same_is_no_dictionary(two: Callable[..., Pair]) -> None:
    """An archive of the name and with the manifest of one in the source, but with other bytes."""
    pair = _, second = two("none", "repokey")
    with open_repository(second.location, write=True) as repository:
        back_up(repository, "first", {SYSTEM: image(99, 12, tail=100), DATA: TWICE})
    copied(pair, "second")
    assert second.content("second", disk_path(SYSTEM)) == NIGHTS["second"]


def test_from_the_command_line(two: Callable[..., Pair], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = two("none", "repokey")
    words = ["copy", first.location, second.location]
    assert boundary.run([*words, "--dry-run"]) == 0
    assert "3 would be copied" in capsys.readouterr().out
    assert second.names() == []
    assert boundary.run([*words, "--last", "1", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    assert (line["archive"], line["state"]) == ("third", "copied")
    assert boundary.run(["copy", f"{first.location}::web 01", second.location, "--keep-daily", "2"]) == 0
    assert second.names() == ["second", "third"]
    assert boundary.run([*words, "--last", "1", "--keep-last", "1"]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert boundary.run(["copy", f"{first.location}::nobody", second.location]) != 0
    assert "no archive nobody" in capsys.readouterr().err
    assert boundary.run(["copy", first.location, first.location]) == 2
    assert "named twice" in capsys.readouterr().err


def test_each_repository_has_its_own_passphrase(
    two: Callable[..., Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two("repokey", "repokey")
    monkeypatch.setenv("BORG_NEW_PASSPHRASE", "another one")
    second.run("key", "change-passphrase", second.location)
    monkeypatch.delenv("BORG_PASSPHRASE")
    config = tmp_path / "config.yaml"
    secrets = [(first, PASSPHRASE), (second, "another one")]
    lines = ["repositories:"]
    for stock, passphrase in secrets:
        file = tmp_path / f"{stock.path.name}.txt"
        file.write_text(passphrase)
        file.chmod(0o600)
        lines += [f"  {stock.path.name}:", f"    location: {stock.location}", f"    passphrase_file: {file}"]
    config.write_text("\n".join(lines))
    assert boundary.run(["copy", "repo", "second", "--config", str(config)]) == 0
    monkeypatch.setenv("BORG_PASSPHRASE", "another one")
    assert second.names() == list(NIGHTS)
