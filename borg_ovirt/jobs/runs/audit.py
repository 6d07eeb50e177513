"""Tells the engine's own log what we do to its VMs: started, finished, failed. Never fails a job."""

from __future__ import annotations

from collections.abc import Callable

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.ovirt.facts.vm import vm_status
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import post_event


class Audit:
    """The engine's log; `tell` hears why it did not take an event."""

    def __init__(self, engine: Engine, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._tell = tell

    def started(self, vm_id: str, name: str) -> None:
        self._post(f"Backup of VM {name} started.", "normal", vm_id)

    def finished(self, vm_id: str, name: str, archive: str, kind: str, *, warned: bool) -> None:
        text = f"Backup of VM {name} finished: archive {archive} ({kind})."
        self._post(text, "warning" if warned else "normal", vm_id)

    def failed(self, vm_id: str, name: str, why: str) -> None:
        self._post(f"Backup of VM {name} failed: {why}", "error", vm_id)

    def note(self, text: str, severity: str, vm_id: str | None) -> None:
        """Whatever else was done to a VM or its archives; the VM may be gone."""
        self._post(text, severity, vm_id if vm_id and self._found(vm_id) else None)

    def _found(self, vm_id: str) -> list[str]:
        try:
            return [vm_status(self._engine, vm_id)]
        except BorgOvirtError:
            return []

    def _post(self, text: str, severity: str, vm_id: str | None) -> None:
        try:
            post_event(self._engine, text, severity=severity, vm_id=vm_id)
        except BorgOvirtError as error:
            self._tell(f"the engine did not take an event: {error.message}")
