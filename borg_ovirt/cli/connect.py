"""From options and configuration to an engine and a repository: what every command does before its job."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from borg_ovirt.blocks import KiB
from borg_ovirt.cli.location import Location
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
from borg_ovirt.redact import remember
from borg_ovirt.repository.open import Repository, open_repository

if TYPE_CHECKING:
    from borg_ovirt.jobs.backup.stores import Store
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
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"No password is given for {settings.username}.",
            "Use --password-file, --password-command, --password-fd or the configuration.",
        )
    password: str = click.prompt(f"Password of {settings.username}", hide_input=True, err=True)
    remember(password)
    return password


def repository_of(
    config: Config, target: Location, options: RepositoryOptions, compression: str | None = None
) -> RepositorySettings:
    """What `target` points at, and how it is reached."""
    return repository_settings(
        config,
        target.repo,
        compression=compression,
        lock_wait=options.lock_wait,
        remote_path=options.remote_path,
        rsh=options.rsh,
    )


@contextmanager
def repository(settings: RepositorySettings, *, write: bool) -> Iterator[Repository]:
    """The repository, open and locked."""
    with (
        _passphrase(settings.passphrase),
        open_repository(
            settings.location,
            write=write,
            lock_wait=1.0 if settings.lock_wait is None else settings.lock_wait,
            compression=settings.compression,
            remote_path=settings.remote_path,
            rsh=settings.rsh,
            upload_limit=_kib(settings.rate_limit),
        ) as opened,
    ):
        yield opened


def opener(settings: RepositorySettings) -> Callable[[], AbstractContextManager[Repository]]:
    """Opens the repository for writing, more than once if need be: its passphrase is asked for only once."""
    source = settings.passphrase
    if source is not None and not any(name in os.environ for name in _BORG_SECRETS):
        settings = replace(settings, passphrase=_Known(source.what, secret=source.reveal()))
    return lambda: repository(settings, write=True)


@contextmanager
def store(settings: Sequence[RepositorySettings], stall: float) -> Iterator[Repository | Store]:
    """One repository, or several that take the same backup, each in a process of its own."""
    if len(settings) == 1:
        with repository(settings[0], write=True) as opened:
            yield opened
        return
    from borg_ovirt.jobs.backup.workers.store import open_together

    locations = [one.location for one in settings]
    for location in locations:
        if locations.count(location) > 1:
            raise UsageError(f"The repository {location} is named twice.", "Name each once.")
    with open_together(_specs(settings), stall) as together:
        yield together


def _specs(settings: Sequence[RepositorySettings]) -> list[Spec]:
    """How each process opens its repository. Secrets that can be read only once are read here, for all."""
    from borg_ovirt.cli.again import inherited_passphrase
    from borg_ovirt.jobs.backup.workers.messages import Spec

    inherited = inherited_passphrase()
    from_borg = any(name in os.environ for name in _BORG_SECRETS)
    found = []
    for one in settings:
        passphrase = inherited
        if passphrase is None and not from_borg and one.passphrase is not None:
            passphrase = one.passphrase.reveal()
        found.append(
            Spec(
                location=one.location,
                lock_wait=1.0 if one.lock_wait is None else one.lock_wait,
                compression=one.compression,
                remote_path=one.remote_path,
                rsh=one.rsh,
                upload_limit=_kib(one.rate_limit),
                passphrase=passphrase,
                threads=max(1, min(4, (os.cpu_count() or 1) // len(settings))),
                log_level=logging.getLogger().getEffectiveLevel(),
            )
        )
    return found


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
def _passphrase(source: SecretSource | None) -> Iterator[None]:
    """Hand the configured passphrase to Borg through a pipe, so that no child process inherits it.

    Borg's own variables go before the configuration, as the environment does everywhere.
    """
    if source is None or any(name in os.environ for name in _BORG_SECRETS):
        yield
        return
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        stream.write(source.reveal())
    os.environ["BORG_PASSPHRASE_FD"] = str(reading)
    try:
        yield
    finally:
        del os.environ["BORG_PASSPHRASE_FD"]


_BORG_SECRETS = ("BORG_PASSPHRASE", "BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD")
