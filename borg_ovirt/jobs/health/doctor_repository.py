"""Looks at a repository: reachable, encrypted, in step with the clock, and whether we could destroy it."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.health.doctor_changes import look_at_changes
from borg_ovirt.jobs.health.doctor_proof import look_at_proofs
from borg_ovirt.jobs.health.doctor_selection import Unselected
from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.repository.open import Repository

_AHEAD = timedelta(minutes=5)
_KEY_HEAD = 100
"""Characters of a copy of a key that hold its first line: BORG_KEY and the repository's id."""
_RECIPE = "See docs/operating.md, A client that cannot destroy history."


@dataclass(frozen=True)
class LookedAt:
    """A repository, and what the configuration says that nobody can ask it."""

    opener: Callable[[], AbstractContextManager[Repository]]
    """Opens it for reading."""
    key_backup: str | None = None
    append_only: str | None = None
    """Who made sure of it."""


def look_at_repository(
    name: str, looked_at: LookedAt, state: Path, unselected: Unselected | None = None
) -> Iterator[Finding]:
    """Every check of one repository."""
    about = f"repository {name}"
    try:
        with looked_at.opener() as repository:
            yield ok(about, f"{repository.location} opens")
            yield from _owner(about, repository)
            yield _encryption(about, repository)
            if repository.encryption.startswith(("repokey", "keyfile")):
                yield _key(about, repository, looked_at.key_backup)
            yield _history(about, repository, looked_at.append_only)
            yield _archives(about, repository)
            yield from look_at_proofs(about, repository, state)
            if unselected is not None:
                yield from look_at_changes(about, repository)
                yield from unselected.look(about, repository)
    except BorgOvirtError as error:
        yield failed(about, error.message, error.hint)


def _encryption(about: str, repository: Repository) -> Finding:
    mode = repository.encryption
    if mode == "none" or mode.startswith("authenticated"):
        return warn(
            about,
            f"not encrypted (mode {mode}): whoever reads it reads every disk",
            "A repository's mode is chosen by `borg init`; make an encrypted one.",
        )
    return ok(about, f"encrypted ({mode})")


def _key(about: str, repository: Repository, copy: str | None) -> Finding:
    """Whether there is a copy of the key, and of this repository: without the key nobody reads an archive."""
    todo = f"borg key export {repository.location} FILE; name it in `key_backup`, and copy it elsewhere."
    if copy is None:
        return warn(about, "no copy of its key is named", todo)
    path = Path(copy).expanduser()
    try:
        head = path.read_text(encoding="utf-8", errors="replace")[:_KEY_HEAD].split()
        when = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
    except OSError as error:
        return warn(about, f"the copy of its key cannot be read from {path}: {error.strerror}", todo)
    if head[:2] != ["BORG_KEY", repository.id]:
        return warn(about, f"{path} is no copy of its key", todo)
    return ok(about, f"a copy of its key was made on {when:%Y-%m-%d}: {path}")


def _owner(about: str, repository: Repository) -> Iterator[Finding]:
    """Files that root makes in another user's repository are root's, and the next run of that user fails."""
    try:
        owner = os.stat(repository.location).st_uid
    except OSError:
        return  # not on this machine
    if owner != os.geteuid():
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        yield warn(
            about,
            f"it belongs to {name}, and what you write there would not",
            f"Work as {name}; for the user of the units: as-borg-ovirt borg-ovirt ...",
        )


def _history(about: str, repository: Repository, confirmed: str | None) -> Finding:
    """Could this machine, in the wrong hands, destroy what it has backed up?"""
    if repository.append_only is True:
        return ok(about, "append-only: what is in it stays until somebody else compacts")
    if repository.append_only is None and confirmed:
        return ok(about, f"append-only, confirmed by: {confirmed}")
    if repository.append_only is False:
        return warn(about, "this machine can destroy the history: the repository is not append-only", _RECIPE)
    return warn(
        about,
        "whether this machine can destroy the history only the server knows: `borg serve` does not tell",
        f"Look for --append-only in its authorized_keys, and say so in `append_only`. {_RECIPE}",
    )


def _archives(about: str, repository: Repository) -> Finding:
    archives = repository.archives()
    if not archives:
        return warn(about, "no archive of ours yet", "`borg-ovirt create` makes the first.")
    newest = max(archives, key=lambda info: info.time)
    if newest.time > datetime.now(timezone.utc) + _AHEAD:
        return warn(
            about,
            f"{newest.name} is from the future",
            "A clock was or is wrong; retention goes by these times.",
        )
    others = len(repository.all_names()) - len(archives)
    more = f", {others} of others" if others > 0 else ""
    return ok(about, f"{len(archives)} archives of ours{more}; the newest is {newest.name}")
