"""Borg speaks to a console: here its log, its questions and the server's lines come to us."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import borg.cache
import borg.logger
import borg.remote
from borg.crypto.key import NoPassphraseFailure, Passphrase
from borg.helpers import get_ec, init_ec_warnings
from borg.helpers.yes import TRUISH

from borg_ovirt.repository.passphrase import read_once

_log = logging.getLogger(__name__)

_said: deque[str] = deque(maxlen=5)
"""The last plain lines of ssh or the server: where a connection fails, they tell why."""


_stock_fd_passphrase: Any = Passphrase.fd_passphrase


def set_up() -> None:
    """Let Borg log through our logging, quietly, and hear what the server says."""
    borg.logger.configured = True
    root = logging.getLogger("borg")
    root.json = False  # type: ignore[attr-defined]  # Borg keeps its output mode on this logger
    root.setLevel(min(logging.WARNING, logging.getLogger().getEffectiveLevel()))
    for topic in ("list", "progress", "show-rc", "show-version", "stats"):
        logging.getLogger(f"borg.output.{topic}").setLevel(logging.WARNING)
    borg.remote.handle_remote_line = _hear
    Passphrase.fd_passphrase = classmethod(_fd_passphrase)
    _said.clear()


def last_words() -> str:
    """What ssh or the server said last, on one line."""
    return " / ".join(_said)


def hear(text: str) -> None:
    """Take some lines of the server's."""
    for line in text.splitlines():
        _hear(line)


def _hear(line: str) -> None:
    """Take one line of the server's stderr: JSON from Borg's own log, plain text from ssh and shells."""
    try:
        message = json.loads(line) if line.startswith("{") else None
    except ValueError:
        message = None
    if not isinstance(message, dict):
        if line.strip():
            _said.append(line.strip())
            _log.info("Remote: %s", line.strip())
    elif message.get("type") == "log_message":
        level = logging.getLevelName(str(message.get("levelname")))
        logging.getLogger(str(message.get("name", "borg"))).log(
            level if isinstance(level, int) else logging.WARNING, "Remote: %s", message.get("message")
        )


class Warnings(logging.Handler):
    """Collects what Borg warns of. For Borg a warning leaves an archive with a hole; for us it ends it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._heard: list[str] = []

    def __enter__(self) -> Warnings:
        logging.getLogger("borg").addHandler(self)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.getLogger("borg").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(" ".join(record.getMessage().split()))

    def forget(self) -> None:
        """Start afresh: what was heard until now concerns others."""
        self._heard.clear()
        init_ec_warnings()

    def heard(self) -> list[str]:
        """The warnings since `forget`; Borg's exit code tells of those it did not log."""
        if not self._heard and get_ec() != 0:
            return [f"exit code {get_ec()}"]
        return list(self._heard)


@contextmanager
def no_questions_without_a_terminal() -> Iterator[None]:
    """Where nobody can answer, a question is an error: never read the answer from whatever stdin is."""
    if _somebody_there():
        yield
        return
    stock_yes, stock_getpass = borg.cache.yes, Passphrase.__dict__["getpass"]
    borg.cache.yes, Passphrase.getpass = _answer_from_environment, classmethod(_no_passphrase)
    try:
        yield
    finally:
        borg.cache.yes, Passphrase.getpass = stock_yes, stock_getpass


def _somebody_there() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _answer_from_environment(*_: object, env_var_override: str | None = None, **__: object) -> bool:
    return bool(env_var_override) and os.environ.get(str(env_var_override)) in TRUISH


def _fd_passphrase(kind: type[Any]) -> Any:
    descriptor = os.environ.get("BORG_PASSPHRASE_FD", "")
    if descriptor not in read_once:
        try:
            passphrase = _stock_fd_passphrase()
        except OSError as error:
            raise NoPassphraseFailure(f"BORG_PASSPHRASE_FD cannot be read: {error.strerror}") from error
        if passphrase is None:
            return None
        read_once[descriptor] = str(passphrase)
    return kind(read_once[descriptor])


def _no_passphrase(_: type[Any], prompt: str) -> Any:
    raise NoPassphraseFailure(prompt)
