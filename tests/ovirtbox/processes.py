"""Children of the box: each one dies with it, even when the box itself is killed."""

from __future__ import annotations

import queue
import shutil
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

_SETPRIV = shutil.which("setpriv") or "setpriv"
_requests: queue.SimpleQueue[tuple[Future[subprocess.Popen[bytes]], Sequence[str], int, Path | None]] = (
    queue.SimpleQueue()
)
_start = threading.Lock()
_spawner: threading.Thread | None = None


class ToolFailed(Exception):
    """A QEMU tool, or a daemon, said no; the text is what it said."""


def _serve() -> None:
    while True:
        future, command, fd, log = _requests.get()
        try:
            with open(log or "/dev/null", "ab") as output:
                future.set_result(
                    subprocess.Popen(
                        [_SETPRIV, "--pdeathsig", "KILL", *command],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        pass_fds=[fd] if fd >= 0 else [],
                    )
                )
        except BaseException as error:
            future.set_exception(error)


def spawn(command: Sequence[str], *, fd: int = -1, log: Path | None = None) -> subprocess.Popen[bytes]:
    """Start a child that the kernel kills when this process ends.

    The death signal follows the *thread* that forked, so all children come from one thread that never ends.
    """
    global _spawner
    with _start:
        if _spawner is None:
            _spawner = threading.Thread(target=_serve, name="ovirtbox-spawner", daemon=True)
            _spawner.start()
    future: Future[subprocess.Popen[bytes]] = Future()
    _requests.put((future, command, fd, log))
    return future.result(30)


def end(child: subprocess.Popen[bytes], patience: float = 5) -> None:
    """Ask, then kill."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(patience)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def tool(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a short command; what it printed, or ToolFailed with its complaint."""
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise ToolFailed(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def last_lines(log: Path, count: int = 3) -> str:
    try:
        return " / ".join(log.read_text(errors="replace").splitlines()[-count:])
    except OSError:
        return ""
