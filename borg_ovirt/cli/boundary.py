"""The edge of the program: whatever happens inside becomes one line on standard error and an exit status."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence

import click

from borg_ovirt import streams
from borg_ovirt.cli import limits, signals
from borg_ovirt.cli.output import Output
from borg_ovirt.cli.root import root
from borg_ovirt.errors import EXIT_ERROR, EXIT_WARNING, BorgOvirtError

EXIT_BROKEN_PIPE = 141
"""What a shell reports for a program that ended because nobody reads its output."""

_READER_LEFT = (errno.EPIPE, errno.EIO)
"""A closed pipe, a closed terminal."""

_NO_ARGUMENTS: type[click.UsageError] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())
"""A command that was called without a word shows its help: several lines (click 8.1 does so by itself)."""

COMPLETION_VARIABLE = "_BORG_OVIRT_COMPLETE"
"""Through this variable the completion script of a shell asks what fits."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    output = Output()
    return _delivered(_ended(arguments, output), output)


def _ended(arguments: Sequence[str], output: Output) -> int:
    """How the command ended. 1 is left to commands that did their work."""
    try:
        with signals.orderly(output.tell):
            return _invoke(arguments, output)
    except click.exceptions.Exit as done:
        return done.exit_code
    except signals.SignalReceived as stopped:
        return stopped.exit_code
    except (KeyboardInterrupt, click.Abort):
        output.error("Interrupted.")
        return 130
    except click.ClickException as error:
        if isinstance(error, _NO_ARGUMENTS):
            print(error.format_message(), file=sys.stderr)
            return EXIT_ERROR
        output.error(error.format_message(), _usage_hint(error))
        return max(error.exit_code, EXIT_ERROR)
    except BorgOvirtError as error:
        _traceback(output)
        output.error(error.message, error.hint, error.exit_code)
        return error.exit_code
    except (Exception, SystemExit) as error:
        return _unexpected(output, error)


def _delivered(status: int, output: Output) -> int:
    """The exit status, given that nobody may have taken the result.

    Work that was done is done, whoever reads of it. A command that only tells has failed if it was not heard.
    """
    lost = streams.lost()
    if lost is None or status >= EXIT_ERROR:
        return status
    left = lost.errno in _READER_LEFT
    why = f"The result could not be written to standard output: {lost.strerror}."
    if output.changes:
        if left:
            return status
        output.warn(why)
        return max(status, EXIT_WARNING)
    if left:
        return EXIT_BROKEN_PIPE
    output.error(why, exit_code=EXIT_ERROR)
    return EXIT_ERROR


def _invoke(arguments: Sequence[str], output: Output) -> int:
    """Parse and run. Not click's own `main`, which keeps signals and broken pipes to itself."""
    instruction = os.environ.get(COMPLETION_VARIABLE)
    if instruction:
        from borg_ovirt.cli import complete

        return complete.answer(root, COMPLETION_VARIABLE, instruction)
    _refuse_empty(arguments)
    with root.make_context("borg-ovirt", list(arguments), obj=output) as context:
        if not {"--help", "-h"} & set(arguments):
            limits.allow_open_files()
        status = root.invoke(context)
    return status if isinstance(status, int) else 0


def _refuse_empty(arguments: Sequence[str]) -> None:
    """No word may be empty: a shell's variable was, and `--name "$NEW"` would be as good as not said."""
    for before, word in zip(["", *arguments], arguments, strict=False):
        if not word or (word.startswith("--") and word.find("=") == len(word) - 1):
            option = word[:-1] or (before if before.startswith("-") else "")
            what = f"{option} has an empty value" if option else "An argument is empty"
            raise click.UsageError(f"{what}: is a variable not set?")


def _usage_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"Try `{context.command_path} --help`." if context else None


def _unexpected(output: Output, error: BaseException) -> int:
    _traceback(output)
    told = _of_the_system(error)
    if told is not None:
        output.error(*told, exit_code=EXIT_ERROR)
        return EXIT_ERROR
    words = " ".join(str(error).split())
    hint = None if output.debug else "This is a fault of borg-ovirt: run again with --debug and report it."
    output.error(f"{type(error).__name__}: {words}" if words else type(error).__name__, hint, EXIT_ERROR)
    return EXIT_ERROR


def _of_the_system(error: BaseException) -> tuple[str, str | None] | None:
    """What the operating system refused, in words; None for anything else, which is a fault of ours."""
    if isinstance(error, OSError):
        hint = "Allow more open files (`ulimit -n`)." if error.errno in (errno.EMFILE, errno.ENFILE) else None
        what = f": {error.filename}" if error.filename else ""
        return f"The system refused: {error.strerror or error or type(error).__name__}{what}", hint
    if isinstance(error, MemoryError):
        return "There is not enough memory.", "Allow more (`ulimit -v`), or let less run at a time."
    if isinstance(error, ImportError):
        return (
            f"A part of the program could not be loaded: {error}",
            "Is the installation complete, and are memory and open files not too narrow (`ulimit -a`)?",
        )
    if isinstance(error, RuntimeError) and "new thread" in str(error):
        return "The system allows no more threads.", "Look at `ulimit -u` and `ulimit -v`."
    return None


def _traceback(output: Output) -> None:
    if output.debug:
        output.traceback(traceback.format_exc().rstrip())
