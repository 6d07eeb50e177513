"""The edge of the program: whatever happens inside becomes one line on standard error and an exit status."""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections.abc import Sequence

import click

from borg_ovirt.cli import signals
from borg_ovirt.cli.output import Output
from borg_ovirt.cli.root import root
from borg_ovirt.errors import EXIT_ERROR, BorgOvirtError

EXIT_BROKEN_PIPE = 141
"""What a shell reports for a program that ended because nobody reads its output."""


_STDOUT = 1
COMPLETION_VARIABLE = "_BORG_OVIRT_COMPLETE"
"""Through this variable the completion script of a shell asks what fits."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    output = Output()
    try:
        with signals.orderly(output.tell):
            status = _invoke(arguments, output)
            sys.stdout.flush()
            return status
    except click.exceptions.Exit as done:
        return done.exit_code
    except signals.SignalReceived as stopped:
        return stopped.exit_code
    except (KeyboardInterrupt, click.Abort):
        output.error("Interrupted.")
        return 130
    except click.ClickException as error:
        output.error(error.format_message(), _usage_hint(error))
        return error.exit_code
    except BorgOvirtError as error:
        _traceback(output)
        output.error(error.message, error.hint, error.exit_code)
        return error.exit_code
    except BrokenPipeError as error:
        if _stdout_is_gone():
            return EXIT_BROKEN_PIPE
        return _unexpected(output, error)
    except Exception as error:
        return _unexpected(output, error)


def _invoke(arguments: Sequence[str], output: Output) -> int:
    """Parse and run. Not click's own `main`, which keeps signals and broken pipes to itself."""
    instruction = os.environ.get(COMPLETION_VARIABLE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(root, {}, "borg-ovirt", COMPLETION_VARIABLE, instruction)
    with root.make_context("borg-ovirt", list(arguments), obj=output) as context:
        status = root.invoke(context)
    return status if isinstance(status, int) else 0


def _usage_hint(error: click.ClickException) -> str | None:
    context = getattr(error, "ctx", None)
    return f"Try `{context.command_path} --help`." if context else None


def _unexpected(output: Output, error: Exception) -> int:
    _traceback(output)
    words = " ".join(str(error).split())
    hint = None if output.debug else "This is a fault of borg-ovirt: run again with --debug and report it."
    output.error(f"{type(error).__name__}: {words}" if words else type(error).__name__, hint)
    return EXIT_ERROR


def _traceback(output: Output) -> None:
    if output.debug:
        output.tell(traceback.format_exc().rstrip())


def _stdout_is_gone() -> bool:
    """Whether standard output is the pipe that broke; if so, keep Python from failing on it again at exit."""
    poll = select.poll()
    poll.register(_STDOUT, 0)
    if not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), _STDOUT)
    return True
