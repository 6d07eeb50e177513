"""Where the configuration and its secrets go, and whose they are: the service's, or those of one user."""

from __future__ import annotations

import grp
import os
import pwd
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from borg_ovirt.config.load import SYSTEM_FILE
from borg_ovirt.errors import UsageError

SERVICE_USER = "borg-ovirt"
"""Whom the units of hooks/systemd run as."""
_WORDS = 32
"""Bytes of chance in a passphrase of our making."""


@dataclass(frozen=True)
class Place:
    """A directory with a configuration, and the user whom the units run as; None where there are no units."""

    directory: Path
    service: str | None = None

    @property
    def config(self) -> Path:
        return self.directory / "config.yaml"

    @property
    def password(self) -> Path:
        return self.directory / "password"

    @property
    def passphrase(self) -> Path:
        return self.directory / "passphrase"

    @property
    def ca(self) -> Path:
        return self.directory / "engine-ca.pem"

    @property
    def key(self) -> Path:
        """The copy of the repository's key."""
        return self.directory / "key-backup"

    def write_secret(self, path: Path, text: str) -> None:
        """A file that only its owner reads; units get it by LoadCredential=. None is replaced."""
        self._write(path, text, 0o600)

    def write(self, path: Path, text: str) -> None:
        """A file that the service reads, too."""
        self._write(path, text, 0o600 if self.service is None else 0o640)
        if self.service is not None:
            os.chown(path, -1, grp.getgrnam(self.service).gr_gid)

    def _write(self, path: Path, text: str, mode: int) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            os.fchmod(descriptor, mode)
            out.write(text)

    def environment(self) -> Mapping[str, str]:
        """What the units read of directories and ssh: `environment` beside the configuration."""
        if self.service is None:
            return {}
        home = {"HOME": pwd.getpwnam(self.service).pw_dir, "USER": self.service, "LOGNAME": self.service}
        file = self.directory / "environment"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
        return {**home, **{name.strip(): value.strip().strip("\"'") for name, value in pairs}}


def choose_place(directory: str | None, service: bool | None) -> Place:
    """As asked for; else the system's directory for root, and the service's where its user is there.

    Raises `UsageError` where the service's user is asked for and is not there, or by others than root.
    """
    root = os.geteuid() == 0
    there = _is_user(SERVICE_USER)
    if service and not (root and there):
        raise UsageError(
            f"--service needs root and the user {SERVICE_USER}.", "The Debian package makes that user."
        )
    if directory is not None:
        path = Path(directory).expanduser().absolute()
    elif root:
        path = SYSTEM_FILE.parent
    else:
        path = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "borg-ovirt"
    if service is None:
        service = root and there and directory is None
    return Place(path, SERVICE_USER if service else None)


def new_passphrase() -> str:
    """One that nobody guesses."""
    return secrets.token_urlsafe(_WORDS)


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
