"""Whatever happens in a command is one line and a documented exit status."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from borg_ovirt import errors, streams
from borg_ovirt.cli import boundary, options
from borg_ovirt.cli.output import Output

ROOT = Path(__file__).parents[3]
TICKET = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Make `boundary.run` call a command that does what the test wants."""

    def install(body):  # type: ignore[no-untyped-def]
        @click.command("try")
        @options.common()
        def command(output: Output) -> int:
            return body(output)

        monkeypatch.setattr(boundary, "root", command)

    return install


def raising(error: BaseException):  # type: ignore[no-untyped-def]
    def body(output: Output) -> int:
        raise error

    return body


def test_our_errors_are_a_line_with_hint_and_code(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(errors.RepositoryLocked("The repository is locked.", "Use --lock-wait.")))
    assert boundary.run([]) == 31
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "borg-ovirt: The repository is locked. Use --lock-wait.\n"


def test_a_message_of_many_lines_becomes_one(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(errors.EngineRefused("Refused:\n  no\n  room")))
    assert boundary.run([]) == 16
    assert capsys.readouterr().err == "borg-ovirt: Refused: no room\n"


def test_a_fault_of_ours_is_a_line_that_asks_for_debug(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(KeyError("disk")))
    assert boundary.run([]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "KeyError: 'disk'" in err
    assert "--debug" in err


def test_debug_shows_the_traceback_without_secrets(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(RuntimeError(f"GET /images/{TICKET}")))
    assert boundary.run(["--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "raise error" in err
    assert "/images/***" in err
    assert TICKET not in err


def test_log_json_keeps_errors_in_the_shape_of_borg(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(errors.VmNotFound("No VM web01.")))
    assert boundary.run(["--log-json"]) == 14
    line = json.loads(capsys.readouterr().err)
    assert line["type"] == "log_message"
    assert line["levelname"] == "ERROR"
    assert line["message"] == "No VM web01."
    assert line["exit_code"] == 14


def test_usage_errors_say_where_help_is(capsys) -> None:  # type: ignore[no-untyped-def]
    assert boundary.run(["create", "--nonsense"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--nonsense" in err
    assert "`borg-ovirt create --help`" in err


@pytest.mark.parametrize(
    ("word", "meant"), [("restore", "extract"), ("creat", "create"), ("backup", "create"), ("zzz", None)]
)
def test_an_unknown_command_is_a_usage_error(capsys, word, meant) -> None:  # type: ignore[no-untyped-def]
    assert boundary.run([word]) == 2
    err = capsys.readouterr().err
    assert f"No such command '{word}'" in err
    assert ("Did you mean" in err) == (meant is not None)
    assert meant is None or f"Did you mean `{meant}`?" in err


@pytest.mark.parametrize("words", [[], ["config"]])
def test_without_a_word_help_is_shown_as_help(capsys, words) -> None:  # type: ignore[no-untyped-def]
    assert boundary.run(words) in (0, 2)
    shown = "".join(capsys.readouterr())
    assert "\nCommands:\n" in shown
    assert "Try `" not in shown


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1), (None, 0)])
def test_the_command_decides_on_success_or_warning(command, status, expected) -> None:  # type: ignore[no-untyped-def]
    command(lambda output: status)
    assert boundary.run([]) == expected


def test_ctrl_c_at_a_prompt_is_an_interruption(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(click.Abort()))
    assert boundary.run([]) == 130


def test_a_broken_pipe_of_a_peer_is_an_error_of_the_job(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(BrokenPipeError(32, "Broken pipe")))
    assert boundary.run([]) == 2
    assert capsys.readouterr().err == "borg-ovirt: The system refused: Broken pipe\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(36, "File name too long", "x" * 300), "File name too long: xxx"),
        (OSError(24, "Too many open files", "/tmp/x"), "ulimit -n"),
        (MemoryError(), "not enough memory"),
        (ImportError("libx.so: failed to map segment from shared object"), "failed to map segment"),
        (RuntimeError("can't start new thread"), "no more threads"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_system_refuses_is_no_fault_of_ours(command, capsys, error, words) -> None:  # type: ignore[no-untyped-def]
    command(raising(error))
    assert boundary.run([]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert "fault of borg-ovirt" not in err


@pytest.mark.parametrize("error", [click.ClickException("no"), click.FileError("x"), SystemExit(1)])
def test_nothing_but_done_work_ends_with_the_status_of_done_work(command, capsys, error) -> None:  # type: ignore[no-untyped-def]
    command(raising(error))
    assert boundary.run([]) == 2


def test_what_steers_a_terminal_is_shown_and_not_sent(command, capsys) -> None:  # type: ignore[no-untyped-def]
    """Here in an error and in each kind of result; a forged row would need the line feed."""
    evil = "a\x1b]0;owned\x07\nweb02  ok\u202e\u2028\x9b2J\x7f"

    def body(output: Output) -> int:
        output.lines(evil)
        output.table(["VM", "NOTES"], [[evil, "x"]])
        output.tell(evil)
        logging.getLogger("borg_ovirt").warning("%s", evil)
        raise errors.VmNotFound(f"No VM {evil}.")

    command(body)
    assert boundary.run([]) == 14
    out, err = capsys.readouterr()
    told = "a\\x1b]0;owned\\x07\\nweb02  ok\\u202e\\u2028\\x9b2J\\x7f"
    assert out == f"{told}\nVM{' ' * len(told)}NOTES\n{told}  x\n"
    assert err.splitlines()[:2] == [f"borg-ovirt: {told}", f"borg-ovirt: warning: {told}"]
    assert all(line.isprintable() for line in err.splitlines())
    assert len(err.splitlines()) == 3


def test_a_traceback_keeps_its_lines_and_nothing_else_that_steers(command, capsys) -> None:  # type: ignore[no-untyped-def]
    command(raising(RuntimeError("a\x1b[2J\x85b")))
    assert boundary.run(["--debug"]) == 2
    lines = capsys.readouterr().err.split("\n")
    assert len(lines) > 3
    assert all(line.isprintable() for line in lines)


def test_a_reader_that_left_ends_the_command_silently() -> None:
    command = [sys.executable, "-m", "borg_ovirt", "config", "reference"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 141
    assert err == b""


def test_every_error_class_is_documented_with_its_code() -> None:
    made = subprocess.run([sys.executable, ROOT / "tools" / "exit-codes"], capture_output=True, text=True)
    assert f"| {errors.RepositoryLocked.exit_code} | `RepositoryLocked` |" in made.stdout
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    assert page == made.stdout, "stale: tools/exit-codes > docs/exit-codes.md"


def test_the_documented_causes_have_numbers_of_their_own() -> None:
    codes = [
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.BorgOvirtError)
    ]
    own = [code for code in codes if code != errors.EXIT_ERROR]
    assert len(own) > 20
    assert len(own) == len(set(own))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["extract", "--to", "", "/r::x"], "--to has an empty value"),
        (["extract", "--name=", "/r::x"], "--name has an empty value"),
        (["list", ""], "An argument is empty"),
        (["create", "/r::x", ""], "An argument is empty"),
    ],
)
def test_a_variable_that_is_not_set_is_no_value(words: list[str], told: str, capsys) -> None:  # type: ignore[no-untyped-def]
    """`--to "$DIR"` would write where one happens to be, `--name "$NEW"` over the original."""
    assert boundary.run(words) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("allowed", "status"), [("16", 2), ("200", 2), ("256", 30), ("4096", 30)])
def test_too_few_open_files_are_told_before_anything_is_begun(allowed: str, status: int) -> None:
    """A run that found none left took the engine for one that is away, and waited with a backup open."""
    done = subprocess.run(
        ["bash", "-c", f"ulimit -n {allowed}; exec {sys.executable} -m borg_ovirt list /nowhere/at/all"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert (f"allows {allowed} open files" in done.stderr) == (status == 2)


def test_the_soft_limit_of_open_files_is_raised() -> None:
    code = (
        "import resource; from borg_ovirt.cli.limits import allow_open_files; allow_open_files();"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run(
        ["bash", "-c", f'ulimit -Sn 64; ulimit -Hn 2000; exec {sys.executable} -c "{code}"'],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stdout.split() == ["1024", "2000"]


@pytest.mark.parametrize(
    ("number", "changes", "status", "told"),
    [
        (errno.EPIPE, True, 0, ""),
        (errno.EIO, True, 0, ""),
        (errno.EPIPE, False, 141, ""),
        (errno.ENOSPC, True, 1, "No space left"),
        (errno.ENOSPC, False, 2, "No space left"),
    ],
)
def test_a_reader_that_left_is_no_error_and_a_full_disk_is(  # type: ignore[no-untyped-def]
    command, capsys, monkeypatch, number: int, changes: bool, status: int, told: str
) -> None:
    def body(output: Output) -> int:
        output.changes = changes
        return 0

    command(body)
    monkeypatch.setattr(streams, "lost", lambda: OSError(number, os.strerror(number)))
    assert boundary.run([]) == status
    err = capsys.readouterr().err
    assert told in err
    assert bool(told) == bool(err)
