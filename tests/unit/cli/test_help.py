"""Help is quick, complete, and touches neither SDK nor Borg."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import click
import pytest

from borg_ovirt.cli.root import COMMANDS, root

HEAVY = ("borg", "ovirtsdk4", "pydantic", "requests", "rich", "yaml", "lz4")


@pytest.mark.parametrize("words", [["--help"], ["create", "--help"], ["list", "-h"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys; from borg_ovirt.cli.boundary import run\n"
        f"status = run({words!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert "borg-ovirt" in done.stdout


def test_help_takes_less_than_a_blink() -> None:
    # CPU time: what the machine does besides does not count.
    before = os.times()
    subprocess.run([sys.executable, "-m", "borg_ovirt", "--help"], capture_output=True, check=True)
    after = os.times()
    used = (after.children_user - before.children_user) + (after.children_system - before.children_system)
    assert used < 0.3


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_explains_itself(name: str) -> None:
    command = importlib.import_module(f"borg_ovirt.cli.{name}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_the_table_is_what_help_prints() -> None:
    text = root.get_help(click.Context(root, info_name="borg-ovirt"))
    for name, summary in COMMANDS.items():
        assert f"{name} " in text
        assert " ".join(summary.split()) in " ".join(text.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from borg_ovirt.cli.boundary import run

    assert run(["completion", shell]) == 0
    assert f"{shell}_complete" in capsys.readouterr().out


def test_completion_works_in_a_real_bash() -> None:
    bindir = os.path.dirname(sys.executable)
    script = """
        source <(borg-ovirt completion bash)
        complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
                           _borg_ovirt_completion borg-ovirt; echo "${COMPREPLY[@]}"; }
        complete_words borg-ovirt create --fre
        complete_words borg-ovirt ex
    """
    environment = {**os.environ, "PATH": f"{bindir}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment, check=True, timeout=60
    )
    assert done.stdout.split() == ["--freeze", "extract"], done.stderr
