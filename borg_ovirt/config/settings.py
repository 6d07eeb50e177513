"""What holds in the end: command line before environment before configuration before default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from borg_ovirt.config.connections import EngineSection, RepositorySection
from borg_ovirt.config.schema import Config
from borg_ovirt.config.secrets import PASSWORD_VARIABLE, SecretSource, secret_variable
from borg_ovirt.errors import ConfigError, UsageError

PASSWORD = "engine's password"


@dataclass(frozen=True)
class EngineSettings:
    """Where the engine is and who logs in. The password is read only when `password.reveal()` is called."""

    url: str
    username: str
    password: SecretSource | None
    """None: nobody said where it is; a person at a terminal may be asked."""
    ca_file: str | None = None
    ca_pem: str | None = None


@dataclass(frozen=True)
class EngineOverrides:
    """What one place says about the engine: the command line, the environment, or a section of the config."""

    url: str | None = None
    username: str | None = None
    password: SecretSource | None = None
    ca_file: str | None = None
    ca_pem: str | None = None


@dataclass(frozen=True)
class RepositorySettings:
    """Where a repository is and how it is reached. None leaves a matter to Borg."""

    location: str
    name: str | None = None
    """Its name in the configuration."""
    compression: str | None = None
    chunk_size: int | None = None
    rate_limit: int | None = None
    passphrase: SecretSource | None = None
    remote_path: str | None = None
    rsh: str | None = None
    lock_wait: float | None = None
    checkpoint_interval: float | None = None
    """Seconds."""
    bypass_lock: bool = False
    """Read it without its lock where another has that, behind ssh too."""


def from_environment(environment: Mapping[str, str] | None = None) -> EngineOverrides:
    """What the BORG_OVIRT_* variables say. Of several passwords the file wins, then the command."""
    here = environment is None
    environment = os.environ if environment is None else environment

    def get(name: str) -> str | None:
        return environment.get(f"BORG_OVIRT_{name}") or None

    password = None
    if file := get("PASSWORD_FILE"):
        password = SecretSource(PASSWORD, file=file)
    elif command := get("PASSWORD_COMMAND"):
        password = SecretSource(PASSWORD, command=command)
    elif get("PASSWORD") or (here and secret_variable(PASSWORD_VARIABLE)):
        password = SecretSource(PASSWORD, variable=PASSWORD_VARIABLE)
    return EngineOverrides(get("URL"), get("USERNAME"), password, get("CA_FILE"))


def engine_settings(
    config: Config,
    given: EngineOverrides,
    name: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> EngineSettings:
    """Settle which engine is meant and how to reach it.

    An engine named on the command line is the configuration's: its keys go before the environment then, which
    only fills what they leave open. Raises `UsageError` when URL or user name are nowhere, `ConfigError` when
    the name is unknown or it is open which of several engines is meant.
    """
    variables = from_environment(environment)
    asked_url = given.url or variables.url
    written = _section(config, name, needed=not asked_url)
    if not name and asked_url and _host(asked_url) != _host(written.url or ""):
        written = EngineOverrides()  # the secrets of one engine are not for another
    places = [given, written, variables] if name else [given, variables, written]
    url = next((place.url for place in places if place.url), None)
    username = next((place.username for place in places if place.username), None)
    if not url:
        raise UsageError(
            "No engine is given.", "Use --url, BORG_OVIRT_URL or `engines` in the configuration."
        )
    if not username:
        raise UsageError(
            "No user name is given.", "Use --username, BORG_OVIRT_USERNAME or the configuration."
        )
    password = next((place.password for place in places if place.password), None)
    ca = next((place for place in places if place.ca_file or place.ca_pem), EngineOverrides())
    return EngineSettings(url, username, password, ca.ca_file, ca.ca_pem)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url if "://" in url else f"https://{url}").hostname
    except ValueError:  # no address at all; whoever connects says so
        return url


def _section(config: Config, name: str | None, *, needed: bool) -> EngineOverrides:
    chosen = name or config.default_engine
    if chosen is None and len(config.engines) == 1:
        chosen = next(iter(config.engines))
    if chosen is None:
        if config.engines and needed:
            raise ConfigError(
                f"Several engines are configured: {', '.join(config.engines)}.",
                "Choose one with --engine, or set default_engine.",
            )
        return EngineOverrides()
    if chosen not in config.engines:
        known = ", ".join(config.engines) or "none"
        raise ConfigError(f"No engine is named {chosen} in the configuration.", f"Known: {known}.")
    return _overrides(config.engines[chosen])


def _overrides(section: EngineSection) -> EngineOverrides:
    return EngineOverrides(section.url, section.username, section.password(), section.ca_file, section.ca_pem)


def repository_settings(
    config: Config,
    repo: str,
    *,
    compression: str | None = None,
    lock_wait: float | None = None,
    remote_path: str | None = None,
    rsh: str | None = None,
) -> RepositorySettings:
    """Settle what `repo` means: the name of a repository in the configuration, or a location.

    A location that is written in the configuration gets the settings that stand there.
    """
    name = repo if repo in config.repositories else _named_like(config, repo)
    section = config.repositories.get(name or "")
    settings = _of_section(name, section) if section else RepositorySettings(repo)
    overrides = {"compression": compression, "lock_wait": lock_wait, "remote_path": remote_path, "rsh": rsh}
    return replace(settings, **{key: value for key, value in overrides.items() if value is not None})  # type: ignore[arg-type]


def _named_like(config: Config, location: str) -> str | None:
    return next((name for name, section in config.repositories.items() if section.location == location), None)


def _of_section(name: str | None, section: RepositorySection) -> RepositorySettings:
    return RepositorySettings(
        section.location,
        name,
        section.compression,
        section.chunk_size,
        section.rate_limit,
        section.passphrase(),
        section.remote_path,
        section.rsh,
        section.lock_wait.total_seconds() if section.lock_wait is not None else None,
        section.checkpoint_interval.total_seconds(),
    )
