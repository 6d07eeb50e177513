"""/events: the audit log, newest first, and what clients write into it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ovirtbox.engine import core
from ovirtbox.events import ALERT, ERROR, NORMAL, WARNING
from ovirtbox.faults import bad, incomplete, not_found
from ovirtbox.model import Event
from ovirtbox.rest.lists import find_rows, limit
from ovirtbox.search import Fields, search
from ovirtbox.xml import (
    API,
    Element,
    choice,
    element,
    href,
    integer,
    leaf,
    parse_body,
    query_number,
    ref,
    ref_id,
    reply,
    text,
    timestamp,
)

blueprint = Blueprint("events", __name__, url_prefix=API)

EXTERNAL = {NORMAL: 9801, WARNING: 9802, ERROR: 9803, ALERT: 9804}
LONGEST = 10000


def _event(event: Event) -> Element:
    identifier = str(event.index)
    return element(
        "event",
        leaf("code", event.code),
        leaf("correlation_id", event.correlation_id),
        leaf("custom_id", event.custom_id),
        leaf("description", event.description),
        leaf("flood_rate", 30),
        leaf("index", event.index),
        leaf("origin", event.origin),
        leaf("severity", event.severity),
        leaf("time", event.time),
        ref("vm", event.vm_id, "vms"),
        ref("disk", event.disk_id, "disks"),
        id=identifier,
        href=href("events", identifier),
    )


def _fields() -> Fields[Event]:
    world = core().world

    def vm_names(event: Event) -> list[str]:
        vm = world.vms.get(event.vm_id or "")
        return [vm.name] if vm else []

    return Fields(
        {
            "message": lambda e: [e.description],
            "severity": lambda e: [e.severity],
            "time": lambda e: [timestamp(e.time)],
            "correlation_id": lambda e: [e.correlation_id or ""],
            "origin": lambda e: [e.origin],
            "custom_event_id": lambda e: [e.custom_id],
            "event_vm": vm_names,
            "type": lambda e: [e.code],
            "usrname": lambda _: ["admin@internal-authz"],
        },
        text=("message", "correlation_id", "event_vm"),
        cross={"vm.name": vm_names, "vms.name": vm_names},
    )


@blueprint.get("/events")
def list_events() -> Response:
    world = core().world
    with world.lock:
        rows = list(reversed(world.events))
        after = query_number("from")
        if after is not None:
            # Of what is later than an index, `max` takes the oldest: a client reads on from there.
            later = sorted((e for e in rows if e.index > after), key=lambda e: e.index)[: limit()]
            rows = search(list(reversed(later)), request.args.get("search"), _fields())
        else:
            rows = find_rows(rows, _fields())
        return reply(element("events", [_event(row) for row in rows]))


@blueprint.get("/events/<int:index>")
def get_event(index: int) -> Response:
    for event in core().world.events:
        if event.index == index:
            return reply(_event(event))
    raise not_found()


@blueprint.post("/events")
def add_event() -> Response:
    engine = core()
    body = parse_body("event")
    origin, description = text(body, "origin"), text(body, "description")
    severity = choice(body, "severity", EXTERNAL)
    custom_id = integer(body, "custom_id")
    given = {"origin": origin, "severity": severity, "customId": custom_id, "description": description}
    missing = [name for name, value in given.items() if value in (None, "")]
    if missing:
        raise incomplete("Event", ", ".join(missing))
    assert origin is not None
    assert description is not None
    assert severity is not None
    assert custom_id is not None
    if origin.lower() == "ovirt":
        raise bad("Cannot add External Event. The origin oVirt is reserved.")
    with engine.world.lock:
        if any(e.origin == origin and e.custom_id == custom_id for e in engine.world.events):
            raise bad("Cannot add External Event. An event with this origin and id already exists.")
        event = engine.log(
            EXTERNAL[severity],
            severity,
            description[:LONGEST],
            vm_id=ref_id(body, "vm"),
            correlation_id=text(body, "correlation_id") or None,
            origin=origin,
            custom_id=custom_id,
        )
        return reply(_event(event), 201)
