"""/events: the audit log, newest first, and what clients write into it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from ovirtbox.engine import core
from ovirtbox.events import ALERT, ERROR, NORMAL, WARNING
from ovirtbox.faults import Fault, bad, mandatory, not_found
from ovirtbox.model import Event
from ovirtbox.rest.lists import find_rows, limit
from ovirtbox.search import Fields, search
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
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
)

blueprint = Blueprint("events", __name__, url_prefix=API)

EXTERNAL = {NORMAL: 9801, WARNING: 9802, ERROR: 9803, ALERT: 9804}
LONGEST = 10000
MOST = (1 << 31) - 1


def _event(event: Event) -> Element:
    identifier = str(event.index)
    return element(
        "event",
        leaf("code", event.code),
        leaf("correlation_id", event.correlation_id or None),
        leaf("custom_id", event.custom_id),
        leaf("description", event.description),
        leaf("flood_rate", 30),
        leaf("index", event.index),
        leaf("origin", event.origin),
        leaf("severity", event.severity),
        leaf("time", event.time),
        ref("vm", event.vm_id, "vms"),
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
            "time": lambda _: [],
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
            # Of what is later than an index, `max` takes the newest: what lies between is passed over.
            later = [e for e in rows if e.index > after]
            rows = search(later, request.args.get("search"), _fields())[: limit()]
        else:
            rows = find_rows(rows, _fields())
        return reply(element("events", [_event(row) for row in rows]))


@blueprint.get("/events/<index>")
def get_event(index: str) -> Response:
    return reply(_event(_find(index)))


def _find(index: str) -> Event:
    if not index.isdigit():
        raise Fault(400, f'For input string: "{index}"')
    for event in core().world.events:
        if event.index == int(index):
            return event
    raise not_found()


@blueprint.delete("/events/<index>")
def delete_event(index: str) -> Response:
    world = core().world
    with world.lock:
        world.events.remove(_find(index))
    return action_reply()


@blueprint.post("/events")
def add_event() -> Response:
    engine = core()
    body = parse_body("event")
    origin, description = text(body, "origin"), text(body, "description")
    severity = choice(body, "severity", EXTERNAL)
    custom_id = integer(body, "custom_id")
    given = {"origin": origin, "severity": severity, "custom_id": custom_id, "description": description}
    for name, value in given.items():
        if value in (None, ""):
            raise mandatory(f"event.{name}")
    assert origin is not None
    assert description is not None
    assert severity is not None
    assert custom_id is not None
    if custom_id > MOST:
        raise Fault(400, f"Value {custom_id} is greater than maximum integer {MOST}.", "Invalid value")
    if origin.lower() == "ovirt":
        raise bad(f"Cannot add External Event. Illegal Origin for External Event : {origin}")
    with engine.world.lock:
        if any(e.origin == origin and e.custom_id == custom_id for e in engine.world.events):
            raise bad("=Cannot add External Event. External Event with this custom id already exists.")
        event = engine.log(
            EXTERNAL[severity],
            severity,
            description[:LONGEST],
            vm_id=ref_id(body, "vm"),
            correlation_id=text(body, "correlation_id") or "",  # the header's is not stored
            origin=origin,
            custom_id=custom_id,
        )
        return reply(_event(event), 201)
