"""The sections that say how to reach engines and repositories, and where their secrets are."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator, model_validator

from borg_ovirt.blocks import MiB
from borg_ovirt.config.secrets import SecretSource
from borg_ovirt.config.section import Section, Words
from borg_ovirt.config.types import Duration, Size


def only_one(section: Section, *keys: str) -> None:
    given = [key for key in keys if getattr(section, key) is not None]
    if len(given) > 1:
        raise ValueError(f"give one of {', '.join(keys)}, not {' and '.join(given)}")


def words_of(words: Words | None) -> str | tuple[str, ...] | None:
    return tuple(words) if isinstance(words, list) else words


class EngineSection(Section):
    """An oVirt engine.

    The password comes from one of four places; without any you are asked on a
    terminal.
    """

    url: str = Field(
        description="The engine's address; the path of the API may be left out.",
        examples=["https://engine.example.org/ovirt-engine/api"],
    )
    username: str = Field(
        description="User and profile that log in.",
        examples=["backup@internal"],
    )
    password_file: str | None = Field(
        None, description="File whose first line is the password.", examples=["/etc/borg-ovirt/password"]
    )
    password_command: Words | None = Field(
        None,
        description="Command that prints the password; a line is split like a shell does, but no shell runs.",
        examples=["pass show ovirt/backup"],
    )
    password_fd: int | None = Field(
        None, ge=0, description="Open file descriptor to read the password from.", examples=[3]
    )
    password_credential: str | None = Field(
        None,
        description="Name of a systemd credential (LoadCredential= of the unit).",
        examples=["ovirt-password"],
    )
    ca_file: str | None = Field(
        None,
        description="PEM file of the engine's CA; without it the system's CAs decide.",
        examples=["/etc/borg-ovirt/engine-ca.pem"],
    )
    ca_pem: str | None = Field(None, description="The CA itself, as PEM text, instead of ca_file.")

    @field_validator("ca_pem")
    @classmethod
    def _is_pem(cls, value: str | None) -> str | None:
        if value is not None and "-----BEGIN CERTIFICATE-----" not in value:
            raise ValueError("is not PEM text; for a path use ca_file")
        return value

    @model_validator(mode="after")
    def _one_of_each(self) -> EngineSection:
        only_one(self, "password_file", "password_command", "password_fd", "password_credential")
        only_one(self, "ca_file", "ca_pem")
        return self

    def password(self) -> SecretSource | None:
        """Where the password is, if the configuration says so."""
        source = SecretSource(
            "engine's password",
            self.password_file,
            words_of(self.password_command),
            self.password_fd,
            self.password_credential,
        )
        return source if source.given else None


class RepositorySection(Section):
    """A Borg repository. Borg's own variables (BORG_PASSPHRASE ...) hold where nothing is written here."""

    location: str = Field(
        description="Path or ssh:// URL, as for borg.", examples=["ssh://borg@offsite.example.org/./vms"]
    )
    compression: str | None = Field(
        None,
        description="As for `borg create --compression`: none, lz4, zstd,3, auto,zstd,10 ...",
        examples=["zstd,3"],
    )
    chunk_size: Size = Field(
        4 * MiB,
        description="Chunk size of new series, a power of two from 64KiB to 16MiB; a VM keeps that of its "
        "first "
        "archive. Smaller suits databases that write little everywhere, at the price of memory.",
        examples=["4MiB"],
    )
    rate_limit: Size | None = Field(
        None, description="Upload limit to this repository in bytes per second.", examples=["50MiB"]
    )
    passphrase_file: str | None = Field(
        None, description="File whose first line is the passphrase.", examples=["/etc/borg-ovirt/passphrase"]
    )
    passphrase_command: Words | None = Field(
        None, description="Command that prints the passphrase.", examples=["pass show borg/vms"]
    )
    passphrase_fd: int | None = Field(
        None, ge=0, description="Open file descriptor to read the passphrase from.", examples=[4]
    )
    passphrase_credential: str | None = Field(
        None, description="Name of a systemd credential.", examples=["borg-passphrase"]
    )
    key_backup: str | None = Field(
        None,
        description="Copy of the repository's key (`borg key export`), which `doctor` looks at.",
        examples=["/etc/borg-ovirt/key-backup"],
    )
    append_only: str | None = Field(
        None,
        description="Who made sure on the server that this machine can only append, and when: `borg serve` "
        "does not tell.",
        examples=["root on 2026-03-01, authorized_keys"],
    )
    remote_path: str | None = Field(
        None, description="Borg's executable on the server.", examples=["/usr/local/bin/borg"]
    )
    rsh: str | None = Field(
        None,
        description="Remote shell to use instead of ssh.",
        examples=["ssh -i /etc/borg-ovirt/id_ed25519"],
    )
    lock_wait: Duration | None = Field(
        None,
        description="How long to wait for the repository's lock; without it `create` waits 10m, others 1s.",
        examples=["30m"],
    )
    checkpoint_interval: Duration = Field(
        timedelta(minutes=30),
        description="How often what is stored of an unfinished archive is kept, so that it need not be sent "
        "again after an interruption; `0s` for never.",
        examples=["10m"],
    )

    @field_validator("chunk_size")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1) or not 1 << 16 <= value <= 1 << 24:
            raise ValueError("must be a power of two from 64KiB to 16MiB")
        return value

    @model_validator(mode="after")
    def _one_secret(self) -> RepositorySection:
        only_one(self, "passphrase_file", "passphrase_command", "passphrase_fd", "passphrase_credential")
        return self

    def passphrase(self) -> SecretSource | None:
        """Where the passphrase is, if the configuration says so."""
        source = SecretSource(
            "repository's passphrase",
            self.passphrase_file,
            words_of(self.passphrase_command),
            self.passphrase_fd,
            self.passphrase_credential,
        )
        return source if source.given else None
