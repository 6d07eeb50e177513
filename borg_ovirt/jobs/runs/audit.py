"""Tells the engine's own log what we do to its VMs: started, finished, failed. Never fails a job."""

from __future__ import annotations

from collections.abc import Callable

from borg_ovirt.errors import BorgOvirtError
from borg_ovirt.jobs.backup.create import CreateResult
from borg_ovirt.ovirt.facts.vm import look_up
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.session.events import post_event


class Audit:
    """The engine's log; `told` hears why it did not take an event."""

    def __init__(self, engine: Engine, told: Callable[[str], None]) -> None:
        self._engine = engine
        self._told = told

    def started(self, vm_id: str, name: str) -> None:
        self._post(f"Backup of VM {name} started.", "normal", vm_id)

    def finished(self, vm_id: str, name: str, archive: str, kind: str, *, warned: bool) -> None:
        text = f"Backup of VM {name} finished: archive {archive} ({kind})."
        self._post(text, "warning" if warned else "normal", vm_id)

    def failed(self, vm_id: str, name: str, why: str) -> None:
        self._post(f"Backup of VM {name} failed: {why}", "error", vm_id)

    def _post(self, text: str, severity: str, vm_id: str) -> None:
        try:
            if not post_event(self._engine, text, severity=severity, vm_id=vm_id):
                self._told("the engine did not take an event")
        except BorgOvirtError as error:
            self._told(f"the engine did not take an event: {error.message}")


def audited(
    engine: Engine, vm_name: str, told: Callable[[str], None], backup: Callable[[str], CreateResult]
) -> CreateResult:
    """Back up one VM (`backup` gets its id) and let the engine's log tell of it."""
    vm = look_up(engine, vm_name)
    audit = Audit(engine, told)
    audit.started(vm.id, vm.name)
    try:
        result = backup(vm.id)
    except BorgOvirtError as error:
        audit.failed(vm.id, vm.name, error.message)
        raise
    except KeyboardInterrupt:
        audit.failed(vm.id, vm.name, "interrupted")
        raise
    audit.finished(vm.id, vm.name, result.archive, result.kind, warned=bool(result.warnings))
    return result
