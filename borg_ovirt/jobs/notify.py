"""Tells people what became of a run, through Apprise: one message a run, to each who wants to know of it.

A message that cannot be sent changes nothing of the run; it is told. An address is a secret: it is named by
its place in the configuration and its kind alone.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import socket
import string
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from borg_ovirt.config.notifying import Event, Job, Notification
from borg_ovirt.errors import BorgOvirtError, ConfigError
from borg_ovirt.redact import HIDDEN, redact, remember
from borg_ovirt.units import format_duration

_TYPES = {"ok": "success", "warning": "warning", "failed": "failure"}
"""Our words for how a run ended -> Apprise's."""
_MOST_PROBLEMS = 30
_PARTS = re.compile(r"[/:@?&=#]+")
_SHORTEST_PART = 6
_MOST_WORDS = 300


@dataclass
class Story:
    """A run, as it is told."""

    job: Job
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    ended: datetime | None = None
    status: str = "ok"
    """`ok`, `warning` or `failed`."""
    summary: str = ""
    problems: list[str] = field(default_factory=list)
    repositories: list[str] = field(default_factory=list)
    page: str | None = None
    """An HTML page that goes with it, as an attachment."""

    def warn(self, *problems: str) -> None:
        self.problems += problems
        if problems and self.status == "ok":
            self.status = "warning"

    def fail(self, *problems: str) -> None:
        self.problems += [text for text in problems if text not in self.problems]
        self.status = "failed"

    def words(self) -> dict[str, str]:
        """What stands for each placeholder."""
        shown = self.problems[:_MOST_PROBLEMS]
        more = len(self.problems) - len(shown)
        lines = [f"- {text}" for text in shown] + ([f"- and {more} more"] if more else [])
        took = (self.ended or datetime.now(timezone.utc)) - self.started
        return {
            "job": self.job,
            "status": self.status,
            "machine": socket.gethostname(),
            "started": f"{self.started.astimezone():%Y-%m-%d %H:%M}",
            "took": format_duration(took.total_seconds()),
            "summary": self.summary or f"{self.job} ended: {self.status}.",
            "problems": "\n".join(lines),
            "repositories": ", ".join(self.repositories),
        }


def tell(people: Sequence[Notification], story: Story, state: Path) -> list[str]:
    """Send what each wants to know; returns what went wrong. Nothing is raised.

    How the run before ended is kept in the state directory, so that a recovery is known for one.
    """
    story.ended = story.ended or datetime.now(timezone.utc)
    before = _kept(state)
    events = events_of(story.status, before.get(story.job))
    trouble = [
        problem
        for number, one in enumerate(people)
        if story.job in one.jobs and events & set(one.when)
        if (problem := send(number, one, story)) is not None
    ]
    try:
        _keep(state, {**before, story.job: story.status})
    except OSError as error:
        trouble.append(f"how this run ended cannot be kept in {state}: {error.strerror}")
    return trouble


def events_of(status: str, before: str | None) -> set[Event]:
    """What a run is to those who wait for it."""
    events: set[Event] = {"always"}
    if status == "failed":
        events.add("failure")
    elif before == "failed":
        events.add("recovery")
    if status == "warning":
        events.add("warning")
    return events


def send(number: int, one: Notification, story: Story) -> str | None:
    """Send it to one; None when it was taken, else why not."""
    try:
        url = one.reveal()
        kind = url.partition("://")[0] if "://" in url else "?"
        remember(url)
        name = f"notification {number + 1} ({kind})"
        apprise = _apprise()
    except BorgOvirtError as error:
        return f"notification {number + 1} was not sent: {error}"
    words = story.words()
    title, body = (redact(string.Template(text).substitute(words)).strip() for text in (one.title, one.body))
    try:
        with _Heard() as heard, _attached(story) as files:
            server = apprise.Apprise()
            if not server.add(url):
                return f"{name} was not sent: Apprise does not understand its URL"
            taken = server.notify(
                body=body,
                title=title,
                notify_type=_TYPES[story.status],
                body_format="text",
                attach=files,
            )
    except Exception as error:  # a plugin of Apprise's may raise anything
        return f"{name} was not sent: {_without(url, str(error)) or type(error).__name__}"
    return None if taken else f"{name} was not sent: {_without(url, heard.words()) or 'it was not taken'}"


@contextmanager
def _attached(story: Story) -> Iterator[list[str] | None]:
    """The page as a file, which is what Apprise attaches; its name is what the receiver sees."""
    if story.page is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="borg-ovirt-") as directory:
        path = Path(directory, f"borg-ovirt-{story.job}-{story.started.astimezone():%Y-%m-%d}.html")
        path.write_text(story.page, encoding="utf-8")
        yield [str(path)]


def missing() -> str | None:
    """Why nobody can be told; None if Apprise is here."""
    try:
        _apprise()
    except ConfigError as error:
        return str(error)
    return None


def _apprise() -> Any:
    try:
        return importlib.import_module("apprise")
    except ImportError:
        raise ConfigError(
            "Notifications need Apprise, which is not installed.", "Install borg-ovirt[notify]."
        ) from None


def _without(url: str, text: str) -> str:
    """What Apprise or a server said, without all of the address that may be a secret: any part may be one."""
    for part in _PARTS.split(url.partition("://")[2]):
        if len(part) >= _SHORTEST_PART:
            text = text.replace(part, HIDDEN)
    return " ".join(redact(text).split())[:_MOST_WORDS].rstrip(".")


class _Heard(logging.Handler):
    """Keeps what Apprise says to its log while it sends."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said: list[str] = []
        self._log = logging.getLogger("apprise")

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())

    def words(self) -> str:
        return " ".join(self._said)

    def __enter__(self) -> _Heard:
        self._log.addHandler(self)
        self._before, self._log.propagate = self._log.propagate, False
        return self

    def __exit__(self, *unused: object) -> None:
        self._log.removeHandler(self)
        self._log.propagate = self._before


def _path(state: Path) -> Path:
    return state / "told.json"


def _kept(state: Path) -> dict[str, str]:
    try:
        kept = json.loads(_path(state).read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _keep(state: Path, statuses: dict[str, str]) -> None:
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = _path(state).with_suffix(".new")
    draft.write_text(json.dumps(statuses) + "\n")
    os.replace(draft, _path(state))


def try_out(people: Iterable[Notification]) -> list[str | None]:
    """Send a test to each, whatever it waits for; for each what went wrong, or None."""
    story = Story("create", summary="This is a test: whoever reads it is told of runs of borg-ovirt.")
    return [send(number, one, story) for number, one in enumerate(people)]
