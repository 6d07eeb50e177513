"""The engine's insides that every part shares: world, clock, locks, data plane, faults."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flask import current_app

from ovirtbox import events
from ovirtbox.clock import Clock
from ovirtbox.locks import Locks
from ovirtbox.model import Disk, Event, Role, User, Vm, World, new_id
from ovirtbox.rhythm import Rhythm

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
    rhythm: Rhythm = field(default_factory=Rhythm)
    user: str = "admin@internal"
    """Of the administrator, who may do everything."""
    password: str = ""
    users: dict[str, User] = field(default_factory=dict)
    """Who may log in, by name with profile; the administrator is among them."""
    roles: dict[str, Role] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """Disk or VM -> name of the user who made it over the API: it may do everything with it."""
    tokens: dict[str, str] = field(default_factory=dict)
    """Token -> name of the user."""
    sessions: set[str] = field(default_factory=set)
    """Tokens with which a request was made: only then has the user a session."""
    max_sessions: int = 0
    """Sessions that a user may have at a time (UserSessionLimit); 0 for any number."""
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

    def __post_init__(self) -> None:
        self.users[self.user] = User(new_id(), self.user, self.password, everything=True)

    def log_in(self, name: str, password: str) -> str | None:
        """None if the password fits, else what the engine says."""
        known = self.users.get(name)
        if known is not None and password and known.password == password:
            return None
        user, _, profile = name.rpartition("@")
        if not user or profile not in {known.rpartition("@")[2] for known in self.users}:
            shown = name if user else f"{name}@N/A"
            return f"Cannot authenticate user '{shown}': No valid profile found in credentials.."
        return (
            f"Cannot authenticate user '{name}': Unable to log in."
            " Verify your login information or contact the system administrator.."
        )

    def begin_session(self, token: str) -> bool:
        """With the first request of a token; refused where its user has as many as may be."""
        if token in self.sessions:
            return True
        name = self.tokens[token]
        others = [other for other in self.sessions if self.tokens.get(other) == name]
        if self.max_sessions and len(others) >= self.max_sessions:
            return False
        self.sessions.add(token)
        return True

    def background(
        self,
        ticks: float,
        slow: Callable[[], Any],
        done: Callable[[Exception | None], Any],
        step: str | None = None,
    ) -> None:
        """After some ticks do `slow` on a thread of its own, then `done` with the world locked.

        `step`: what the rhythm knows it by; the work then takes that long in all.
        """

        def job() -> None:
            error: Exception | None = None
            begun = time.monotonic()
            try:
                slow()
                time.sleep(max(0.0, self.rhythm.seconds(step) - (time.monotonic() - begun)))
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
