"""Commands of the administrator at the points of a run: what they are told, how long they may take.

Facts come twice: flat in BORG_OVIRT_* variables for a shell, whole as JSON on standard input. Secrets of ours
are in neither, and are taken out of the environment that a command inherits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from borg_ovirt import stopping, waits
from borg_ovirt.config.schema import Hook
from borg_ovirt.config.secrets import environment_of_children
from borg_ovirt.errors import HookFailed
from borg_ovirt.redact import json_text, redact
from borg_ovirt.units import format_duration

Facts = Mapping[str, Any]

_GRACE = 5.0
"""Seconds between asking a command to end and ending it."""
HURRIED = 10.0
"""Seconds that a command may take when a signal ends the run."""
_SLICE = 0.5
"""Seconds between two looks whether a signal came."""
_CLOSING = ("on-success", "on-failure", "after-vm", "after-run")
"""What closes something that was begun is run whatever signal comes."""
_LONGEST = 32 << 10
"""Characters of one variable: a command with more than some 128 KiB in one does not start."""
_LINES = 20
"""How much of a failed command's words is shown."""


class Hooks:
    """The commands of the configuration, and the facts that all of them get."""

    def __init__(
        self, hooks: Sequence[Hook], facts: Facts, log: Callable[[str], None] = lambda text: None
    ) -> None:
        self._hooks = hooks
        self._facts = dict(facts)
        self._log = log
        self._longest: float | None = None

    def hurry(self) -> None:
        """A signal ends the run: no command may take long from here on."""
        self._longest = HURRIED

    def any_at(self, when: str) -> bool:
        """Whether a command is to be run then."""
        return any(hook.when == when for hook in self._hooks)

    def call(self, when: str, facts: Facts | None = None) -> list[str]:
        """Run the commands of one point, in order; returns warnings.

        The first that fails and is to stop the run raises `HookFailed`; those after it are not run. A signal
        ends the command it meets; at a point that closes something it is raised after the others have run.
        """
        warnings = []
        interrupted = None
        for hook in self._hooks:
            if hook.when != when:
                continue
            try:
                told = {"when": when, **self._facts, **(facts or {})}
                problem = run_hook(hook, told, self._log, self._longest)
            except KeyboardInterrupt as signalled:
                if when not in _CLOSING:
                    raise
                interrupted = signalled
                self.hurry()
                continue
            if problem is None or hook.on_error == "ignore":
                continue
            if hook.on_error == "stop":
                raise HookFailed(problem)
            warnings.append(problem)
        if interrupted is not None:
            raise interrupted
        return warnings


def run_hook(
    hook: Hook, facts: Facts, log: Callable[[str], None], longest: float | None = None
) -> str | None:
    """Run one command, for so many seconds at most; None when it went well, else what went wrong."""
    limit = hook.timeout.total_seconds()
    limit = limit if longest is None else min(limit, longest)
    name = f"the {hook.when} command {_shown(hook.command)}"
    try:
        process = subprocess.Popen(
            hook.command,
            shell=isinstance(hook.command, str),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(facts),
            start_new_session=True,  # its children end with it
        )
    except OSError as error:
        return f"{name} did not start: {error.strerror}"
    try:
        with waits.wait(f"running {name}"):
            said = _talk(process, _json(facts), limit)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"{name} took longer than {format_duration(limit)} and was ended"
    except BaseException:
        _end(process)
        raise
    lines = [redact(line) for line in said.decode(errors="replace").splitlines() if line.strip()]
    for line in lines:
        log(f"{hook.when}: {line}")
    if process.returncode:
        last = f": {' / '.join(lines[-_LINES:])}" if lines else ""
        return f"{name} ended with status {process.returncode}{last}"
    return None


def _talk(process: subprocess.Popen[bytes], told: bytes, limit: float) -> bytes:
    """Tell it the facts and hear what it says; a signal is heard meanwhile, in any thread that takes part."""
    deadline, rest = time.monotonic() + limit, told
    while True:
        left = deadline - time.monotonic()
        try:
            return process.communicate(rest or None, timeout=max(0.0, min(left, _SLICE)))[0]
        except subprocess.TimeoutExpired:
            if left <= _SLICE:
                raise
            rest = b""  # it is on its way
            stopping.check()


def environment(facts: Facts) -> dict[str, str]:
    """The environment of a command: ours without secrets, and the flat facts as BORG_OVIRT_* variables."""
    told = {f"BORG_OVIRT_{name.upper()}": _flat(value) for name, value in facts.items()}
    return {**environment_of_children(), **told}


def _flat(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (list, tuple, dict)):
        return str(len(value))
    text = redact(str(value)).replace("\0", "")[:_LONGEST]
    return text.encode("utf-8", "backslashreplace").decode()


def _json(facts: Facts) -> bytes:
    return json_text(json.loads(json.dumps(dict(facts), default=_flat))).encode()


def _shown(command: str | list[str]) -> str:
    return redact(command if isinstance(command, str) else " ".join(command))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_GRACE)
            return
