"""The engine's insides that every part shares: world, clock, locks, data plane, faults."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import current_app

from ovirtbox import events
from ovirtbox.clock import Clock
from ovirtbox.locks import Locks
from ovirtbox.model import Disk, Event, Vm, World

if TYPE_CHECKING:
    from ovirtbox.dataplane import DataPlane
    from ovirtbox.inject import Inject

log = logging.getLogger("ovirtbox.engine")

USER = "admin@internal-authz"
"""As the audit log names the one user of the box."""


@dataclass
class EngineCore:
    """Made by box.py; a request finds it with `core()`."""

    world: World
    clock: Clock
    locks: Locks
    data: DataPlane
    faults_injection: Inject
    user: str = "admin@internal"
    password: str = ""
    tokens: set[str] = field(default_factory=set)
    sessions: set[str] = field(default_factory=set)
    """Tokens with which a request was made: only then has the user a session."""
    max_sessions: int = 0
    """Sessions that the user may have at a time (UserSessionLimit); 0 for any number."""
    on_restart: list[Callable[[], Any]] = field(default_factory=list)
    """Called when the engine "restarts": each state machine says what it forgets."""
    on_disk_detached: list[Callable[[Vm, Disk], Any]] = field(default_factory=list)
    """Called when a disk left a VM: its checkpoints go with it."""
    on_restore: list[Callable[[Vm], Any]] = field(default_factory=list)
    """Called when a VM was put back to an older snapshot: all its checkpoints are lost."""
    on_vm_down: list[Callable[[Vm], Any]] = field(default_factory=list)
    """Called when a VM went down: a live backup of it cannot go on."""
    bugs: list[str] = field(default_factory=list)
    """What went wrong inside the box itself; a test that sees any fails."""

    def background(
        self, ticks: float, slow: Callable[[], Any], done: Callable[[Exception | None], Any]
    ) -> None:
        """After some ticks do `slow` on a thread of its own, then `done` with the world locked."""

        def job() -> None:
            error: Exception | None = None
            try:
                slow()
            except Exception as caught:
                log.warning("A task of the engine failed", exc_info=True)
                error = caught
            with self.world.lock:
                done(error)

        self.clock.after(ticks, lambda: self.clock.work(job))

    def log(self, code: int, severity: str, text: str, **about: Any) -> Event:
        return events.log(self.world, self.clock, code, severity, text, **about)


def core() -> EngineCore:
    """The engine of the current request."""
    engine: EngineCore = current_app.config["engine"]
    return engine
