"""`borg-ovirt config`: make, check and explain the configuration."""

from __future__ import annotations

import click

from borg_ovirt.cli import options
from borg_ovirt.cli.groups import Group
from borg_ovirt.cli.output import Output
from borg_ovirt.errors import EXIT_ERROR, EXIT_OK


@click.group("config", cls=Group)
def command() -> None:
    """Make, check and explain the configuration.

    Read is the first that exists: --config, $BORG_OVIRT_CONFIG, ~/.config/borg-ovirt/config.yaml,
    /etc/borg-ovirt/config.yaml.
    """


@command.command("generate")
def generate() -> int:
    """Print a commented sample with every key."""
    from borg_ovirt.config.reference import sample

    click.echo(sample(), nl=False)
    return 0


@command.command("validate")
@options.common()
def validate(output: Output) -> int:
    """Check the configuration.

    Every mistake gets a line with file, line and key.
    """
    from borg_ovirt.config.load import InvalidConfig, load

    try:
        loaded = load(output.config_file, output.settings)
    except InvalidConfig as error:
        if output.json:
            output.result({"valid": False, "problems": error.problems})
        for problem in error.problems:
            output.error(problem)
        return error.exit_code
    if output.json:
        output.result({"valid": True, "file": loaded.path, "config": loaded.config})
    elif loaded.path is None:
        output.lines("There is no configuration file: the defaults hold.")
    else:
        config = loaded.config
        output.lines(
            f"{loaded.path}: valid. Engines: {', '.join(config.engines) or 'none'}; "
            f"repositories: {', '.join(config.repositories) or 'none'}."
        )
    return 0


@command.command("notify-test")
@options.common()
def notify_test(output: Output) -> int:
    """Send a test message to everybody of `notify`.

    Whatever they wait for. Exit status 2: not all got it.
    """
    from borg_ovirt.cli import connect
    from borg_ovirt.jobs.notify import try_out

    config = connect.configuration(output)
    if not config.notify:
        raise click.UsageError("The configuration names nobody: write `notify` (docs/hooks.md).")
    found = try_out(config.notify)
    if output.json:
        output.result({"sent": found.count(None), "problems": [problem for problem in found if problem]})
    else:
        for number, problem in enumerate(found, 1):
            output.lines(problem or f"notification {number} was sent")
    return EXIT_ERROR if any(found) else EXIT_OK


@command.command("schema")
def schema() -> int:
    """Print the JSON Schema.

    For editors that check and complete YAML.
    """
    from borg_ovirt.config.reference import json_schema

    click.echo(json_schema(), nl=False)
    return 0


@command.command("reference")
def reference() -> int:
    """Print the reference of all keys in Markdown.

    It is docs/configuration.md.
    """
    from borg_ovirt.config.reference import reference as text

    click.echo(text(), nl=False)
    return 0
