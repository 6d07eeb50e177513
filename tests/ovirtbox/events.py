"""The audit log: a numbered line for all of note; newest last in memory, first on the wire."""

from __future__ import annotations

from flask import g, has_request_context

from ovirtbox.clock import Clock
from ovirtbox.model import Event, World

NORMAL = "normal"
WARNING = "warning"
ERROR = "error"
ALERT = "alert"


def log(
    world: World,
    clock: Clock,
    code: int,
    severity: str,
    text: str,
    *,
    vm_id: str | None = None,
    disk_id: str | None = None,
    correlation_id: str | None = None,
    origin: str = "oVirt",
    custom_id: int = -1,
) -> Event:
    """Add an event; inside a request its correlation id is the request's unless one is given."""
    if correlation_id is None and has_request_context():
        correlation_id = g.get("correlation_id")
    with world.lock:
        index = world.events[-1].index + 1 if world.events else 1
        event = Event(
            index, code, severity, text, clock.now(), vm_id, disk_id, correlation_id, origin, custom_id
        )
        world.events.append(event)
    return event
