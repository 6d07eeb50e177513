"""How a job tells what it does: steps, warnings, and one gauge per disk.

A job gets a `Progress` and never asks where the words go: `choose` picks bars on a terminal, plain lines in
a log, JSON lines for programs, or silence. All methods may be called from any thread.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TextIO

from borg_ovirt.progress.overview import Overview


class Gauge:
    """One disk on its way: counts what happened to its bytes."""

    def __init__(self, name: str, size: int, to_read: int | None, changed: Callable[[Gauge], None]) -> None:
        self.name = name
        self.size = size
        """Bytes of the disk: the gauge is full when read + zero + reused reach it."""
        self.to_read = size if to_read is None else to_read
        """Bytes that have to move; the rest is zeros or known."""
        self.read = 0
        self.zero = 0
        self.reused = 0
        self.new = 0
        """Bytes that the repository (or the target) did not hold before."""
        self.resumes = 0
        self.started = time.monotonic()
        self.finished = False
        self._changed = changed
        self._lock = threading.Lock()

    @property
    def done(self) -> int:
        """Bytes of the disk that are behind us."""
        return self.read + self.zero + self.reused

    @property
    def rate(self) -> float:
        """Bytes that really moved, per second since the start."""
        return self.read / max(time.monotonic() - self.started, 1e-6)

    @property
    def eta(self) -> float | None:
        """Seconds to go at the rate so far; None while nobody can know."""
        if not self.read or self.done >= self.size:
            return None
        return max(self.to_read - self.read, 0) / self.rate

    def advance(
        self, *, read: int = 0, zero: int = 0, reused: int = 0, new: int = 0, resumes: int = 0
    ) -> None:
        """Count bytes that moved, read as zeros or were referred to; `new` of them were unknown."""
        with self._lock:
            self.read += read
            self.zero += zero
            self.reused += reused
            self.new += new
            self.resumes += resumes
        self._changed(self)

    def finish(self) -> None:
        """The disk is through, or given up."""
        self.finished = True
        self._changed(self)

    def __enter__(self) -> Gauge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()


class Progress:
    """Silence, and the interface of all the others. Leaving it as a context takes the display down."""

    overview: Overview | None = None
    """Where the run stands; None where there is none."""

    def step(self, text: str) -> None:
        """One line: what begins now, or was just done."""

    def detail(self, text: str) -> None:
        """One line of what is done for each VM every night, for who wants to know it all."""
        self.step(text)

    def warn(self, text: str) -> None:
        """One line that the user must not miss."""

    def waiting(self, text: str) -> AbstractContextManager[None]:
        """Inside, this is waited for."""
        return nullcontext()

    def begin_run(self, total: int) -> None:
        """So many VMs are to be taken."""
        self.overview = Overview(total)

    def begin_vm(self) -> None:
        """The next VM's turn has come."""
        if self.overview is not None:
            self.overview.begin()

    def end_vm(self, text: str | None = None) -> None:
        """One line of what became of a VM, where no other tells it."""
        if self.overview is not None:
            done, total = self.overview.end(), self.overview.total
            text = f"VM {done} of {total}: {text}" if text and total > 1 else text
        if text:
            self.step(text)

    def disk(self, name: str, size: int, to_read: int | None = None) -> Gauge:
        """A gauge for a disk of `size` bytes of which `to_read` have to move; leave it when done."""
        gauge = Gauge(name, size, to_read, self._changed)
        if self.overview is not None:
            self.overview.disks.append(gauge)
        return gauge

    def _changed(self, gauge: Gauge) -> None:
        """A gauge moved."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Named(Progress):
    """One of several VMs under way at a time: each line says which."""

    def __init__(self, inner: Progress, name: str) -> None:
        self._inner = inner
        self._name = name

    def step(self, text: str) -> None:
        """One line with the VM's name in it."""
        self._inner.step(self._told(text))

    def detail(self, text: str) -> None:
        """One line with the VM's name in it."""
        self._inner.detail(self._told(text))

    def waiting(self, text: str) -> AbstractContextManager[None]:
        """Told with the VM's name."""
        return self._inner.waiting(self._told(text))

    def warn(self, text: str) -> None:
        """One line with the VM's name in it."""
        self._inner.warn(self._told(text))

    def disk(self, name: str, size: int, to_read: int | None = None) -> Gauge:
        """A gauge as the others'."""
        return self._inner.disk(name, size, to_read)

    def _told(self, text: str) -> str:
        return text if self._name in text else f"{self._name}: {text}"


def choose(
    *,
    log_json: bool = False,
    quiet: bool = False,
    bars: bool = True,
    verbose: bool = False,
    stream: TextIO | None = None,
) -> Progress:
    """The progress that suits the place; `stream` is standard error unless told otherwise.

    `quiet` leaves warnings only; `bars=False` forbids the live display of a terminal; `verbose` adds what is
    done for each VM.
    """
    stream = stream or sys.stderr
    if log_json:
        from borg_ovirt.progress.jsonlines import JsonProgress

        return JsonProgress(stream)
    if bars and not quiet and stream.isatty():
        from borg_ovirt.progress.bars import TerminalProgress

        return TerminalProgress(stream, verbose=verbose)
    from borg_ovirt.progress.plain import PlainProgress

    return PlainProgress(stream, quiet=quiet, verbose=verbose)
