"""Years of nights: what prune keeps of them, and what no client can take from an append-only repository."""

from __future__ import annotations

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

from borg_ovirt.config.schema import Config
from borg_ovirt.jobs.archives.hold import hold
from borg_ovirt.jobs.archives.prune import Known, PruneResult, prune
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
                hold(repository, [held], held=True)
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
