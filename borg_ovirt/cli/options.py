"""Options that several commands share, in bundles: each arrives in the command as one typed record."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import click

from borg_ovirt.cli.output import Output

Body = Callable[..., int]
Decorator = Callable[[Body], Body]


@dataclass(frozen=True)
class EngineOptions:
    """The connection to the engine as the command line gives it; None leaves it to environment and config."""

    engine: str | None = None
    url: str | None = None
    username: str | None = None
    password_file: str | None = None
    password_command: str | None = None
    password_fd: int | None = None
    ca_file: str | None = None


@dataclass(frozen=True)
class RepositoryOptions:
    """How the repository is reached as the command line gives it; None leaves it to config and Borg."""

    lock_wait: float | None = None
    remote_path: str | None = None
    rsh: str | None = None
    bypass_lock: bool = False
    """Of commands that only read."""


def bundle(keyword: str, kind: type[Any], *decorators: Callable[[Any], Any]) -> Decorator:
    """Add options for fields of `kind`, and hand their values on as `keyword=kind(...)`."""
    names = [field.name for field in fields(kind)]

    def decorate(body: Body) -> Body:
        @functools.wraps(body)
        def gather(*args: Any, **values: Any) -> int:
            own = {name: values.pop(name) for name in names if name in values}
            return body(*args, **values, **{keyword: kind(**own)})

        decorated: Any = gather
        for decorator in reversed(decorators):
            decorated = decorator(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


def _engines(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from borg_ovirt.cli import complete

    return complete.engines(context, incomplete)


engine = bundle(
    "engine",
    EngineOptions,
    click.option("--engine", metavar="NAME", help="Engine of the configuration.", shell_complete=_engines),
    click.option("--url", metavar="URL", help="The engine's address. [BORG_OVIRT_URL]"),
    click.option("--username", metavar="USER", help="Such as backup@internal. [BORG_OVIRT_USERNAME]"),
    click.option(
        "--password-file",
        type=click.Path(dir_okay=False),
        help="File whose first line is the password. [BORG_OVIRT_PASSWORD_FILE]",
    ),
    click.option(
        "--password-command",
        metavar="COMMAND",
        help="Command that prints the password. [BORG_OVIRT_PASSWORD_COMMAND]",
    ),
    click.option("--password-fd", type=click.IntRange(0), help="Descriptor to read the password from."),
    click.option(
        "--ca-file", type=click.Path(dir_okay=False), help="PEM file of the engine's CA. [BORG_OVIRT_CA_FILE]"
    ),
)
"""Options that say how to reach the engine."""

_repository = (
    click.option(
        "--lock-wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait for the lock this long."
    ),
    click.option("--remote-path", metavar="PATH", help="Borg's executable on the server."),
    click.option("--rsh", metavar="COMMAND", help="Remote shell instead of ssh. [BORG_RSH]"),
)
repository = bundle("repository", RepositoryOptions, *_repository)
"""Options that say how to reach the repository."""
reading = bundle(
    "repository",
    RepositoryOptions,
    *_repository,
    click.option(
        "--bypass-lock",
        is_flag=True,
        help="Where another Borg has the lock of a repository behind ssh, read it without.",
    ),
)
"""The same for a command that only reads."""


check = click.option(
    "--check/--no-check", default=True, help="Look whether the newest archives can be restored whole."
)
"""How closely the newest archives are looked at."""


def common(*, json: bool = True, dry_run: bool = False) -> Decorator:
    """Options of every command: they fill the `Output` that the command gets."""

    def decorate(body: Body) -> Body:
        @functools.wraps(body)
        def prepare(*args: Any, **values: Any) -> int:
            output = click.get_current_context().find_object(Output)
            assert output is not None  # boundary.run passes it
            output.config_file = values.pop("config")
            output.settings = values.pop("settings")
            output.verbose = values.pop("verbose")
            output.debug = values.pop("debug")
            output.log_json = values.pop("log_json")
            output.bars = not values.pop("no_progress")
            output.json = values.pop("json", False)
            output.changes = dry_run and not click.get_current_context().params["dry_run"]
            output.start_logging()
            return body(*args, output=output, **values)

        decorators = [
            click.option(
                "--config",
                type=click.Path(dir_okay=False),
                help="Configuration to use. [BORG_OVIRT_CONFIG]",
            ),
            click.option(
                "--set",
                "settings",
                multiple=True,
                metavar="KEY=VALUE",
                help="Any key of the configuration: policy.full_every=7d.",
            ),
            *(
                [
                    click.option(
                        "--dry-run", "-n", is_flag=True, help="Change nothing; show what would be done."
                    )
                ]
                if dry_run
                else []
            ),
            *(
                [click.option("--json", is_flag=True, help="The result as JSON on standard output.")]
                if json
                else []
            ),
            click.option("--log-json", is_flag=True, help="Messages and progress as JSON lines, as Borg's."),
            click.option("--no-progress", is_flag=True, help="Plain lines instead of bars on a terminal."),
            click.option("--verbose", "-v", count=True, help="More messages; twice for all."),
            click.option("--debug", is_flag=True, help="All messages, and a traceback with an error."),
        ]
        decorated: Any = prepare
        for decorator in reversed(decorators):
            decorated = decorator(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate
