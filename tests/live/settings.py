"""What `make live` is told of the engine: by environment variables, of which four must be there."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from borg_ovirt.ovirt.session.engine import EngineAccess

HELP = """\
make live tries borg-ovirt on a living engine, on VMs of its own that it removes again.

LIVE_URL              https://engine.example/ovirt-engine/api
LIVE_USER             such as admin@internal; it must be allowed to make VMs
LIVE_PASSWORD_FILE    file whose first line is the password
LIVE_CA_FILE          PEM file with the CA of the engine and of its hosts
LIVE_CLUSTERS         names, with commas (the one of the highest level)
LIVE_STORAGE_DOMAINS  names, with commas; each cluster takes the first that it has (the one with most room)
LIVE_WRITE            shell command that writes into the disk of a running guest, with VM, DISK, OFFSET and
                      LENGTH in its environment and the bytes on its standard input; without it a VM is
                      stopped, written to, and started again
LIVE_ROLE_USER        a user who has the documented role and no other, and
LIVE_ROLE_PASSWORD_FILE  the file with that user's password
LIVE_ONLY             words, with commas: only tries whose names have one of them (each makes what it needs)
LIVE_DIR              where repositories, journals and logs lie (build/live)
"""


@dataclass(frozen=True)
class Settings:
    """The variables, read."""

    url: str
    user: str
    password_file: Path
    ca_file: Path
    clusters: tuple[str | None, ...]
    domains: tuple[str, ...]
    write: str | None
    role: tuple[str, Path] | None
    only: tuple[str, ...]
    directory: Path

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Settings:
        """Exits with what is missing."""
        needed = ("LIVE_URL", "LIVE_USER", "LIVE_PASSWORD_FILE", "LIVE_CA_FILE")
        if missing := [name for name in needed if not env.get(name)]:
            sys.exit(f"{HELP}\nNot set: {', '.join(missing)}.")
        user, file = env.get("LIVE_ROLE_USER"), env.get("LIVE_ROLE_PASSWORD_FILE")
        return cls(
            env["LIVE_URL"],
            env["LIVE_USER"],
            Path(env["LIVE_PASSWORD_FILE"]),
            Path(env["LIVE_CA_FILE"]),
            tuple(_words(env.get("LIVE_CLUSTERS"))) or (None,),
            tuple(_words(env.get("LIVE_STORAGE_DOMAINS"))),
            env.get("LIVE_WRITE") or None,
            (user, Path(file)) if user and file else None,
            tuple(_words(env.get("LIVE_ONLY"))),
            Path(env.get("LIVE_DIR") or "build/live").absolute(),
        )

    @property
    def access(self) -> EngineAccess:
        password = self.password_file.read_text().splitlines()[0]
        return EngineAccess(self.url, self.user, password, ca_file=self.ca_file)

    def environment(self) -> dict[str, str]:
        """For the commands, as a user sets it; nothing of the caller's configuration counts."""
        directory = self.directory
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("BORG_")},
            "BORG_OVIRT_URL": self.url,
            "BORG_OVIRT_USERNAME": self.user,
            "BORG_OVIRT_PASSWORD_FILE": str(self.password_file),
            "BORG_OVIRT_CA_FILE": str(self.ca_file),
            "BORG_OVIRT_STATE_DIR": str(directory / "state"),
            "BORG_OVIRT_CONFIG": str(directory / "config.yaml"),
            "BORG_BASE_DIR": str(directory / "borg"),
            "BORG_PASSPHRASE": "of no account",
        }


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
