"""What `list` shows, of which archives, in which order; and commands that are nearly right."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import tiny
from harness import PASSPHRASE, Run
from zygote import run

WEB = "11111111-1111-4111-8111-111111111111"
DB = "22222222-2222-4222-8222-222222222222"
NIGHT = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
A, B, C = (f"web01-2026-03-0{day}T120000Z" for day in (1, 2, 3))
D, E = (f"db01-2026-03-0{day}T130000Z" for day in (1, 2))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nights of web01, two of db01."""
    root = tmp_path_factory.mktemp("listing")
    with tiny.new_repository(root) as opened:
        for day in range(3):
            night = NIGHT + timedelta(days=day)
            tiny.make(opened, WEB, "web01", night)
            if day < 2:
                tiny.make(opened, DB, "db01", night + timedelta(hours=1))
    return root


def ours(place: Path, *words: str) -> Run:
    env = {"BORG_BASE_DIR": str(place / "home"), "BORG_PASSPHRASE": PASSPHRASE, "TZ": "UTC"}
    return Run(*run("borg-ovirt", [word.replace("REPO", str(place / "repo")) for word in words], env))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], [A, D, B, E, C]),
        (["web01"], [A, B, C]),
        (["web*"], [A, B, C]),
        (["*-2026-03-02T*"], [B, E]),
        (["--last", "1"], [E, C]),
        (["web?1", "--last", "2"], [B, C]),
        (["--since", "2026-03-02 12:30"], [E, C]),
        (["--since", "1000w"], [A, D, B, E, C]),
        (["--since", "1h"], []),
        (["--sort", "name"], [D, E, A, B, C]),
        (["--sort", "vm"], [D, E, A, B, C]),
        (["--sort", "size", "--last", "1"], [E, C]),
        ([B, "--check", "none"], [B]),
    ],
)
def test_which_archives_in_which_order(place: Path, words: list[str], names: list[str]) -> None:
    listed = ours(place, "list", "REPO", *words, "--json").ok().json["archives"]
    assert [line["archive"] for line in listed] == names
    assert {line["size"] for line in listed} <= {tiny.SIZE}


def test_the_largest_comes_last(place: Path) -> None:
    listed = ours(place, "list", "REPO", "--sort", "added", "--json").ok().json["archives"]
    added = [line["figures"]["added"] for line in listed]
    assert added == sorted(added)
    assert added[0] < added[-1]
    assert [line["archive"] for line in listed] != [A, D, B, E, C]


def test_sizes_are_in_the_table(place: Path) -> None:
    head, *rows = ours(place, "list", "REPO", "db01").ok().out.splitlines()
    assert ("SIZE" in head.split(), "ADDED" in head.split()) == (True, True)
    assert all("64 KiB" in row for row in rows)
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["list", "REPO", "nosuch*"], 34, "no archive like nosuch*"),
        (["list", "REPO", "nosuch", "--sizes"], 34, "none of a VM of that name"),
        (["list", "REPO", "--sizes", "--last", "1"], 2, "go without it"),
        (["list", "REPO", "--since", "yesterday"], 2, "--since"),
        (["info", "REPO::web01", "db01"], 2, "are two: name one"),
        (["info", "REPO"], 2, "write REPO::NAME"),
        (["config", "gen"], 2, "Did you mean `generate`?"),
        (["config", "init"], 2, "Did you mean `generate`?"),
        (["restore", "REPO::web01"], 2, "Did you mean `extract`?"),
        (["lst"], 2, "Did you mean `list`?"),
    ],
)
def test_what_is_wrong_is_said(place: Path, words: list[str], code: int, told: str) -> None:
    done = ours(place, *words)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_a_repository_and_a_name_are_taken_as_well(place: Path, tmp_path: Path) -> None:
    assert ours(place, "info", "REPO", "web01").ok().out == ours(place, "info", "REPO::web01").ok().out
    assert ours(place, "info", "REPO", B).ok().out.startswith(f"Archive:      {B}")
    ours(place, "extract", "REPO", "web01", "--to", str(tmp_path / "files"), "--dry-run").ok()


def test_size_tells_of_the_vms_a_glob_means(place: Path) -> None:
    told = ours(place, "list", "REPO", "w*", "--sizes", "--json").ok().json
    assert [(vm["vm"], vm["archives"]) for vm in told["vms"]] == [("web01", 3)]
