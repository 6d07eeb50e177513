"""Manual pages say what `--help` says, in roff that begins no line with what is not meant as a request."""

from __future__ import annotations

import re

import click
import pytest

from borg_ovirt.cli.manual import page, pages
from borg_ovirt.cli.root import COMMANDS, root

PAGES = dict(pages(root))
REQUESTS = {".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi", ".nh", ".ad"}


def words(text: str) -> str:
    """Without requests, fonts and escapes, however the lines fell."""
    text = re.sub(r"^\.(TH|SH|SS|PP|TP|nf|fi|nh|ad)\b", "", text, flags=re.MULTILINE)
    return " ".join(re.sub(r"\\f.|\\&", "", text).replace("\\-", "-").replace("\\e", "\\").split())


def test_every_command_has_a_page_that_the_first_one_names() -> None:
    for name, summary in COMMANDS.items():
        assert f"borg-ovirt-{name}" in PAGES
        assert f"borg-ovirt-{name}(1) {summary}" in words(PAGES["borg-ovirt"])
    assert "borg-ovirt-config-validate" in PAGES


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_holds_all_that_help_says(name: str) -> None:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    said = words(PAGES[f"borg-ovirt-{name}"])
    for option in [each for each in command.params if isinstance(each, click.Option)]:
        for spelling in option.opts:
            assert spelling in said
        assert " ".join((option.help or "").split()) in said
    assert " ".join((command.help or "").replace("\b", "").split()) in said


@pytest.mark.parametrize("name", PAGES)
def test_lines_that_begin_with_a_dot_are_requests(name: str) -> None:
    for line in PAGES[name].splitlines():
        assert not line.startswith("'"), line
        if line.startswith("."):
            assert line.split()[0] in REQUESTS, line
        else:
            assert not re.search(r"(?<!\\)-", line), line


def test_text_that_looks_like_a_request_stays_text() -> None:
    command = click.Command("odd", help=".SH is a request, 'tis not. C:\\temp --x\n\n\b\n.kept\n  lines")
    text = page(command, click.Context(command, info_name="odd"))
    assert "\\&.SH is a request, 'tis not. C:\\etemp \\-\\-x" in text
    assert ".nf\n\\&.kept\nlines\n.fi" in text
