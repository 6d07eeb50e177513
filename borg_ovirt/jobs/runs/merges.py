"""Lets the engine finish (merges, checkpoints) behind the next VM's backup, and collects what it says."""

from __future__ import annotations

import threading
from collections.abc import Callable

from borg_ovirt.errors import BorgOvirtError

AT_ONCE = 8
"""Merges that are waited for at a time; waiting costs a poll now and then."""


class PendingMerges:
    """Waits on threads of their own. They are daemons: an interrupted run leaves merges to the next one."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._places = threading.BoundedSemaphore(AT_ONCE)

    def begin(self, wait_for_merge: Callable[[], list[str]], warn: Callable[[str], None]) -> None:
        """Wait for one VM in the background; `warn` hears what is left behind."""

        def work() -> None:
            with self._places:
                try:
                    for warning in wait_for_merge():
                        warn(warning)
                except BorgOvirtError as error:
                    warn(error.message)
                except Exception as error:  # the archive is good: whatever this is, it is a warning
                    warn(repr(error))

        thread = threading.Thread(target=work, name="merge", daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def pending(self) -> int:
        """How many VMs the engine still works on."""
        return sum(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        """Until the engine is through with all of them."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(1.0)  # in slices, so that a signal gets its turn
