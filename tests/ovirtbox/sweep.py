"""Ends what a test left in the engine when it failed, so that its neighbours begin on a clean one."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from ovirtbox import backups, snapshots, transfers
from ovirtbox.box import FINISHED, OVER, Box
from ovirtbox.faults import Fault

PATIENCE = 30.0
"""Seconds for the engine to end what is asked of it."""


def sweep(box: Box) -> list[str]:
    """Cancel transfers, end backups, merge stray snapshots, forget faults of the box; what is left then."""
    box.inject.clear()
    engine, world = box.engine, box.world

    asked: set[str] = set()

    def cancel() -> None:
        for transfer in [
            t for t in world.transfers.values() if t.phase not in FINISHED and t.id not in asked
        ]:
            asked.add(transfer.id)
            with suppress(Fault):
                transfers.ask(engine, transfer.id, "cancel")

    def end() -> None:
        for backup in [b for b in world.backups.values() if b.phase not in OVER]:
            with suppress(Fault):
                backups.finalize(engine, world.vms[backup.vm_id], backup)

    def merge() -> None:
        for vm in list(world.vms.values()):
            for snapshot in [s for s in vm.snapshots if box.is_stray(vm, s)]:
                with suppress(Fault):
                    snapshots.remove(engine, vm, snapshot)

    deadline = time.monotonic() + PATIENCE
    steps: list[Callable[[], None]] = [cancel, end, merge, engine.bugs.clear]
    while (found := box.clean(timeout=0)) and time.monotonic() < deadline:
        for step in steps:
            step()
        time.sleep(engine.clock.tick)
    return found
