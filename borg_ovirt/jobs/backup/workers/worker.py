"""The parent's end of one repository's process."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from borg_ovirt.errors import BorgOvirtError, RepositoryError
from borg_ovirt.jobs.backup.workers.messages import Notify, Request, Spec
from borg_ovirt.redact import redact


class RepositoryBehind(RepositoryError):
    """It moves, but more slowly than the others wait for it."""


class Worker:
    """A process that keeps one repository, and what is known of it."""

    def __init__(self, name: str, spec: Spec, memory: int, stall: float) -> None:
        self.name = name
        """As the user names the repository."""
        self.location = redact(spec.location)
        self.id: str | None = None
        self.stall = stall
        self.heard = time.monotonic()
        self.held: dict[int, float] = {}
        """Places of the shared memory that it needs, and since when."""
        self.answers: list[Any] = []
        ours, theirs = socket.socketpair()
        # A stopped process does not read: no write may wait for it any longer than for an answer.
        limit = struct.pack("ll", int(stall), int(stall % 1 * 1_000_000))
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self.connection = Connection(ours.detach())
        environment = {name: value for name, value in os.environ.items() if name != "BORG_PASSPHRASE_FD"}
        with theirs:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "borg_ovirt.jobs.backup.workers.process",
                    str(theirs.fileno()),
                    str(memory),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                pass_fds=(theirs.fileno(), memory),
                start_new_session=True,  # a Ctrl-C is for us to pass on
            )
        self._write(spec)

    def send(self, message: Notify | Request) -> None:
        """Raises why it cannot be sent."""
        self._write(message)

    def _write(self, message: object) -> None:
        try:
            self.connection.send(message)
        except BlockingIOError:
            raise self.stalled() from None

    def stalled(self) -> RepositoryError:
        """The error of a process that does not move."""
        return RepositoryError(
            f"The repository {self.location} kept the others waiting for more than {self.stall:g} s.",
            "See what holds it up, or give it more time with --repo-stall.",
        )

    def behind(self) -> RepositoryError:
        """The error of one that moves, but too slowly."""
        return RepositoryBehind(
            f"The repository {self.location} fell behind: the others waited for it for {self.stall:g} s.",
            "Copy the archive into it with `borg-ovirt copy`, or give it more time with --repo-stall.",
        )

    def ended(self) -> BorgOvirtError:
        """The error of a process that went without a word."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        return RepositoryError(
            f"The process of the repository {self.location} ended by itself ({self.process.returncode})."
        )

    def kill(self) -> None:
        """End it and its ssh at once; Borg sees that its lock is a dead process's."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.connection.close()
        self.process.wait()

    def hang_up(self) -> None:
        """Let it end: it rolls back what is not committed."""
        self.connection.close()

    def close(self, patience: float) -> None:
        """Hang up and wait until it is gone; after so many seconds it is killed."""
        self.hang_up()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
