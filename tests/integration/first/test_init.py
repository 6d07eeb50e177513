"""`borg-ovirt init`: what it leaves is enough for a backup, and where it fails it leaves nothing."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import PASSPHRASE, Desk, Run
from ovirtbox.box import MIB, Box, DiskSpec

from borg_ovirt.ovirt.make.roles import Receiver, give_roles
from borg_ovirt.ovirt.session.ca import fingerprint
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.session.rights import ALL, roles

RIGHTS = Path(__file__).parents[3] / "hooks" / "rights"


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


def at_a_terminal(command: list[str], env: dict[str, str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Exit status, and what it said; `answers`: the questions in their order, lose those that were asked."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        said = ""
        while True:
            if not select.select([ours], [], [], 120)[0]:
                process.kill()  # it waits for an answer that nobody gives
            try:
                said += os.read(ours, 4096).decode()
            except OSError:  # the last who held the terminal has left
                break
            if answers and answers[0][0] in said:
                os.write(ours, (answers.pop(0)[1] + "\n").encode())
    os.close(ours)
    return process.returncode, said


def test_by_flags_alone_all_is_ready_for_the_first_backup(box: Box, fresh: Desk) -> None:
    place, repo = fresh.root / "etc", str(fresh.root / "new" / "vms")
    done = init(fresh, *known(box), repo)
    assert "login: " in done.out, done.err  # doctor had its turn; the box's ports are not the usual ones
    assert "a copy of its key was made on" in done.out
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


def as_nobody_yet(box: Box, name: str) -> tuple[str, list[str]]:
    """A user of the directory who has no right at all: its name, and the flags to log in as it."""
    env = box.make_user(name)
    user = env["BORG_OVIRT_USERNAME"]
    return user, ["--username", user, "--password-file", env["BORG_OVIRT_PASSWORD_FILE"]]


def test_an_administrator_makes_the_role_and_every_right_is_proven(box: Box, fresh: Desk) -> None:
    place = fresh.root / "etc"
    user, login = as_nobody_yet(box, "nightly")
    by = ["--administrator", box.user, "--administrator-password-file", str(box.password_file)]
    assert "Would make the role" in init(fresh, *known(box), *login, *by, "--dry-run", fresh.repo).ok().out
    assert not box.engine.roles
    # The answer to the first request that makes anything is lost: it is looked for, not made twice.
    box.inject.lose("POST", "/roles")
    done = init(fresh, *known(box), *login, *by, str(fresh.root / "new"))
    assert "role borg-ovirt-system: made" in done.out, done.err
    assert [role.name for role in box.engine.roles.values()] == [
        "borg-ovirt-system",
        "borg-ovirt-data-center",
    ]
    assert all(role.administrative for role in box.engine.roles.values())
    assert [grant.on for grant in box.engine.users[user].grants] == [None, next(iter(box.world.data_centers))]
    proven = [line for line in done.out.splitlines() if " right: " in line]
    assert len(proven) >= len(ALL) - 1, done.out
    assert all(line.startswith("ok ") for line in proven), done.out
    assert "lacks rights" not in done.err
    assert box.password not in done.out + done.err
    assert box.password not in "".join(path.read_text() for path in place.iterdir())
    fresh.run("create", "--config", str(place / "config.yaml")).ok()
    other, _ = as_nobody_yet(box, "nightly2")
    with Engine(EngineAccess(box.url, box.user, box.password, ca_file=box.ca_file)) as engine:
        assert all("is there already" in line for line in give_roles(engine, Receiver(user)))
        told = list(give_roles(engine, Receiver(other)))
    assert [line for line in told if line.startswith("role ")] == [
        f"role {name}: is there already" for name in roles()
    ]
    assert box.engine.users[other].grants == box.engine.users[user].grants
    assert len(box.engine.roles) == len(box.engine.users[user].grants) == 2
    fresh.assert_clean()


def test_without_rights_the_commands_are_told_and_the_script_among_them_works(box: Box, fresh: Desk) -> None:
    _, login = as_nobody_yet(box, "later")
    said = init(fresh, *known(box), *login, str(fresh.root / "new")).ok(12).err
    assert not (fresh.root / "new").exists()
    command = re.search(r"`python3 (.*?)`", said)
    assert command, said
    script, *words = shlex.split(command[1])
    assert script.endswith("rights/make-role")
    assert words[2:] == ["later", "internal-authz", "Default"]
    words[1] = str(box.ca_file)  # there it is /etc/pki/ovirt-engine/ca.pem
    asked = [("Administrator", box.user), ("Password", box.password)]
    code, told = at_a_terminal([sys.executable, str(RIGHTS / "make-role"), *words], fresh.env, asked)
    assert (code, asked) == (0, []), told
    done = init(fresh, *known(box), *login, str(fresh.root / "new"))
    assert "lacks rights" not in done.err, done.err
    assert all(line.startswith("ok ") for line in done.out.splitlines() if " right: " in line), done.out


def test_one_right_too_few_is_told_and_what_is_done_is_done(box: Box, fresh: Desk) -> None:
    env = box.make_documented_user("short", without="backup_disk")
    login = ["--username", env["BORG_OVIRT_USERNAME"], "--password-file", env["BORG_OVIRT_PASSWORD_FILE"]]
    done = init(fresh, *known(box), *login, str(fresh.root / "new")).ok(2)
    assert "short@internal lacks rights: backup_disk on " in done.err
    assert "--administrator" in done.err
    assert (fresh.root / "etc" / "config.yaml").exists()


def test_who_may_not_give_rights_gives_none(box: Box, fresh: Desk) -> None:
    _, login = as_nobody_yet(box, "never")
    other = box.make_documented_user("other")
    by = ["--administrator", "other@internal"]
    by += ["--administrator-password-file", other["BORG_OVIRT_PASSWORD_FILE"]]
    said = init(fresh, *known(box), *login, *by, str(fresh.root / "new")).ok(13).err
    assert "other@internal may not give rights" in said
    assert "ansible-playbook" in said
    assert not box.engine.users["never@internal"].is_known
    said = (
        init(fresh, *known(box), *login, *by, "--data-center", "Elsewhere", str(fresh.root / "new")).ok(2).err
    )
    assert "Name one of these with --data-center: Default" in said


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
        ("Make the role for this user now", "n"),
        ("Password of", box.password),
        ("Repository", repo),
    ]
    command = [sys.executable, "-m", "borg_ovirt", "init", "--no-service", "--directory", str(place)]
    code, said = at_a_terminal(command, fresh.env, answers)
    assert not answers, said
    assert box.password not in said
    assert "Traceback" not in said, said
    assert code in (0, 1, 2), said
    assert yaml.safe_load((place / "config.yaml").read_text())["engines"]["main"]["username"] == box.user
    assert (Path(repo) / "config").is_file()
