"""A Borg repository for the time of a selftest: encrypted, in a directory with all that Borg keeps of it."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from borg_ovirt.errors import ConfigError
from borg_ovirt.jobs.selftest.selftest import PREFIX
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.repository.making import BorgProcess, make_repository
from borg_ovirt.repository.open import Repository, open_repository
from borg_ovirt.repository.passphrase import handed_over

_OTHERS = ("BORG_PASSPHRASE", "BORG_PASSCOMMAND", "BORG_PASSPHRASE_FD", "BORG_CACHE_DIR", "BORG_CONFIG_DIR")
"""Of the user's repository; this one has its own."""


@contextmanager
def scratch_repository(journal: Journal) -> Iterator[Repository]:
    """It is in the journal meanwhile, so that `cleanup` removes what a kill leaves."""
    path = Path(tempfile.gettempdir()) / f"{PREFIX}{journal.run_id}"
    entry = journal.intend("directory", path=str(path))
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        entry.done()
        raise ConfigError(
            f"The directory {path} cannot be made: {error.strerror or error}.",
            "TMPDIR names another place for temporary files.",
        ) from None
    try:
        passphrase = secrets.token_urlsafe(32)
        with _environment({"BORG_BASE_DIR": str(path / "borg")}, without=_OTHERS):
            make_repository(str(path / "repository"), "repokey", BorgProcess(passphrase))
            with handed_over(passphrase), open_repository(str(path / "repository"), write=True) as opened:
                yield opened
    finally:
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
        entry.done()


@contextmanager
def _environment(changes: dict[str, str], *, without: tuple[str, ...]) -> Iterator[None]:
    before = dict(os.environ)
    try:
        for name in without:
            os.environ.pop(name, None)
        os.environ.update(changes)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
