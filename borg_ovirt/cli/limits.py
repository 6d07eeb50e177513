"""The limit of open files: as high as a run needs, or a refusal before anything is begun.

A run that ran out of them half-way would take an engine that it cannot ask for one that is away, and wait.
"""

from __future__ import annotations

import resource

from borg_ovirt.errors import UsageError

WANTED = 1024
_LEAST = 256
"""Borg keeps 90 segments open; four disks at a time take eight connections each, and each thread one more."""


def allow_open_files() -> None:
    """Raise the soft limit as far as allowed; `UsageError` where that is not far enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= WANTED:
        return
    may = WANTED if hard == resource.RLIM_INFINITY else min(hard, WANTED)
    if may > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (may, hard))
    if may < _LEAST:
        raise UsageError(
            f"The system allows {may} open files, and {_LEAST} are needed.", "Allow more (`ulimit -n`)."
        )
