"""One process per repository: Borg's lock and its one context per process demand it.

Each child is our own command for one repository. It tells its progress as JSON lines, which are shown here
under the repository's name, and its result as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from borg_ovirt.progress import Gauge, Progress

_COUNTS = ("read", "zero", "reused", "new", "resumes")


@dataclass(frozen=True)
class Child:
    """A command for one repository, and the secrets it reads from descriptors."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()


@dataclass
class Ended:
    """What a child left: its status, its result if it got that far, its last words."""

    name: str
    status: int
    result: dict[str, Any] | None
    errors: list[str] = field(default_factory=list)


def run_children(children: Sequence[Child], progress: Progress) -> list[Ended]:
    """Run all at once and wait for all. Leaving by a signal ends each of them in order first."""
    started: list[_Running] = []
    try:
        for child in children:
            started.append(_Running(child, progress))
        return [running.wait() for running in started]
    except BaseException:
        for running in started:
            running.ask_to_end()
        for running in started:
            running.wait()
        raise


class _Running:
    """A child, and the threads that listen to it."""

    def __init__(self, child: Child, progress: Progress) -> None:
        self._child = child
        self._progress = progress
        self._gauges: dict[int, Gauge] = {}
        self._errors: list[str] = []
        self._out = b""
        self._process = subprocess.Popen(
            list(child.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(child.environment),
            pass_fds=child.descriptors,
            start_new_session=True,  # a Ctrl-C reaches it once, through us
        )
        for descriptor in child.descriptors:
            os.close(descriptor)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._threads = [
            threading.Thread(target=self._collect, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> Ended:
        status = self._process.wait()
        for thread in self._threads:
            thread.join()
        result = None
        with suppress(ValueError):
            found = json.loads(self._out)
            result = found if isinstance(found, dict) else None
        return Ended(self._child.name, status, result, self._errors)

    def ask_to_end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def _collect(self, stream: IO[bytes]) -> None:
        self._out = stream.read()

    def _listen(self, stream: IO[bytes]) -> None:
        for raw in stream:
            text = raw.decode(errors="replace").rstrip()
            try:
                line = json.loads(text)
            except ValueError:
                line = {"type": "log_message", "levelname": "WARNING", "message": text}
            if not isinstance(line, dict):
                continue
            if line.get("type") == "progress_percent":
                self._gauge(line)
            elif line.get("type") == "log_message":
                self._message(str(line.get("levelname", "")), str(line.get("message", "")))

    def _message(self, level: str, text: str) -> None:
        told = f"{self._child.name}: {text}"
        if level in ("ERROR", "CRITICAL"):
            self._errors.append(text)
        if level in ("WARNING", "ERROR", "CRITICAL"):
            self._progress.warn(told)
        else:
            self._progress.step(told)

    def _gauge(self, line: dict[str, Any]) -> None:
        operation = int(line.get("operation", 0))
        gauge = self._gauges.get(operation)
        if gauge is None:
            if line.get("finished"):
                return
            name = f"{self._child.name}: {line.get('disk', '')}"
            gauge = self._gauges[operation] = self._progress.disk(name, int(line.get("total", 0)))
        more = {name: int(line.get(name, 0)) - getattr(gauge, name) for name in _COUNTS}
        gauge.advance(**more)
        if line.get("finished"):
            gauge.finish()
            del self._gauges[operation]
