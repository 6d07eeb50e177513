"""The manual page of a command, from the same source as its `--help`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields

import click

from borg_ovirt import __version__
from borg_ovirt.cli.options import EngineOptions, RepositoryOptions
from borg_ovirt.cli.root import COMMANDS

PROGRAM = "borg-ovirt"

_SHARED: dict[str, set[str]] = {
    "The engine": {field.name for field in fields(EngineOptions)},
    "The repository": {field.name for field in fields(RepositoryOptions)},
    "Every command": {"config", "settings", "json", "log_json", "no_progress", "verbose", "debug", "help"},
}
"""Heading -> the options that many commands share; they come after a command's own."""

_FILES = (
    (
        "~/.config/borg-ovirt/config.yaml, /etc/borg-ovirt/config.yaml",
        "The configuration: the first that is.",
    ),
    (
        "~/.local/state/borg-ovirt, /var/lib/borg-ovirt",
        "Journals of what runs made in the engine; root's last.",
    ),
)
_ENVIRONMENT = (
    ("BORG_OVIRT_CONFIG", "Configuration to use."),
    (
        "BORG_OVIRT_URL, BORG_OVIRT_USERNAME, BORG_OVIRT_PASSWORD_FILE, BORG_OVIRT_PASSWORD_COMMAND, "
        "BORG_OVIRT_PASSWORD, BORG_OVIRT_CA_FILE",
        "The engine, where neither the command line nor --engine names one.",
    ),
    ("BORG_OVIRT_STATE_DIR", "Where journals lie."),
    ("BORG_REPO, BORG_PASSPHRASE, BORG_PASSCOMMAND, BORG_RSH ...", "As for borg(1)."),
)


def pages(root: click.Group) -> Iterator[tuple[str, str]]:
    """Every page: its file name without a suffix, such as `borg-ovirt-create`, and its text in roff."""
    context = click.Context(root, info_name=PROGRAM, **root.context_settings)
    yield PROGRAM, page(root, context)
    yield from _below(root, context)


def _below(group: click.Group, context: click.Context) -> Iterator[tuple[str, str]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        yield below.command_path.replace(" ", "-"), page(command, below)
        if isinstance(command, click.Group):
            yield from _below(command, below)


def page(command: click.Command, context: click.Context) -> str:
    """One page in roff, for `man`."""
    path = context.command_path
    name = path.replace(" ", "-")
    paragraphs = _paragraphs(command.help or "")
    lines = [
        f'.TH "{name.upper()}" 1 "" "{PROGRAM} {__version__}" "{PROGRAM}"',
        ".nh",
        ".ad l",
        ".SH NAME",
        f"{_text(name)} \\- {_text(_summary(command, context).rstrip('.'))}",
        ".SH SYNOPSIS",
        f"\\fB{_text(path)}\\fR {_text(' '.join(command.collect_usage_pieces(context)))}",
        ".SH DESCRIPTION",
        *_prose(paragraphs),
    ]
    if isinstance(command, click.Group):
        lines += _commands(command, context)
    lines += _options(command, context)
    if context.parent is None:
        lines += [".SH EXIT STATUS", *_prose(_paragraphs(command.epilog or ""))]
        lines += [".SH ENVIRONMENT", *_terms(_ENVIRONMENT), ".SH FILES", *_terms(_FILES)]
    return "\n".join([*lines, ".SH SEE ALSO", _see_also(command, context)]) + "\n"


def _summary(command: click.Command, context: click.Context) -> str:
    """The one line of the table that `borg-ovirt --help` prints, or the first of its own help."""
    top = context.parent is not None and context.parent.parent is None
    return COMMANDS[command.name or ""] if top else _paragraphs(command.help or "")[0]


def _paragraphs(text: str) -> list[str]:
    r"""Paragraphs of a docstring; one that begins with `\b` keeps its lines, as in `--help`."""
    found = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return [part if part.startswith("\b") else " ".join(part.split()) for part in found if part.strip()]


def _prose(paragraphs: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for part in paragraphs:
        if part.startswith("\b"):
            kept = [_text(line.strip()) for line in part.removeprefix("\b").strip("\n").splitlines()]
            lines += [".PP", ".nf", *kept, ".fi"]
        else:
            lines += [".PP", _text(part)]
    return lines


def _terms(pairs: Sequence[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    for term, text in pairs:
        lines += [".TP", f"\\fB{_text(term)}\\fR", _text(text)]
    return lines


def _commands(group: click.Group, context: click.Context) -> list[str]:
    lines = [".SH COMMANDS"]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=context)
        reference = below.command_path.replace(" ", "-")
        lines += [".TP", f"\\fB{_text(reference)}\\fR(1)", _text(_summary(command, below))]
    return lines


def _options(command: click.Command, context: click.Context) -> list[str]:
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    records = [(each.name or "", record) for each in options if (record := each.get_help_record(context))]
    shared = set().union(*_SHARED.values())
    own = [record for name, record in records if name not in shared]
    lines = [".SH OPTIONS", *_terms(own)]
    for heading, names in _SHARED.items():
        if terms := [record for name, record in records if name in names]:
            lines += [f".SS {heading}", *_terms(terms)]
    return lines


def _see_also(command: click.Command, context: click.Context) -> str:
    names = [PROGRAM] if context.parent is not None else []
    if context.parent is not None and context.parent.parent is not None:
        names.append(context.parent.command_path.replace(" ", "-"))
    others = [f"\\fB{_text(name)}\\fR(1)" for name in [*names, "borg"]]
    return f"{', '.join(others)}; {_text(f'/usr/share/doc/{PROGRAM}')}, or docs/ of the source."


def _text(text: str) -> str:
    """Text that roff takes as it is: no request at the start of a line, hyphens that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)
