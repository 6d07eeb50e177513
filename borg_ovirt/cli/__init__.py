"""The command line: one thin file per command; flags, help and exit status, no logic."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command of this process and leave with its exit status."""
    from borg_ovirt import streams

    streams.guard()
    try:
        status = _run()
    except KeyboardInterrupt:
        status = 130
    except Exception as error:  # not even loaded: 1, Python's own status, would say that the work was done
        why = str(error) or type(error).__name__
        print(f"borg-ovirt: The program could not be started: {why}", file=sys.stderr)
        status = 2
    gc.freeze()  # spares the search for garbage at the end: 0.06 s
    sys.exit(status)


def _run() -> int:
    from borg_ovirt.cli.boundary import run
    from borg_ovirt.config.secrets import take_password
    from borg_ovirt.pipe.malloc import tune_malloc

    tune_malloc()
    take_password()
    return run(sys.argv[1:])
