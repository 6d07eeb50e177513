"""What a command costs: wall time, CPU of itself and of the host's side, memory, bytes."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import costs

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Cost:
    """Of one run of one way, or the medians of several."""

    wall: float = 0.0
    """Seconds."""
    client: float = 0.0
    """CPU seconds of the commands and their children."""
    host: float = 0.0
    """CPU seconds of the imageio daemon and of QEMU's servers."""
    rss: int = 0
    """Peak of the largest process, in bytes."""
    moved: int = 0
    """Bytes of the disk that were read or written by the command."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.wall + other.wall,
            self.client + other.client,
            self.host + other.host,
            max(self.rss, other.rss),
            max(self.moved, other.moved),
        )


def median(costs: Sequence[Cost]) -> Cost:
    """Each figure's median, by itself."""
    rows = [asdict(cost) for cost in costs]
    return Cost(**{name: statistics.median(row[name] for row in rows) for name in rows[0]})


class Failed(Exception):
    """A command that should have been measured failed."""


class Service:
    """A command under way, with the servers that it started: what they cost since it began."""

    def __init__(self, words: Sequence[str], env: dict[str, str], errors: IO[bytes]) -> None:
        self._began = time.monotonic()
        self._before = 0.0
        self.process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=errors)

    def check(self) -> None:
        if self.process.poll() is not None:
            raise Failed(f"{self.process.args}: status {self.process.returncode}")

    def restart(self) -> None:
        """Count from here."""
        self._began, self._before = time.monotonic(), self._cpu()

    def cost(self, moved: int) -> Cost:
        wall = time.monotonic() - self._began
        peaks = [line.split()[1] for line in _lines(f"/proc/{self.process.pid}/status") if "VmHWM" in line]
        return Cost(wall, self._cpu() - self._before, 0.0, int(peaks[0]) << 10, moved)

    def _cpu(self) -> float:
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(map(_cpu, [pid, *map(int, children)]))


class Meter:
    """Runs commands one at a time; `daemons` are the long-lived processes of the host's side."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.env = env
        self.daemons: list[int] = []
        self._log = log

    def run(self, words: Sequence[str], cwd: Path | None = None) -> tuple[Cost, str]:
        """Run a command to its end; what it cost and what it printed."""
        os.sync()  # what the one before left to be written is not for this one to pay
        out, result = self._log.with_suffix(".out"), self._log.with_suffix(".costs")
        with open(out, "wb") as output, open(self._log, "ab") as errors:
            before = self._host_cpu()
            process = subprocess.Popen(
                costs.measured(words, result), env=self.env, cwd=cwd, stdout=output, stderr=errors
            )
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        status, wall, client, peak = costs.read(result)
        host = self._host_cpu() - before - usage.ru_utime - usage.ru_stime
        if status not in (0, 1):
            raise Failed(f"{' '.join(words)}: status {status}; see {self._log}")
        cost = Cost(wall, client, max(0.0, host), peak)
        return cost, out.read_text(errors="replace")

    @contextmanager
    def service(self, words: Sequence[str]) -> Iterator[Service]:
        """A command that runs until it is ended."""
        os.sync()
        with open(self._log, "ab") as errors:
            service = Service(words, self.env, errors)
        try:
            yield service
        finally:
            service.process.terminate()
            service.process.wait(30)

    def _host_cpu(self) -> float:
        """Of the daemons, and of all children that have ended: the box's servers, and the command itself."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return ended.ru_utime + ended.ru_stime + sum(map(_cpu, self.daemons))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def machine() -> dict[str, Any]:
    """Where the figures were taken."""
    cpu = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "").split()
    memory = int(next(line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
    return {
        "cpu": cpu[0] if cpu else "unknown",
        "cores": os.cpu_count(),
        "memory GiB": round(memory / (1 << 20)),
        "instructions": [flag for flag in ("aes", "sha_ni", "avx2", "avx512f") if flag in flags],
        "kernel": os.uname().release,
        "python": _version(["python3", "--version"]),
        "borg": _version(["borg", "--version"]),
        "qemu": _version(["qemu-nbd", "--version"]),
        "load before": os.getloadavg()[0],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _version(words: list[str]) -> str:
    import sys

    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0] if done.returncode == 0 else "unknown"


def wait_idle(limit: float, seconds: float) -> None:
    """Wait until nobody else uses the machine, or say that somebody does."""
    until = time.monotonic() + seconds
    while os.getloadavg()[0] > limit and time.monotonic() < until:
        time.sleep(2)
