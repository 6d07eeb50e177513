"""The engine's insides that every part shares: world, clock, locks, data plane, faults."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import current_app

from ovirtbox import events
from ovirtbox.clock import Clock
from ovirtbox.locks import Locks
from ovirtbox.model import Event, Vm, World

if TYPE_CHECKING:
    from ovirtbox.dataplane import DataPlane
    from ovirtbox.inject import Inject


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
    on_restart: list[Callable[[], Any]] = field(default_factory=list)
    """Called when the engine "restarts": each state machine says what it forgets."""
    on_vm_down: list[Callable[[Vm], Any]] = field(default_factory=list)
    """Called when a VM went down: a live backup of it cannot go on."""
    bugs: list[str] = field(default_factory=list)
    """What went wrong inside the box itself; a test that sees any fails."""

    def log(self, code: int, severity: str, text: str, **about: Any) -> Event:
        return events.log(self.world, self.clock, code, severity, text, **about)


def core() -> EngineCore:
    """The engine of the current request."""
    engine: EngineCore = current_app.config["engine"]
    return engine
