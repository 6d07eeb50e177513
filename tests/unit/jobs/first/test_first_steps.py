"""Where a first configuration goes, and that what it says is on."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from borg_ovirt.config.load import parse
from borg_ovirt.config.schema import Config
from borg_ovirt.errors import UsageError
from borg_ovirt.jobs.first import place as places
from borg_ovirt.jobs.first.configuration import first_configuration, repository_name
from borg_ovirt.jobs.first.place import SERVICE_USER, Place, choose_place, new_passphrase

ENGINE = {"url": "https://e.example.org/ovirt-engine/api", "username": 'odd "name" #1@internal'}


def configuration(place: Place, location: str = "/srv/borg/vms", *, encrypted: bool = True) -> Config:
    name = repository_name(location)
    return parse(first_configuration(place, ENGINE, name, location, encrypted=encrypted), "first")


def test_what_it_says_is_on(tmp_path: Path) -> None:
    made = configuration(Place(tmp_path))
    assert made.engines["main"].username == ENGINE["username"]
    assert (made.retention.daily, made.retention.weekly, made.retention.monthly) == (14, 8, 12)
    assert str(made.limits.min_free) == "10%"
    assert made.policy.full_every is not None
    assert made.policy.full_every.days == 90
    assert made.policy.verify.level == "data"  # without a level borg-ovirt-verify.service could only fail
    assert made.verify.budget is not None


def test_the_service_gets_credentials_and_a_person_files(tmp_path: Path) -> None:
    service = configuration(Place(tmp_path, SERVICE_USER)).repositories["local"]
    assert (service.passphrase_credential, service.passphrase_file) == ("borg-passphrase", None)
    person = configuration(Place(tmp_path)).repositories["local"]
    assert (person.passphrase_credential, person.passphrase_file) == (None, str(tmp_path / "passphrase"))
    assert person.key_backup == str(tmp_path / "key-backup")


def test_a_repository_without_encryption_has_neither_passphrase_nor_key(tmp_path: Path) -> None:
    made = configuration(Place(tmp_path), encrypted=False).repositories["local"]
    assert (made.passphrase_file, made.key_backup) == (None, None)


@pytest.mark.parametrize(
    ("location", "name"),
    [("/srv/borg", "local"), ("vms", "local"), ("ssh://u@h/./vms", "remote"), ("user@host:vms", "remote")],
)
def test_a_repository_is_called_by_what_it_is(location: str, name: str) -> None:
    assert repository_name(location) == name


@pytest.mark.parametrize(
    ("root", "user", "directory", "asked", "expected"),
    [
        (True, True, None, None, ("/etc/borg-ovirt", SERVICE_USER)),
        (True, False, None, None, ("/etc/borg-ovirt", None)),
        (True, True, None, False, ("/etc/borg-ovirt", None)),
        (True, True, "/x", None, ("/x", None)),
        (True, True, "/x", True, ("/x", SERVICE_USER)),
        (False, True, None, None, ("/home/me/.config/borg-ovirt", None)),
        (False, True, None, True, None),
        (True, False, None, True, None),
    ],
)
def test_root_sets_up_the_service_where_its_user_is(
    root: bool,
    user: bool,
    directory: str | None,
    asked: bool | None,
    expected: tuple[str, str | None] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
    monkeypatch.setattr(places, "_is_user", lambda name: user)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/me/.config")
    if expected is None:
        with pytest.raises(UsageError, match="--service needs root"):
            choose_place(directory, asked)
    else:
        found = choose_place(directory, asked)
        assert (str(found.directory), found.service) == expected


def test_the_services_environment_is_that_of_its_units(tmp_path: Path) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    (tmp_path / "environment").write_text('# a comment\nBORG_BASE_DIR=/var/lib/x\nBORG_RSH="ssh -i key"\n\n')
    environment = Place(tmp_path, me).environment()
    assert environment["HOME"] == pwd.getpwnam(me).pw_dir
    assert environment["BORG_BASE_DIR"] == "/var/lib/x"
    assert environment["BORG_RSH"] == "ssh -i key"
    assert Place(tmp_path).environment() == {}


def test_secrets_are_their_owners_and_are_never_replaced(tmp_path: Path) -> None:
    place = Place(tmp_path / "new")
    place.write_secret(place.password, "one\n")
    assert place.password.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        place.write_secret(place.password, "two\n")
    assert place.password.read_text() == "one\n"
    assert new_passphrase() != new_passphrase()
