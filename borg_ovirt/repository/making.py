"""Makes a repository and exports its key, with stock Borg as a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from borg_ovirt.errors import RepositoryError
from borg_ovirt.redact import redact

_EXISTS, _NO_KEY = 10, 46
"""Borg's exit statuses where a repository is there already, and where one has no key: it is not encrypted."""
_OURS = {"BORG_EXIT_CODES": "modern", "BORG_DISPLAY_PASSPHRASE": "no"}


@dataclass(frozen=True)
class BorgProcess:
    """As whom stock Borg runs: its user (None: we), and what its environment says of directories and ssh."""

    passphrase: str = field(repr=False)
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `borg` with these words; the passphrase goes through a descriptor."""
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as stream:
            stream.write(self.passphrase)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BORG_PASS")}
        try:
            return subprocess.run(
                [sys.executable, "-m", "borg", *words],
                env={**inherited, **self.environment, **_OURS, "BORG_PASSPHRASE_FD": str(reading)},
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user is not None else None,
                umask=0o077,
                pass_fds=[reading],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.close(reading)


def make_repository(location: str, encryption: str, borg: BorgProcess) -> bool:
    """Make it as `borg init` does, parent directories too; False where there is one already.

    Raises `RepositoryError` with Borg's words.
    """
    done = borg.run("init", "--make-parent-dirs", "--encryption", encryption, location)
    if done.returncode == _EXISTS:
        return False
    if done.returncode:
        raise RepositoryError(f"The repository {location} could not be made: {_words(done)}")
    return True


def export_key(location: str, borg: BorgProcess) -> str | None:
    """The repository's key as `borg key export` writes it; None where it has none (not encrypted)."""
    done = borg.run("key", "export", location)
    if done.returncode == 0:
        return done.stdout
    if done.returncode == _NO_KEY:
        return None
    raise RepositoryError(f"The key of {location} could not be exported: {_words(done)}")


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    faults = [line for line in lines if re.match(r"\w+(Error|Exception|Interrupt)\b", line)]  # of a traceback
    return redact((faults[-1:] or lines[:1] or [f"borg ended with status {done.returncode}."])[0])
