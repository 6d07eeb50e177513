"""Progress on a terminal: a bar per disk that stays when the disk is done, steps scrolling by above.

A run has its state above the bars, and below them what it waits for and how long it has.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from borg_ovirt.progress import Gauge, Progress
from borg_ovirt.terminal import shown
from borg_ovirt.units import format_duration, format_size

EVERY = 0.1
"""Seconds between two updates of a bar: chunks pass far faster than eyes follow."""
PATIENCE = 1.0
"""Seconds of waiting after which a display is worth it that shows nothing else."""


class TerminalProgress(Progress):
    """Bars by rich. The display starts with the first disk, with a run, or when something is waited for long,
    so a short command shows none."""

    def __init__(
        self, stream: TextIO, *, width: int | None = None, every: float = EVERY, verbose: bool = False
    ) -> None:
        self._verbose = verbose
        self._waits: dict[object, tuple[str, float]] = {}
        self._console = Console(file=stream, force_terminal=True, highlight=False, width=width)
        self._every = every
        self._lock = threading.Lock()
        self._tasks: dict[int, tuple[TaskID, float]] = {}
        self._live: RichProgress | None = None

    def step(self, text: str) -> None:
        """One line above the bars."""
        self._console.print(escape(shown(text)), soft_wrap=True)

    def detail(self, text: str) -> None:
        """Only where it was asked for."""
        if self._verbose:
            self.step(text)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A line below the bars that counts the seconds."""
        key = object()
        with self._lock:
            self._waits[key] = (text, time.monotonic())
        late = threading.Timer(PATIENCE, self._show_waits)
        late.daemon = True
        late.start()
        try:
            yield
        finally:
            late.cancel()
            with self._lock:
                del self._waits[key]
                self._rest()

    def _show_waits(self) -> None:
        with self._lock:
            if self._waits:
                self._display()

    def begin_run(self, total: int) -> None:
        """From now on something is shown all the time."""
        super().begin_run(total)
        with self._lock:
            self._display()

    def _around(self, bars: Iterable[RenderableType]) -> Iterator[RenderableType]:
        if self.overview is not None:
            yield _line(str(self.overview))
        yield from bars
        for text, since in list(self._waits.values()):
            yield _line(f"{text}, {format_duration(time.monotonic() - since)}")

    def warn(self, text: str) -> None:
        """One coloured line above the bars."""
        self._console.print(f"[yellow]warning:[/yellow] {escape(shown(text))}", soft_wrap=True)

    def disk(self, name: str, size: int, to_read: int | None = None) -> Gauge:
        """A new bar below the others."""
        gauge = super().disk(name, size, to_read)
        with self._lock:
            live = self._display()
            task = live.add_task(escape(shown(name)), total=max(size, 1), facts=facts(gauge))
            self._tasks[id(gauge)] = (task, time.monotonic())
        return gauge

    def _display(self) -> RichProgress:
        if self._live is None:
            self._live = _Display(
                self._around,
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[facts]}"),
                console=self._console,
                refresh_per_second=4,
            )
            self._live.start()
        return self._live

    def _changed(self, gauge: Gauge) -> None:
        with self._lock:
            known = self._tasks.get(id(gauge))
            if known is None or self._live is None:
                return
            task, told = known
            now = time.monotonic()
            if gauge.finished:
                del self._tasks[id(gauge)]
            elif now - told < self._every:
                return
            else:
                self._tasks[id(gauge)] = (task, now)
            self._live.update(
                task, completed=gauge.done if gauge.size else 1, facts=facts(gauge), refresh=gauge.finished
            )
            if gauge.finished and self.overview is not None and self.overview.total > 1:
                self._live.remove_task(task)  # a line tells of its VM
            self._rest()

    def _rest(self) -> None:
        """The next disk or wait gets a display of its own, below the lines in between."""
        if self._live is not None and not self._tasks and not self._waits and self.overview is None:
            self._live.stop()
            self._live = None

    def close(self) -> None:
        """Take the display down, whatever state the disks are in."""
        with self._lock:
            self._tasks.clear()
            if self._live is not None:
                self._live.stop()
                self._live = None

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Display(RichProgress):
    """Bars, and what stands around them."""

    def __init__(self, around: Callable[..., Iterator[RenderableType]], *columns: Any, **more: Any) -> None:
        self._around = around
        super().__init__(*columns, **more)

    def get_renderables(self) -> Iterator[RenderableType]:
        """At each refresh."""
        yield from self._around(super().get_renderables())


def _line(text: str) -> Text:
    return Text(shown(text), no_wrap=True, overflow="ellipsis")


def facts(gauge: Gauge) -> str:
    """What stands behind a bar."""
    parts = [f"{format_size(gauge.read)} read"]
    if gauge.zero:
        parts.append(f"{format_size(gauge.zero)} zero")
    if gauge.reused:
        parts.append(f"{format_size(gauge.reused)} same")
    parts.append(f"{format_size(gauge.new)} new")
    if gauge.read:
        parts.append(f"{format_size(gauge.rate)}/s")
    if not gauge.finished and gauge.eta is not None:
        parts.append(f"{format_duration(gauge.eta)} left")
    return "  ".join(parts)
