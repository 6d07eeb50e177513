"""What a selftest tells: on what it ran, and each step with its time. A bug report needs this and no more."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from borg_ovirt import __version__
from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.progress import Progress
from borg_ovirt.repository.version import borg_version
from borg_ovirt.units import format_duration


@dataclass
class Step:
    """One step of it."""

    what: str
    seconds: float = 0.0
    note: str = ""
    """What came of it; of a step that failed, why."""
    ok: bool | None = None
    """None: it did not end."""


@dataclass
class Report:
    """The whole of it."""

    run: str
    """What the engine's log knows its requests by."""
    versions: dict[str, str]
    place: str = ""
    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What could not be removed."""

    @property
    def failed(self) -> Step | None:
        return next((step for step in self.steps if not step.ok), None)

    def lines(self) -> list[str]:
        """The report in words."""
        told = [f"{what}: {text}" for what, text in self.versions.items()]
        told.append(f"run: {self.run}")
        told += [f"place: {self.place}"] if self.place else []
        wide = max((len(step.what) for step in self.steps), default=0)
        for step in self.steps:
            word = "ok" if step.ok else "FAILED"
            told.append(f"{word:6} {step.what:{wide}} {step.seconds:6.1f} s  {step.note}".rstrip())
        told += [f"warning: {text}" for text in self.warnings]
        told += [f"left: {text}" for text in self.left]
        took = format_duration(sum(step.seconds for step in self.steps))
        bad = self.failed
        told.append(f"Failed at: {bad.what}." if bad else f"All well, in {took}; nothing is left behind.")
        return told


class Stopwatch:
    """Takes the time of each step, and tells it."""

    def __init__(self, report: Report, progress: Progress) -> None:
        self._report = report
        self._progress = progress

    @contextmanager
    def step(self, what: str) -> Iterator[Step]:
        """A step of the test; the error that ends it is raised again under its name."""
        step, begun = Step(what), time.monotonic()
        self._report.steps.append(step)
        self._progress.step(f"selftest: {what}")
        try:
            yield step
            step.ok = True
        except BorgOvirtError as error:
            step.ok, step.note = False, error.message
            error.message = f"The selftest failed at the step {what!r}: {error.message}"
            raise
        except BaseException as error:
            step.ok, step.note = False, str(error) or type(error).__name__
            raise
        finally:
            step.seconds = round(time.monotonic() - begun, 1)


def versions() -> dict[str, str]:
    """Of all on this machine that has a part in it."""
    cores = os.cpu_count()
    return {
        "borg-ovirt": __version__,
        "borg": borg_version(),
        "python": platform.python_version(),
        "ovirt-engine-sdk-python": _installed("ovirt-engine-sdk-python"),
        "this host": f"{platform.system()} {platform.release()} {platform.machine()}, {cores} cores, "
        f"{_distribution()}",
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", sys.platform)
    except OSError:
        return sys.platform
