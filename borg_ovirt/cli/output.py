"""Where words go: results to standard output, everything else to standard error, no secret to either."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from borg_ovirt.cli.tables import table
from borg_ovirt.redact import json_text
from borg_ovirt.terminal import shown, shown_lines

if TYPE_CHECKING:
    from borg_ovirt.progress import Progress


@dataclasses.dataclass
class Output:
    """How this command speaks; filled from its options before its body runs."""

    verbose: int = 0
    debug: bool = False
    json: bool = False
    log_json: bool = False
    bars: bool = True
    config_file: str | None = None
    settings: tuple[str, ...] = ()
    """Keys of the configuration that the command line sets."""
    changes: bool = False
    """The command changes something: its work is done even if nobody reads what it says."""

    def progress(self) -> Progress:
        """The progress display that the options and the terminal call for."""
        from borg_ovirt.progress import choose

        return choose(log_json=self.log_json, bars=self.bars, verbose=self.verbose > 0)

    def tell(self, text: str) -> None:
        """A line for people, on standard error."""
        self._stderr("INFO", text)

    def warn(self, text: str) -> None:
        """A warning, on standard error."""
        self._stderr("WARNING", text, "warning: ")

    def error(self, message: str, hint: str | None = None, exit_code: int | None = None) -> None:
        """The one line that says why the command failed, and the next step."""
        if len(message) > _LONGEST:
            message = f"{message[:_LONGEST]}…"
        if hint:
            message = f"{message.rstrip()}{'' if message.rstrip().endswith(('.', '!', '?')) else '.'} {hint}"
        text = " ".join(message.split())
        self._stderr("ERROR", text, exit_code=exit_code)

    def traceback(self, text: str) -> None:
        """Where an error came from: lines of ours, on standard error."""
        self._stderr("INFO", text, render=shown_lines)

    def _stderr(
        self,
        level: str,
        text: str,
        prefix: str = "",
        *,
        exit_code: int | None = None,
        render: Callable[[str], str] = shown,
    ) -> None:
        if self.log_json:
            from borg_ovirt.progress.jsonlines import log_message

            line: dict[str, Any] = log_message(level, text, time.time())
            if exit_code is not None:
                line["exit_code"] = exit_code
            text = json_text(line)
        else:
            text = render(f"borg-ovirt: {prefix}{text}")
        print(text, file=sys.stderr, flush=True)

    def result(self, value: Any) -> None:
        """The result as JSON, on standard output."""
        print(json_text(json.loads(json.dumps(value, default=plain)), indent=2))

    def lines(self, *lines: str, first: str | None = None) -> None:
        """The result in words, on standard output; `first` is the colour of the first word, on a terminal."""
        for line in lines:
            text = shown(line)
            if first is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
                word, blank, rest = text.partition(" ")
                text = f"{click.style(word, fg=first)}{blank}{rest}"
            print(text)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str] = ()) -> None:
        """The result as a table; on a terminal as wide as that is, without `spare` columns if it must be."""
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        head, *lines = table(columns, [[shown(cell) for cell in row] for row in rows], width, spare)
        print(head if width is None or os.environ.get("NO_COLOR") else click.style(head, bold=True))
        for line in lines:
            print(line)

    def start_logging(self) -> None:
        """Send the log of all modules, Borg's and the SDK's too, to standard error."""
        handler = _StderrHandler()
        handler.setFormatter(_JsonFormatter() if self.log_json else _PlainFormatter())
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        levels = {0: logging.WARNING, 1: logging.INFO}
        level = logging.DEBUG if self.debug else levels.get(self.verbose, logging.DEBUG)
        logging.getLogger("borg_ovirt").setLevel(level)


def local_time(when: datetime) -> str:
    """A time as people here read it, to the second."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def plain(value: Any) -> Any:
    """The JSON form of a value that json does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.repr}
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_LONGEST = 4000
"""Characters of an error: names and faults of others have no end of their own."""


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to the standard error of the moment: while bars are shown rich puts itself in between."""

    def __init__(self) -> None:
        super().__init__()

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        text = shown(f"borg-ovirt: {prefix}{record.getMessage()}")
        if record.exc_info:
            text += "\n" + shown_lines(self.formatException(record.exc_info))
        return text


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from borg_ovirt.progress.jsonlines import log_message

        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        line = log_message(record.levelname, text, record.created, record.name)
        msgid = getattr(record, "msgid", None)
        return json_text({**line, "msgid": msgid} if msgid else line)
