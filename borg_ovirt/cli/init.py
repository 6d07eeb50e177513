"""`borg-ovirt init`: first steps, from nothing to a configuration that `doctor` is content with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt.cli import init_role, options
from borg_ovirt.cli.init_role import RoleOptions, first_line
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import LoginFailed, UsageError

if TYPE_CHECKING:
    from borg_ovirt.jobs.first.place import Place
    from borg_ovirt.ovirt.session.engine import EngineAccess

DEFAULT_LOCATION = "/srv/borg/vms"


@dataclass(frozen=True)
class InitOptions:
    """What the questions would ask."""

    fingerprint: str | None = None
    passphrase_file: str | None = None
    encryption: str = "repokey-blake2"
    directory: str | None = None
    service: bool | None = None


_answers = options.bundle(
    "answers",
    InitOptions,
    click.option("--fingerprint", metavar="SHA256", help="Fingerprint of the engine's CA, as you know it."),
    click.option(
        "--passphrase-file",
        type=click.Path(dir_okay=False, exists=True),
        help="The repository's passphrase [default: one of our making]",
    ),
    click.option(
        "--encryption", metavar="MODE", default="repokey-blake2", show_default=True, help="As for borg init."
    ),
    click.option(
        "--directory",
        metavar="DIRECTORY",
        help="Where all goes [default: /etc/borg-ovirt for root, else ~/.config/borg-ovirt]",
    ),
    click.option(
        "--service/--no-service",
        default=None,
        help="For the systemd units and their user [default: for root, where that user is]",
    ),
)


@click.command("init")
@click.argument("where", required=False, metavar="[REPO]")
@_answers
@init_role.role_options
@options.engine
@options.common(json=False, dry_run=True)
def command(
    output: Output,
    where: str | None,
    answers: InitOptions,
    role: RoleOptions,
    engine: options.EngineOptions,
    dry_run: bool,
) -> int:
    """Take the first steps: the engine's CA, the role, a login that works, a repository, a copy of its key,
    and a configuration with safe defaults that are on. Ends with `borg-ovirt doctor --rights`.

    Asks on a terminal for what no option tells. With an administrator's password the user gets the role of
    docs/operating.md; without one, and where rights are lacking, the commands are told.

    REPO is where the repository is to be: a path or an ssh:// URL. One that exists is used; its passphrase
    comes by --passphrase-file. A configuration that exists is not touched. Exit status: that of `doctor`.
    """
    from borg_ovirt.cli.connect import engine_access
    from borg_ovirt.config.schema import Config
    from borg_ovirt.jobs.first.place import choose_place

    place = choose_place(answers.directory, answers.service)
    if place.config.exists():
        raise UsageError(
            f"There is a configuration already: {place.config}.",
            "Look at it with `borg-ovirt doctor`, or remove it and begin anew.",
        )
    engine = _asked(engine)
    pem = None if engine.ca_file else _ca(output, engine, answers.fingerprint)
    role = init_role.asked(role)
    access = replace(engine_access(Config(), engine), ca_pem=pem)
    if role.administrator is not None and dry_run:
        output.lines(f"Would make the role as {role.administrator}, and give it to {access.username}.")
    else:
        if role.administrator is not None:
            init_role.make_role(output, access, role)
        _log_in(output, access, role)
    location = where or _ask("Repository (a path or ssh://USER@HOST/PATH)", DEFAULT_LOCATION, "REPO")
    if dry_run:
        output.lines(f"Would make the repository {location}, and write {place.config} and its secrets.")
        return 0
    encrypted = _repository(output, place, location, answers)
    _write(output, place, engine, access, location, encrypted=encrypted)
    return _doctor(output, place)


def _asked(given: options.EngineOptions) -> options.EngineOptions:
    """With URL and user name, from wherever."""
    url = given.url or os.environ.get("BORG_OVIRT_URL") or _ask("Address of the engine", None, "--url")
    user = given.username or os.environ.get("BORG_OVIRT_USERNAME")
    user = user or _ask("User who backs up", "backup@internal", "--username")
    ca_file = given.ca_file or os.environ.get("BORG_OVIRT_CA_FILE")
    return replace(given, url=url, username=user, ca_file=ca_file)


def _ask(question: str, default: str | None, option: str) -> str:
    from borg_ovirt.cli.connect import somebody_sits_there

    if not somebody_sits_there():
        raise UsageError(f"{option} is missing.", "Without a terminal nothing can be asked.")
    answer: str = click.prompt(question, default=default, err=True)
    return answer


def _ca(output: Output, engine: options.EngineOptions, expected: str | None) -> str:
    """The engine's CA, once somebody has vouched for it."""
    from borg_ovirt.cli.connect import engine_url, somebody_sits_there
    from borg_ovirt.config.schema import Config
    from borg_ovirt.ovirt.session.ca import check_fingerprint, fetch_ca

    fetched = fetch_ca(engine_url(Config(), engine))
    if expected is not None:
        check_fingerprint(fetched, expected)
        return fetched.pem
    output.tell(f"The engine offers a CA with the SHA-256 fingerprint {fetched.fingerprint}")
    output.tell(
        "On its own console: openssl x509 -noout -fingerprint -sha256 -in /etc/pki/ovirt-engine/ca.pem"
    )
    if not somebody_sits_there():
        raise UsageError(
            "Nobody has vouched for the engine's CA.", "Compare, and give it with --fingerprint."
        )
    click.confirm("Is it the same there?", abort=True, err=True)
    return fetched.pem


def _log_in(output: Output, access: EngineAccess, role: RoleOptions) -> None:
    """Whoever backs up can log in, and has the rights or hears how they are given."""
    from borg_ovirt.ovirt.session.engine import Engine

    try:
        with Engine(access) as session:
            output.lines(f"{access.username} logs in at {session.host}: oVirt {session.full_version}")
            init_role.tell_missing(output, session, access, role)
    except LoginFailed as error:
        if error.hint is not None:
            raise
        # The password was right, and still nothing is allowed.
        raise LoginFailed(error.message, init_role.how(access, role)) from None


def _repository(output: Output, place: Place, location: str, answers: InitOptions) -> bool:
    """Make it, or use the one that is there, and write a copy of its key; whether it is encrypted."""
    from borg_ovirt.jobs.first.place import new_passphrase
    from borg_ovirt.repository.making import BorgProcess, export_key, make_repository

    given = Path(answers.passphrase_file) if answers.passphrase_file else None
    if given is None and place.passphrase.exists():
        given = place.passphrase
    passphrase = first_line(given) if given else new_passphrase()
    kept = place.passphrase.exists()
    if not kept:
        place.write_secret(place.passphrase, passphrase + "\n")
    try:
        borg = BorgProcess(passphrase, place.service, place.environment())
        made = make_repository(location, answers.encryption, borg)
        if not made and given is None:
            raise UsageError(
                f"There is a repository already: {location}.", "Give its passphrase with --passphrase-file."
            )
        key = export_key(location, borg)
    except BaseException:
        if not kept:
            place.passphrase.unlink()
        raise
    output.lines(f"{location}: {'made' if made else 'is there already, and is used'}")
    if key is None:
        return False
    place.key.unlink(missing_ok=True)
    place.write(place.key, key)
    output.lines(
        f"{place.passphrase}: its passphrase",
        f"{place.key}: its key. COPY BOTH to a safe place: without them nobody reads an archive.",
    )
    return True


def _write(
    output: Output,
    place: Place,
    engine: options.EngineOptions,
    access: EngineAccess,
    location: str,
    *,
    encrypted: bool,
) -> None:
    from borg_ovirt.jobs.first.configuration import (
        PASSWORD_CREDENTIAL,
        first_configuration,
        repository_name,
    )

    keys: dict[str, str] = {"url": access.api_url, "username": access.username}
    if engine.password_command and not place.service:
        keys["password_command"] = engine.password_command
    else:
        place.password.unlink(missing_ok=True)
        place.write_secret(place.password, access.password + "\n")
        output.lines(f"{place.password}: the password")
        keys.update(
            {"password_credential": PASSWORD_CREDENTIAL}
            if place.service
            else {"password_file": str(place.password)}
        )
    if access.ca_pem:
        place.ca.unlink(missing_ok=True)
        place.write(place.ca, access.ca_pem)
        output.lines(f"{place.ca}: the engine's CA")
    keys["ca_file"] = str(place.ca if access.ca_pem else access.ca_file)
    text = first_configuration(place, keys, repository_name(location), location, encrypted=encrypted)
    place.write(place.config, text)
    output.lines(f"{place.config}: the configuration", "")


def _doctor(output: Output, place: Place) -> int:
    """As whoever will back up: a process of its own."""
    words = [sys.executable, "-m", "borg_ovirt", "doctor", "--rights", "--config", str(place.config)]
    if place.service:
        words = [shutil.which("as-borg-ovirt") or "as-borg-ovirt", *words]
    sys.stdout.flush()
    try:
        return subprocess.run(words, check=False).returncode
    except OSError as error:
        raise UsageError(
            f"{words[0]} did not start: {error.strerror}.", "It lies in hooks/systemd."
        ) from None
