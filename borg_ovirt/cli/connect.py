"""From options and configuration to an engine and a repository: what every command does before its job."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt import waits
from borg_ovirt.blocks import KiB
from borg_ovirt.cli.location import Location, default_repository
from borg_ovirt.cli.options import EngineOptions, RepositoryOptions
from borg_ovirt.cli.output import Output
from borg_ovirt.config.load import load
from borg_ovirt.config.schema import Config
from borg_ovirt.config.secrets import SecretSource
from borg_ovirt.config.settings import (
    PASSWORD,
    EngineOverrides,
    EngineSettings,
    RepositorySettings,
    engine_settings,
    repository_settings,
)
from borg_ovirt.errors import UsageError
from borg_ovirt.ovirt.session.engine import EngineAccess
from borg_ovirt.redact import redact, remember
from borg_ovirt.repository.open import Repository, open_repository
from borg_ovirt.repository.passphrase import handed_over

if TYPE_CHECKING:
    from borg_ovirt.jobs.backup.opened import OpenedRepositories
    from borg_ovirt.jobs.backup.workers.messages import Spec


def configuration(output: Output) -> Config:
    """The configuration that holds for this command."""
    return load(output.config_file, output.settings).config


def engine_access(config: Config, options: EngineOptions) -> EngineAccess:
    """Where the engine is and who logs in; reads the password, or asks for it on a terminal."""
    settings = engine_settings(config, _overrides(options), options.engine)
    return EngineAccess(
        settings.url,
        settings.username,
        _password(settings),
        ca_file=Path(settings.ca_file).expanduser() if settings.ca_file else None,
        ca_pem=settings.ca_pem,
    )


def engine_access_if_any(config: Config, options: EngineOptions) -> EngineAccess | None:
    """As `engine_access`; None where no engine is named anywhere."""
    anywhere = options.engine or options.url or os.environ.get("BORG_OVIRT_URL") or config.engines
    return engine_access(config, options) if anywhere else None


def engine_access_unasked(config: Config, options: EngineOptions) -> EngineAccess | None:
    """As `engine_access_if_any`; None also where the password would have to be asked for."""
    anywhere = options.engine or options.url or os.environ.get("BORG_OVIRT_URL") or config.engines
    if not anywhere or engine_settings(config, _overrides(options), options.engine).password is None:
        return None
    return engine_access(config, options)


def engine_url(config: Config, options: EngineOptions) -> str:
    """The URL of the engine's API; no password is asked for."""
    settings = engine_settings(config, _overrides(options), options.engine)
    return EngineAccess(settings.url, settings.username, "").api_url


def _overrides(options: EngineOptions) -> EngineOverrides:
    password = SecretSource(PASSWORD, options.password_file, options.password_command, options.password_fd)
    return EngineOverrides(
        options.url, options.username, password if password.given else None, options.ca_file
    )


def _password(settings: EngineSettings) -> str:
    if settings.password is not None:
        return settings.password.reveal()
    if not somebody_sits_there():
        raise UsageError(
            f"No password is given for {settings.username}.",
            "Use --password-file, --password-command, --password-fd or the configuration.",
        )
    password: str = click.prompt(f"Password of {settings.username}", hide_input=True, err=True)
    remember(password)
    return password


def somebody_sits_there() -> bool:
    """Whether a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def repository_of(
    config: Config, target: Location, options: RepositoryOptions, compression: str | None = None
) -> RepositorySettings:
    """What `target` points at, and how it is reached."""
    settings = repository_settings(
        config,
        target.repo,
        compression=compression,
        lock_wait=options.lock_wait,
        remote_path=options.remote_path,
        rsh=options.rsh,
    )
    return replace(settings, bypass_lock=options.bypass_lock)


@contextmanager
def repository(settings: RepositorySettings, *, write: bool) -> Iterator[Repository]:
    """The repository, open and locked."""
    opening = open_repository(
        settings.location,
        write=write,
        lock_wait=1.0 if settings.lock_wait is None else settings.lock_wait,
        compression=settings.compression,
        remote_path=settings.remote_path,
        rsh=settings.rsh,
        upload_limit=_kib(settings.rate_limit),
        checkpoint_interval=settings.checkpoint_interval,
        bypass_lock=settings.bypass_lock,
    )
    telling = waits.wait(f"opening the repository {redact(settings.location)}")
    with ExitStack() as stack:
        # The passphrase no longer than it opens: another repository may have another one. Where Borg may ask
        # for it, nothing else is shown on the terminal.
        with _passphrase(settings.passphrase) as known, telling if known else nullcontext():
            opened = stack.enter_context(opening)
        yield opened


def repositories(settings: Mapping[str, RepositorySettings], stall: float = 300.0) -> OpenedRepositories:
    """Those of a run, by the names that the user gives them: one in this process, several in one each.

    What can be read or asked for only once is read here. Nothing is opened yet.
    """
    refuse_twice([one.location for one in settings.values()])
    known = _with_secrets({name: _patient(one) for name, one in settings.items()})
    if len(known) == 1:
        from borg_ovirt.jobs.backup.opened import OneRepository

        ((name, one),) = known.items()
        return OneRepository(name, redact(one.location), lambda: repository(one, write=True))
    from borg_ovirt.jobs.backup.workers.repositories import SeveralRepositories

    specs = {name: _spec(one, len(known)) for name, one in known.items()}
    return SeveralRepositories(specs, stall, _ask_passphrase)


def repositories_of(config: Config) -> list[str]:
    """Every repository of the configuration, or BORG_REPO."""
    if config.repositories:
        return list(config.repositories)
    if os.environ.get("BORG_REPO"):
        return [default_repository().repo]
    raise UsageError(
        "No repository is given.", "Name one, set BORG_REPO, or write `repositories` in the config."
    )


def _patient(settings: RepositorySettings) -> RepositorySettings:
    """A night waits for a lock that somebody else has."""
    return replace(settings, lock_wait=600.0) if settings.lock_wait is None else settings


def refuse_twice(locations: Sequence[str]) -> None:
    """`UsageError` where one repository stands for two."""
    for location in locations:
        if locations.count(location) > 1:
            raise UsageError(f"The repository {redact(location)} is named twice.", "Name each once.")


def _with_secrets(settings: Mapping[str, RepositorySettings]) -> dict[str, RepositorySettings]:
    """The same with passphrases at hand, as often as they are needed. Borg's variables go first."""
    inherited = _inherited_passphrase()
    from_borg = _told_to_borg()
    known = {}
    for name, one in settings.items():
        source = one.passphrase
        if inherited is not None:
            source = _Known("repository's passphrase", secret=inherited)
        elif from_borg:
            source = None
        elif source is not None:
            source = _Known(source.what, secret=source.reveal())
        known[name] = replace(one, passphrase=source)
    return known


def _inherited_passphrase() -> str | None:
    """What Borg's descriptor holds: it can be read only once, and more than one may want it."""
    number = os.environ.get("BORG_PASSPHRASE_FD", "")
    if not number.isdecimal():
        return None
    with os.fdopen(int(number)) as stream:
        passphrase = stream.read().rstrip("\n")
    del os.environ["BORG_PASSPHRASE_FD"]
    remember(passphrase)
    return passphrase


def _ask_passphrase(location: str) -> str | None:
    """As Borg asks where it has the terminal to itself; None where nobody sits."""
    if not somebody_sits_there() or _told_to_borg():
        return None
    passphrase: str = click.prompt(f"Passphrase of {location}", hide_input=True, err=True)
    remember(passphrase)
    return passphrase


def _spec(settings: RepositorySettings, among: int) -> Spec:
    """How a process of its own opens the repository."""
    from borg_ovirt.jobs.backup.workers.messages import Spec

    return Spec(
        location=settings.location,
        lock_wait=1.0 if settings.lock_wait is None else settings.lock_wait,
        compression=settings.compression,
        remote_path=settings.remote_path,
        rsh=settings.rsh,
        upload_limit=_kib(settings.rate_limit),
        checkpoint_interval=settings.checkpoint_interval,
        passphrase=settings.passphrase.reveal() if settings.passphrase is not None else None,
        threads=max(1, min(4, (os.cpu_count() or 1) // among)),
        log_level=logging.getLogger().getEffectiveLevel(),
    )


@dataclass(frozen=True)
class _Known(SecretSource):
    """A secret that was read already."""

    secret: str = field(default="", repr=False)

    def reveal(self) -> str:
        return self.secret


def _kib(rate: int | None) -> int | None:
    """Borg counts its upload limit in KiB per second, and takes 0 for none."""
    return None if rate is None else max(rate // KiB, 1)


@contextmanager
def _passphrase(source: SecretSource | None) -> Iterator[bool]:
    """Hand the configured passphrase to Borg through a pipe, so that no child process inherits it.

    False where nothing gives it one, and it may ask.
    Borg's own variables go before the configuration, as the environment does everywhere.
    """
    if source is None or _told_to_borg():
        yield _told_to_borg()
        return
    with handed_over(source.reveal()):
        yield True


def _told_to_borg() -> bool:
    """Whether one of Borg's own variables has the passphrase."""
    return any(name in os.environ for name in _BORG_SECRETS)


_BORG_SECRETS = ("BORG_PASSPHRASE", "BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD")
