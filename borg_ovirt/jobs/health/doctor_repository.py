"""Looks at a repository: reachable, encrypted, in step with the clock, and whether we could destroy it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.health.doctor_selection import Unselected
from borg_ovirt.jobs.health.finding import Finding, failed, ok, warn
from borg_ovirt.repository.open import Repository

_AHEAD = timedelta(minutes=5)
_RECIPE = "See docs/operating.md, A client that cannot destroy history."


def look_at_repository(
    name: str,
    opener: Callable[[], AbstractContextManager[Repository]],
    unselected: Unselected | None = None,
) -> Iterator[Finding]:
    """Every check of one repository."""
    about = f"repository {name}"
    try:
        with opener() as repository:
            yield ok(about, f"{repository.location} opens")
            yield _encryption(about, repository)
            yield _history(about, repository)
            yield _archives(about, repository)
            if unselected is not None:
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
    kept = (
        "keep a copy of the key: borg key export"
        if mode.startswith("repokey")
        else "back up ~/.config/borg/keys"
    )
    return ok(about, f"encrypted ({mode}); {kept}")


def _history(about: str, repository: Repository) -> Finding:
    """Could this machine, in the wrong hands, destroy what it has backed up?"""
    if repository.append_only is True:
        return ok(about, "append-only: what is in it stays until somebody else compacts")
    if repository.append_only is False:
        return warn(about, "this machine can destroy the history: the repository is not append-only", _RECIPE)
    return warn(
        about,
        "whether this machine can destroy the history only the server knows: `borg serve` does not tell",
        f"Look for --append-only in its authorized_keys. {_RECIPE}",
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
