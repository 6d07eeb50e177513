"""`borg-ovirt init`: what it leaves is enough for a backup, and where it fails it leaves nothing."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import PASSPHRASE, Desk, Run
from ovirtbox.box import MIB, Box, DiskSpec

from borg_ovirt.ovirt.session.ca import fingerprint


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with Box.start(tmp_path_factory.mktemp("box")) as started:
        vm = started.make_vm("web01", [DiskSpec(8 * MIB)], running=False)
        started.fill(started.disks(vm)[0], MIB, MIB, seed=1)
        yield started


@pytest.fixture
def fresh(box: Box, tmp_path: Path) -> Desk:
    """A desk whose environment names neither engine nor configuration nor passphrase."""
    desk = Desk(box, tmp_path)
    for name in [n for n in desk.env if n.startswith("BORG_OVIRT_") or n == "BORG_PASSPHRASE"]:
        del desk.env[name]
    desk.env.update(
        BORG_OVIRT_STATE_DIR=str(tmp_path / "state"), HOME=str(tmp_path), BORG_BASE_DIR=str(tmp_path / "borg")
    )
    return desk


def flags(box: Box, *more: str) -> list[str]:
    return [
        *("init", "--no-service", "--url", box.url, "--username", box.user),
        *("--password-file", str(box.password_file), *more),
    ]


def known(box: Box) -> list[str]:
    return ["--fingerprint", fingerprint(box.ca_file.read_text())]


def init(desk: Desk, *more: str) -> Run:
    """Into directories of the test's own."""
    return desk.run(*flags(desk.box, "--directory", str(desk.root / "etc"), *more))


def test_by_flags_alone_all_is_ready_for_the_first_backup(box: Box, fresh: Desk) -> None:
    place, repo = fresh.root / "etc", str(fresh.root / "new" / "vms")
    done = init(fresh, *known(box), repo)
    assert "login: " in done.out, done.err  # doctor had its turn; the box's ports are not the usual ones
    assert "key: " in done.out
    names = {"config.yaml", "engine-ca.pem", "password", "passphrase", "key-backup"}
    assert {path.name for path in place.iterdir()} == names
    assert {path.stat().st_mode & 0o777 for path in place.iterdir()} == {0o600}
    assert place.stat().st_mode & 0o777 == 0o700
    secret = (place / "passphrase").read_text().strip()
    assert len(secret) > 40
    assert secret not in done.out + done.err
    assert (place / "password").read_text().strip() == box.password
    assert box.password not in done.out + done.err
    config = yaml.safe_load((place / "config.yaml").read_text())
    assert config["retention"]["daily"] == 14
    assert config["limits"]["min_free"] == "10%"
    assert (place / "engine-ca.pem").read_text() == box.ca_file.read_text()
    fresh.run("create", "--config", str(place / "config.yaml")).ok()
    fresh.env["BORG_PASSPHRASE"] = secret
    assert fresh.borg("list", "--short", repo).startswith("web01-")
    fresh.borg("key", "export", repo, str(fresh.root / "key"))
    assert (fresh.root / "key").read_text().split() == (place / "key-backup").read_text().split()
    fresh.assert_clean()


def test_a_ca_that_nobody_vouches_for_is_not_believed(box: Box, fresh: Desk) -> None:
    repo = str(fresh.root / "new")
    said = init(fresh, repo).ok(2).err
    assert fingerprint(box.ca_file.read_text()) in said
    assert "--fingerprint" in said
    init(fresh, "--fingerprint", "00" * 32, repo).ok(11)
    assert not (fresh.root / "etc").exists()
    assert not Path(repo).exists()


@pytest.mark.parametrize("missing", ["--url", "--username", "REPO"])
def test_without_a_terminal_what_is_missing_is_named(box: Box, fresh: Desk, missing: str) -> None:
    words = flags(box, *known(box), "--directory", str(fresh.root / "etc"))
    if missing != "REPO":
        at = words.index(missing)
        words = [*words[:at], *words[at + 2 :], str(fresh.root / "new")]
    assert f"{missing} is missing" in fresh.run(*words).ok(2).err
    assert not (fresh.root / "etc").exists()


def test_a_login_that_fails_leaves_nothing(box: Box, fresh: Desk) -> None:
    init(fresh, *known(box), "--username", "nobody@internal", str(fresh.root / "new")).ok(12)
    assert not (fresh.root / "etc").exists()
    assert not (fresh.root / "new").exists()


def test_a_repository_that_is_there_is_used_with_its_own_passphrase_only(box: Box, fresh: Desk) -> None:
    place = fresh.root / "etc"
    assert "--passphrase-file" in init(fresh, *known(box), fresh.repo).ok(2).err
    assert not list(place.iterdir())
    file = fresh.root / "known"
    file.write_text(PASSPHRASE + "\n")
    done = init(fresh, *known(box), "--passphrase-file", str(file), fresh.repo)
    assert "is there already, and is used" in done.out
    assert "opens" in done.out
    fresh.run("list", "--config", str(place / "config.yaml"), "local").ok()


def test_a_repository_that_cannot_be_made_leaves_nothing(box: Box, fresh: Desk) -> None:
    (fresh.root / "file").write_text("")
    said = init(fresh, *known(box), str(fresh.root / "file" / "vms")).ok(33).err
    assert "could not be made: NotADirectoryError" in said
    assert not list((fresh.root / "etc").iterdir())


def test_a_configuration_is_not_touched_and_a_dry_run_writes_nothing(box: Box, fresh: Desk) -> None:
    place = fresh.root / "etc"
    said = init(fresh, *known(box), "--dry-run", str(fresh.root / "new")).ok().out
    assert "Would make the repository" in said
    assert not place.exists()
    place.mkdir()
    (place / "config.yaml").write_text("mine")
    init(fresh, *known(box), str(fresh.root / "new")).ok(2)
    assert (place / "config.yaml").read_text() == "mine"
    assert not (fresh.root / "new").exists()


def test_a_person_at_a_terminal_is_asked(box: Box, fresh: Desk) -> None:
    place, repo = fresh.root / "etc", str(fresh.root / "asked")
    answers = [
        ("Address of the engine", box.url),
        ("User who backs up", box.user),
        ("Is it the same there?", "y"),
        ("Password of", box.password),
        ("Repository", repo),
    ]
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "borg_ovirt", "init", "--no-service", "--directory", str(place)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=fresh.env) as process:
        os.close(theirs)
        said = ""
        while True:
            try:
                said += os.read(ours, 4096).decode()
            except OSError:  # the last who held the terminal has left
                break
            if answers and answers[0][0] in said:
                os.write(ours, (answers.pop(0)[1] + "\n").encode())
    os.close(ours)
    assert not answers, said
    assert box.password not in said
    assert "Traceback" not in said, said
    assert process.returncode in (0, 1, 2), said
    assert yaml.safe_load((place / "config.yaml").read_text())["engines"]["main"]["username"] == box.user
    assert (Path(repo) / "config").is_file()
