"""A monitor connection to one qemu-storage-daemon: commands, and jobs that are waited for."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from ovirtbox.processes import ToolFailed, end, last_lines, spawn

Answer = dict[str, Any]


class Monitor:
    """Starts a qemu-storage-daemon and talks to it over an inherited socket: no path, nothing to wait for."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        with theirs:
            self.process: subprocess.Popen[bytes] = spawn(
                [
                    "qemu-storage-daemon",
                    "--chardev",
                    f"socket,id=monitor,fd={theirs.fileno()}",
                    "--monitor",
                    "chardev=monitor",
                ],
                fd=theirs.fileno(),
                log=log,
            )
        ours.settimeout(120)
        self._socket = ours
        self._lines = ours.makefile("rb")
        self._receive()
        self("qmp_capabilities")

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Execute one command; underscores in argument names stand for dashes."""
        named = {name.rstrip("_").replace("_", "-"): value for name, value in arguments.items()}
        return self.execute(command, named)

    def execute(self, command: str, arguments: Answer) -> Any:
        message = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        with self._lock:
            try:
                self._socket.sendall(message)
                while True:
                    answer = self._receive()
                    if "return" in answer:
                        return answer["return"]
                    if "error" in answer:
                        raise ToolFailed(f"{command}: {answer['error']['desc']}")
            except OSError as error:
                raise ToolFailed(f"{command}: the storage daemon is gone ({error})") from error

    def finish_job(self, job: str, deadline: float = 600) -> None:
        """Wait until a job (made with auto-dismiss off) concludes, dismiss it, raise if it failed."""
        state = self.wait_for_job(job, {"concluded"}, deadline)
        self("job-dismiss", id=job)
        if state.get("error"):
            raise ToolFailed(f"{job}: {state['error']}")

    def wait_for_job(self, job: str, wanted: set[str], deadline: float = 600) -> Answer:
        until = time.monotonic() + deadline
        pause = 0.002
        while True:
            for state in self("query-jobs"):
                if state["id"] == job and state["status"] in wanted | {"concluded"}:
                    found: Answer = state
                    return found
            if time.monotonic() > until:
                raise ToolFailed(f"{job} did not become {' or '.join(wanted)} in {deadline} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def quit(self) -> None:
        """A clean end: images are closed and persistent bitmaps stored."""
        try:
            self("quit")
            self.process.wait(60)
        except (ToolFailed, subprocess.TimeoutExpired):
            end(self.process)
        self._close()

    def kill(self) -> None:
        """The power is cut: bitmaps that were in use are inconsistent for ever."""
        self.process.kill()
        self.process.wait()
        self._close()

    def _close(self) -> None:
        self._lines.close()
        self._socket.close()

    def _receive(self) -> Answer:
        line = self._lines.readline()
        if not line:
            raise ToolFailed(f"the storage daemon ended: {last_lines(self._log)}")
        answer: Answer = json.loads(line)
        return answer
