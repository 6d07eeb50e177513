"""Years of nights: what prune keeps of them, and what no client can take from an append-only repository."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Hashable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import tiny
from harness import BIN, PASSPHRASE

from borg_ovirt.config.schema import Config, Retention
from borg_ovirt.errors import ArchiveNotFound
from borg_ovirt.jobs.archives.find import find_archive
from borg_ovirt.jobs.archives.hold import hold
from borg_ovirt.jobs.archives.list import archive_facts, list_archives
from borg_ovirt.jobs.archives.prune import Known, PruneResult, prune
from borg_ovirt.jobs.selection import last_good
from borg_ovirt.repository.layout import HoldRecord
from borg_ovirt.repository.open import open_repository

WEB = "11111111-1111-4111-8111-111111111111"
TWIN = "22222222-2222-4222-8222-222222222222"
RULES = {"daily": 14, "weekly": 8, "monthly": 12}


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: Borg syncs every one of hundreds of archives to the disk."""
    with tempfile.TemporaryDirectory(prefix="history-", dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("BORG_BASE_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("BORG_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
    monkeypatch.setenv("TZ", "UTC")
    borg("init", "-e", "repokey", str(tmp_path / "repo"))
    return str(tmp_path / "repo")


def borg(*words: str, cwd: Path | None = None) -> str:
    done = subprocess.run([str(BIN / "borg"), *words], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def wanted(nights: list[datetime]) -> set[datetime]:
    """The rules once more, as plainly as can be, for nights in ascending order."""
    kept: set[datetime] = set()
    periods: list[tuple[int, Callable[[datetime], Hashable]]] = [
        (RULES["daily"], lambda t: t.date()),
        (RULES["weekly"], lambda t: t.isocalendar()[:2]),
        (RULES["monthly"], lambda t: (t.year, t.month)),
    ]
    for count, period in periods:
        newest = {period(t): t for t in nights}  # later nights overwrite earlier ones
        fresh = [t for t in sorted(newest.values(), reverse=True) if t not in kept]
        kept.update(fresh[:count])
        if len(fresh) < count:
            kept.add(nights[0])
    return kept


def test_four_hundred_nights(repo: str, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("not ours")
    borg("create", f"{repo}::web01-by-hand", "note", cwd=tmp_path)
    config = Config.model_validate({"retention": RULES})
    start = datetime(2025, 1, 1, 1, 30, tzinfo=timezone.utc)
    alive: dict[str, datetime] = {}
    twins: set[str] = set()
    held = ""
    with open_repository(repo, write=True) as repository:
        for day in range(400):
            now = start + timedelta(days=day)
            alive[tiny.make(repository, WEB, "web01", now)] = now
            if day % 100 == 50:  # another VM that bears the same name now and then
                twins.add(tiny.make(repository, TWIN, "web01", now + timedelta(hours=1)))
            if day == 30:
                held = max(alive)
                hold(repository, [held], HoldRecord(since=now))
            if day % 20 and day != 399:
                continue
            keep = wanted(sorted(alive.values()))
            prune(repository, config, None, now + timedelta(hours=2), compact=day == 399)
            alive = {name: t for name, t in alive.items() if t in keep or name == held}
            assert repository.all_names() - {"web01-by-hand"} - twins == set(alive), f"day {day}"
    assert 14 + 8 + 10 < len(alive) <= 14 + 8 + 12 + 1
    assert held in alive
    borg("check", "--verify-data", repo)
    name = random.Random(400).choice(sorted(alive))
    path = f"disks/{WEB[:-1]}d.raw"
    borg("extract", f"{repo}::{name}", cwd=tmp_path)
    assert (tmp_path / path).read_bytes() == tiny.content(WEB, alive[name])


NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


def kept(result: PruneResult) -> dict[str, int]:
    """How many archives of each VM stay."""
    return {vm: sum(x.keep for x in result.lines if x.vm == vm) for vm in {x.vm for x in result.lines}}


def test_without_an_engine_the_archives_tell_which_rules_hold(repo: str) -> None:
    nights = [NOW - timedelta(days=days) for days in (4, 3, 2, 1)]
    overrides: list[dict[str, Any]] = [{"vms": {"tags": ["database"]}, "retention": {"last": 3}}]
    general = {"last": 1}
    with open_repository(repo, write=True) as repository:
        for night in nights:
            tiny.make(repository, WEB, "web01", night)
            tiny.make(repository, TWIN, "db01", night, tags=("database",))
        config = Config.model_validate({"retention": general, "overrides": overrides})
        plan = prune(repository, config, None, NOW, dry_run=True)
        assert kept(plan) == {"web01": 1, "db01": 3}
        assert plan.warnings == []
        # Whether a search of the engine would name a VM nobody knows: what either rule keeps stays.
        overrides.append({"vms": {"search": "cluster = Gold"}, "retention": {"last": 2}})
        config = Config.model_validate({"retention": general, "overrides": overrides})
        plan = prune(repository, config, None, NOW, dry_run=True)
        assert kept(plan) == {"web01": 2, "db01": 3}
        assert len(plan.warnings) == 2
        assert len(repository.archives()) == 8  # all of it was a dry run


def test_only_archives_of_this_engine_can_be_of_vms_that_are_gone(repo: str) -> None:
    with open_repository(repo, write=True) as repository:
        for days in (40, 30):
            tiny.make(repository, WEB, "web01", NOW - timedelta(days=days))
            tiny.make(repository, TWIN, "db01", NOW - timedelta(days=days), engine="other.example")
        config = Config.model_validate({"retention": {"last": 1, "gone_vms": "7d"}})
        known = Known("localhost", {})
        assert kept(prune(repository, config, known, NOW, dry_run=True)) == {"web01": 0, "db01": 1}
        younger = Config.model_validate({"retention": {"last": 1, "gone_vms": "31d"}})
        assert kept(prune(repository, younger, known, NOW, dry_run=True)) == {"web01": 2, "db01": 1}
        result = prune(repository, config, known, NOW, compact=False)
        assert (result.removed, result.kept, result.compacted) == (3, 1, False)
        assert {info.comment.vm_name for info in repository.archives()} == {"db01"}


def lose(repo: str, archive: str, *, repair: bool = False) -> None:
    """Take the one chunk of the archive's disk out of the repository, as a bad sector does."""
    with open_repository(repo, write=False) as repository:
        reader = repository.archive(archive)
        (chunk,) = reader.disk(reader.manifest.disks[0].path).chunks
    borg("debug", "delete-obj", repo, chunk.id.hex())
    if repair:  # puts zeros in place of what is lost, and ends with a warning
        command = [str(BIN / "borg"), "check", "--repair", repo]
        answers = {**os.environ, "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES"}
        subprocess.run(command, env=answers, check=False, capture_output=True)


def stay(result: PruneResult) -> list[str]:
    return sorted(line.archive for line in result.lines if line.keep)


@pytest.mark.parametrize("repair", [False, True], ids=["lost", "zero-filled"])
def test_the_last_archive_that_can_be_restored_is_never_removed(repo: str, repair: bool) -> None:
    with open_repository(repo, write=True) as repository:
        names = [tiny.make(repository, WEB, "web01", NOW - timedelta(days=days)) for days in (4, 3, 2, 1)]
    for name in names[2:]:
        lose(repo, name, repair=repair)
    config = Config.model_validate({"retention": {"last": 1}})
    with open_repository(repo, write=True) as repository:
        result = prune(repository, config, None, NOW)
        assert stay(result) == names[1:]  # those that are damaged are newer: what is left of them stays
        assert [line.archive for line in result.lines if line.damage] == [names[3], names[2]]
        assert f"{names[3]} cannot be restored whole" in result.warnings[0]
        assert repository.damage(names[1]) is None
        lines = {line.archive: line for line in list_archives(repository, check="newest")}
        assert [name for name in names[1:] if lines[name].damage] == names[2:]
        assert archive_facts(repository, names[3]).line.damage
        assert not archive_facts(repository, names[1]).line.damage


def test_an_archive_whose_manifest_is_lost_is_not_the_newest_good(repo: str) -> None:
    with open_repository(repo, write=True) as repository:
        names = [tiny.make(repository, WEB, "web01", NOW - timedelta(days=days)) for days in (3, 2, 1)]
        (chunk,) = repository.archive(names[2])._small["manifest.json"].chunks
    borg("debug", "delete-obj", repo, chunk.id.hex())
    config = Config.model_validate({"retention": {"last": 1}})
    with open_repository(repo, write=True) as repository:
        assert stay(prune(repository, config, None, NOW)) == names[1:]


def test_a_lost_chunk_keeps_no_archive_from_going(repo: str) -> None:
    """Stock `borg delete` refuses such a one; nothing would ever go any more."""
    with open_repository(repo, write=True) as repository:
        names = [tiny.make(repository, WEB, "web01", NOW - timedelta(days=days)) for days in (3, 2, 1)]
        path = repository.archive(names[0]).manifest.disks[0].path
        chunk = repository.archive(names[0]).disk(path).chunks[0]
    borg("debug", "delete-obj", repo, chunk.id.hex())
    config = Config.model_validate({"retention": {"last": 1}})
    with open_repository(repo, write=True) as repository:
        assert stay(prune(repository, config, None, NOW)) == [names[2]]
    borg("check", "--verify-data", repo)


def test_archives_that_no_rule_would_remove_are_not_looked_at(
    repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_repository(repo, write=True) as repository:
        tiny.make(repository, WEB, "web01", NOW - timedelta(days=1))
        monkeypatch.setattr(repository, "damage", lambda name: pytest.fail(f"{name} was looked at"))
        assert prune(repository, Config.model_validate({"retention": {"last": 1}}), None, NOW).removed == 0


def test_a_night_with_a_clock_ahead(repo: str, caplog: pytest.LogCaptureFixture) -> None:
    """The archive of then counts for nothing by its time, in whatever is asked."""
    now = datetime.now(timezone.utc)
    with open_repository(repo, write=True) as repository:
        days = (-3, 400, -2, -1)
        names = [tiny.make(repository, WEB, "web01", now + timedelta(days=day)) for day in days]
    with open_repository(repo, write=True) as repository:
        assert find_archive(repository, "web01").name == names[3]
        assert f"{names[1]} bears a time later than now" in caplog.text
        last = last_good(repository.archives())[WEB]
        assert (last.name, last.since) == (names[3], find_archive(repository, WEB).time)
        assert [line.archive for line in list_archives(repository)] == names
        assert [line.archive for line in list_archives(repository) if line.time_doubted] == [names[1]]
        config = Config.model_validate({"retention": {"last": 2}})
        assert stay(prune(repository, config, None, now)) == sorted(names[2:])


def test_an_engines_clock_set_back(repo: str) -> None:
    now = datetime.now(timezone.utc)
    with open_repository(repo, write=True) as repository:
        days = (-6, -5, -4, -3, -4.5, -3.5)
        names = [tiny.make(repository, WEB, "web01", now + timedelta(days=day)) for day in days]
        assert find_archive(repository, "web01").name == names[5]
        config = Config.model_validate({"retention": {"last": 2}})
        assert stay(prune(repository, config, None, now)) == sorted(names[4:])


def test_one_vm_id_on_two_engines_is_two_vms(repo: str) -> None:
    """As after a restore into a second engine under the same id."""
    with open_repository(repo, write=True) as repository:
        for engine, hours in (("old.example", 0), ("new.example", 1)):
            for days in (3, 2, 1):
                when = NOW - timedelta(days=days) + timedelta(hours=hours)
                tiny.make(repository, WEB, "web01", when, engine=engine)
        with pytest.raises(ArchiveNotFound, match=r"2 engines: new\.example .*; old\.example"):
            find_archive(repository, "web01")
        config = Config.model_validate({"retention": {"last": 2, "gone_vms": "0s"}})
        known = Known("new.example", {}, "some id")
        lines = prune(repository, config, known, NOW, dry_run=True).lines
        kept_of = {e: sum(x.keep for x in lines if x.engine == e) for e in ("old.example", "new.example")}
        assert kept_of == {"old.example": 2, "new.example": 0}  # gone from the one engine that was asked
        assert {line.engine for line in list_archives(repository)} == {"old.example", "new.example"}


def test_an_archive_is_never_judged_by_a_looser_rule_than_that_of_its_own_tags(repo: str) -> None:
    """A restore loses tags: what was made under them stays as long as they wanted."""
    nights = [NOW - timedelta(days=days) for days in (4, 3, 2, 1)]
    overrides = [{"vms": {"tags": ["database"]}, "retention": {"last": 3}}]
    config = Config.model_validate({"retention": {"last": 1}, "overrides": overrides})
    with open_repository(repo, write=True) as repository:
        for night in nights:
            tiny.make(repository, WEB, "db01", night, tags=("database",) if night < nights[2] else ())
        plan = prune(repository, config, None, NOW, dry_run=True)
        assert kept(plan) == {"db01": 2}  # the newest, and of the tagged ones the one that is among 3
        rules = [line.rule for line in plan.lines if line.keep]
        assert rules == ["last #1", "last #3 (by the VM's tags of then)"]
        plan = prune(repository, config, None, NOW, rules=Retention(last=1), dry_run=True)
        assert kept(plan) == {"db01": 1}


@pytest.mark.parametrize(
    ("general", "special", "asked", "done"),
    [
        (True, None, None, True),
        (False, None, None, False),
        (False, None, True, True),
        (True, False, None, False),
        (False, True, None, True),
    ],
)
def test_whether_space_is_freed_is_for_the_configuration_to_say(
    repo: str, general: bool, special: bool | None, asked: bool | None, done: bool
) -> None:
    own = {"last": 1} if special is None else {"last": 1, "compact": special}
    overrides = [{"vms": {"names": ["web01"]}, "retention": own}]
    config = Config.model_validate({"retention": {"compact": general}, "overrides": overrides})
    with open_repository(repo, write=True) as repository:
        for days in (3, 2, 1):
            tiny.make(repository, WEB, "web01", NOW - timedelta(days=days))
        assert prune(repository, config, None, NOW, compact=asked).compacted is done
        tiny.make(repository, WEB, "web01", NOW)
        # --keep-... go before the rules that say what stays, and say nothing of this.
        assert prune(repository, config, None, NOW, rules=Retention(last=1), compact=asked).compacted is done


def test_a_repository_without_rules_keeps_everything(repo: str) -> None:
    with open_repository(repo, write=True) as repository:
        tiny.make(repository, WEB, "web01", NOW - timedelta(days=4000))
        tiny.make(repository, WEB, "web01", NOW)
        assert prune(repository, Config(), None, NOW).removed == 0


def test_an_append_only_server_keeps_what_a_client_prunes(
    repo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe of docs/operating.md, step by step."""
    forced = f"{BIN / 'borg'} serve --append-only --restrict-to-repository {repo}"
    rsh = tmp_path / "rsh"
    rsh.write_text(
        f'#!/bin/sh\nSSH_ORIGINAL_COMMAND="borg serve"; export SSH_ORIGINAL_COMMAND\nexec {forced}\n'
    )
    rsh.chmod(0o755)
    monkeypatch.setenv("BORG_RSH", str(rsh))
    remote = f"ssh://backup.example{repo}"
    nights = [datetime(2026, 1, day, tzinfo=timezone.utc) for day in (1, 2, 3)]
    with open_repository(remote, write=True) as repository:
        names = [tiny.make(repository, WEB, "web01", night) for night in nights]
        assert repository.append_only is None  # the server does not tell
    before = Path(repo, "transactions").read_text().splitlines()
    # A client in the wrong hands removes what it can, and frees the space.
    with open_repository(remote, write=True) as repository:
        repository.delete(names[:2])
        repository.compact(threshold=0)
    assert names[0] not in borg("list", "--short", repo)
    # On the server: go back to the last good transaction.
    good = int(before[-1].split()[1].rstrip(","))
    for segment in Path(repo, "data").glob("*/*"):
        if int(segment.name) > good:
            segment.unlink()
    for pattern in ("index.*", "hints.*", "integrity.*"):
        for file in Path(repo).glob(pattern):
            file.unlink()
    shutil.rmtree(tmp_path / "home" / ".cache")
    shutil.rmtree(tmp_path / "home" / ".config" / "borg" / "security", ignore_errors=True)
    borg("check", "--verify-data", repo)
    assert set(names) <= set(borg("list", "--short", repo).split())
    borg("extract", f"{repo}::{names[0]}", cwd=tmp_path)
    assert (tmp_path / f"disks/{WEB[:-1]}d.raw").read_bytes() == tiny.content(WEB, nights[0])


def test_a_client_that_may_compact_does_destroy(repo: str) -> None:
    """The counter-proof: without --append-only nothing could be brought back."""
    with open_repository(repo, write=True) as repository:
        first = tiny.make(repository, WEB, "web01", datetime(2026, 1, 1, tzinfo=timezone.utc))
        tiny.make(repository, WEB, "web01", datetime(2026, 1, 2, tzinfo=timezone.utc))
        assert repository.append_only is False
        segments = set(Path(repo, "data").glob("*/*"))
        repository.delete([first])
        repository.compact(threshold=0)
    assert segments - set(Path(repo, "data").glob("*/*"))
