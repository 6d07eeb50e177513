"""The engine's audit log: what it told since a moment, and what we add to it."""

from __future__ import annotations

import random
import time
from collections.abc import Collection
from typing import Any

from borg_ovirt.errors import EngineRefused
from borg_ovirt.ovirt.session.engine import Engine, types
from borg_ovirt.ovirt.session.faults import Unclear

FULL_NEEDED = {10791}
"""An incremental backup failed: the checkpoints are gone."""
FROZEN = {10767}
NOT_FROZEN = {10764, 10769, 10774}
SNAPSHOT_FAILED = {69}
"""A snapshot is called ok, but its volumes could not be made."""
ATTACH_FAILED = {175}
"""A VM was imported, but not all of its disks could be attached."""
VM_DOWN = {61, 119}
"""A VM is down: its guest was shut down, or it died."""
ORIGIN = "borg-ovirt"
_TAKEN = "with this custom id already exists"


class EventMark:
    """A moment in the audit log; what came after it can be asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        newest = engine.call("read the newest event", lambda s: s.events_service().list(max=1))
        self._index = _index(newest[0]) if newest else 0

    def after(self, codes: Collection[int], vm_id: str | None = None) -> list[Any]:
        """The events of these codes (of this VM) since the moment, oldest first."""
        # Without a limit: the engine would give the newest and pass over what lies between.
        events = self._engine.call(
            "read the engine's events", lambda s: s.events_service().list(from_=self._index)
        )
        found = [
            event
            for event in events or ()
            if event.code in codes
            and _index(event) > self._index
            and (vm_id is None or event.vm is None or event.vm.id == vm_id)
        ]
        return sorted(found, key=_index)

    def texts(self, codes: Collection[int], vm_id: str | None = None) -> list[str]:
        return [event.description or "" for event in self.after(codes, vm_id)]


def _index(event: Any) -> int:
    """Its place in the log; before all others where the engine tells none."""
    if event.index is not None:
        return int(event.index)
    return int(event.id) if event.id.isdecimal() else 0


def post_event(
    engine: Engine,
    text: str,
    *,
    severity: str = "normal",
    vm_id: str | None = None,
) -> None:
    """Add a line to the engine's audit log. Raises the engine's refusal.

    The engine demands that origin and custom id together are new, so the id is drawn at random; of an event
    whose answer was lost the second asking tells whether it is there.
    """
    t = types()
    wanted = {
        "origin": ORIGIN,
        "severity": t.LogSeverity(severity),
        "description": text[:900],
        "correlation_id": engine.correlation,  # of an event from outside the header's is not stored
        "vm": t.Vm(id=vm_id) if vm_id is not None else None,
    }
    custom_id, lost, taken = _new_id(), False, 0
    for pause in engine.patience.pauses():
        event = t.Event(custom_id=custom_id, **wanted)
        try:
            engine.call("add an event", lambda s, e=event: s.events_service().add(e), once=True)  # type: ignore[misc]
            return
        except Unclear:
            if lost:
                raise
            lost = True
        except EngineRefused as error:
            if _TAKEN not in error.detail or taken == 3:
                raise
            if lost:
                return
            custom_id, taken = _new_id(), taken + 1
        time.sleep(pause)


def _new_id() -> int:
    return random.randint(1, 2**31 - 1)
