"""The command line of this process once more, for a child that does one repository of several."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.config.schema import Config

if TYPE_CHECKING:
    from borg_ovirt.jobs.runs.several import Child

_OURS = {"where", "part_of", "shares", "json", "log_json", "no_progress", "password_fd"}
"""Parameters that the parent sets for its children, or answers itself."""
_SECRETS = {"password_file", "password_command"}


def children(config: Config, names: Sequence[str], password: str, run_id: str) -> list[Child]:
    """A child per repository. Secrets that can be read only once go to each through a pipe of its own."""
    from borg_ovirt.jobs.runs.several import Child

    words = repeat(click.get_current_context())
    passphrase = inherited_passphrase()
    found = []
    for name in names:
        descriptors = [_pipe(password)]
        environment = dict(os.environ)
        own = [f"--password-fd={descriptors[0]}", f"--part-of={run_id}", f"--shares={len(names)}"]
        if passphrase is not None:
            descriptors.append(_pipe(passphrase))
            environment["BORG_PASSPHRASE_FD"] = str(descriptors[1])
        section = config.repositories.get(name)
        if section is not None and section.passphrase_fd is not None:
            descriptors.append(section.passphrase_fd)
        command = [sys.executable, "-m", "borg_ovirt", "create", *words, *own, "--json", "--log-json", name]
        found.append(Child(name, command, environment, descriptors))
    return found


def repeat(context: click.Context) -> list[str]:
    """The options that were given, as words."""
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in _OURS | _SECRETS or not isinstance(parameter, click.Option):
            continue
        words += _words(parameter, context.params.get(name))
    return words


def _words(option: click.Option, value: Any) -> list[str]:
    flag = option.opts[0]
    if value is None or value is False:
        return []
    if option.count:
        return [flag] * int(value)
    if option.is_flag:
        return [flag]
    values = value if isinstance(value, tuple) else [value]
    return [f"{flag}={one}" for one in values]


def _pipe(secret: str) -> int:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        stream.write(secret)
    return reading


def inherited_passphrase() -> str | None:
    """A descriptor can be read only once: what it holds, before several want it."""
    number = os.environ.get("BORG_PASSPHRASE_FD", "")
    if not number.isdecimal():
        return None
    with os.fdopen(int(number)) as stream:
        return stream.read().rstrip("\n")
