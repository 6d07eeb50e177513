"""Where a secret comes from: a file, a command, a descriptor, a systemd credential; never the config.

A secret is read when it is needed, remembered by `redact`, and never shown.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from borg_ovirt.errors import ConfigError
from borg_ovirt.redact import remember

PASSWORD_VARIABLE = "BORG_OVIRT_PASSWORD"
_SECRET_VARIABLES = (
    PASSWORD_VARIABLE,
    "BORG_PASSPHRASE",
    "BORG_PASSCOMMAND",
    "BORG_PASSPHRASE_FD",
    "BORG_NEW_PASSPHRASE",
)
COMMAND_TIMEOUT = 60
"""Seconds a password command may take: a vault may ask a person, but a timer has none."""


_taken: dict[str, str] = {}


def take_password() -> None:
    """Take the engine's password out of the environment: every child would inherit it, ssh and hooks too."""
    password = os.environ.pop(PASSWORD_VARIABLE, None)
    if password:
        remember(password)
        _taken[PASSWORD_VARIABLE] = password


def secret_variable(name: str) -> str:
    """The value of a variable that holds a secret, also when it was taken; empty without one."""
    return os.environ.get(name) or _taken.get(name, "")


def environment_of_children() -> dict[str, str]:
    """Our environment without its secrets, for commands of the administrator."""
    return {name: value for name, value in os.environ.items() if name not in _SECRET_VARIABLES}


@dataclass(frozen=True)
class SecretSource:
    """Exactly one place that holds a secret; `what` names it in messages."""

    what: str
    file: str | None = None
    command: str | tuple[str, ...] | None = None
    descriptor: int | None = None
    credential: str | None = None
    variable: str | None = None

    @property
    def given(self) -> bool:
        """Whether any place is named."""
        places = (self.file, self.command, self.descriptor, self.credential, self.variable)
        return any(place is not None for place in places)

    def reveal(self) -> str:
        """Read the secret. `ConfigError` says what is wrong with the place, never what it holds."""
        secret = self._read()
        if not secret:
            raise ConfigError(f"The {self.what} from {self._place()} is empty.")
        remember(secret)
        return secret

    def _read(self) -> str:
        if self.file is not None:
            return _from_file(Path(self.file).expanduser(), self.what)
        if self.command is not None:
            return _from_command(self.command, self.what)
        if self.descriptor is not None:
            return _from_descriptor(self.descriptor, self.what)
        if self.credential is not None:
            return _from_credential(self.credential, self.what)
        if self.variable is not None:
            return secret_variable(self.variable)
        raise ConfigError(f"No place is given for the {self.what}.")

    def _place(self) -> str:
        if self.file is not None:
            return f"the file {self.file}"
        if self.command is not None:
            return "its command"
        if self.descriptor is not None:
            return f"descriptor {self.descriptor}"
        if self.credential is not None:
            return f"the systemd credential {self.credential}"
        return f"the variable {self.variable}"


def _first_line(data: bytes, what: str) -> str:
    """One line is the secret; a final newline is the editor's, not the password's."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"The {what} is not UTF-8 text.") from None
    return text.splitlines()[0] if text else ""


def _from_file(path: Path, what: str) -> str:
    try:
        return _first_line(path.read_bytes(), what)
    except OSError as error:
        raise ConfigError(f"The {what} cannot be read from {path}: {error.strerror}.") from None


def _from_command(command: str | tuple[str, ...], what: str) -> str:
    words = shlex.split(command) if isinstance(command, str) else list(command)
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=COMMAND_TIMEOUT,
            env=environment_of_children(),
            check=False,
        )
    except OSError as error:
        raise ConfigError(f"The command for the {what} did not start: {error.strerror}.") from None
    except subprocess.TimeoutExpired:
        raise ConfigError(f"The command for the {what} took longer than {COMMAND_TIMEOUT} s.") from None
    if done.returncode:
        raise ConfigError(f"The command for the {what} ended with status {done.returncode}.")
    return _first_line(done.stdout, what)


def _from_descriptor(descriptor: int, what: str) -> str:
    try:
        with os.fdopen(descriptor, "rb") as stream:
            return _first_line(stream.read(), what)
    except OSError as error:
        raise ConfigError(
            f"The {what} cannot be read from descriptor {descriptor}: {error.strerror}."
        ) from None


def _from_credential(name: str, what: str) -> str:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigError(
            f"The {what} is the systemd credential {name}, but no credentials were passed.",
            "Run inside a unit with LoadCredential= or LoadCredentialEncrypted=, or by as-borg-ovirt.",
        )
    return _from_file(Path(directory) / name, what)
