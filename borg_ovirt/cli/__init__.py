"""The command line: one thin file per command; flags, help and exit status, no logic."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command of this process and leave with its exit status."""
    from borg_ovirt.cli.boundary import run
    from borg_ovirt.pipe.malloc import tune_malloc

    tune_malloc()
    status = run(sys.argv[1:])
    gc.freeze()  # spares the search for garbage at the end: 0.06 s
    sys.exit(status)
