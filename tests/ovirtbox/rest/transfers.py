"""/imagetransfers."""

from __future__ import annotations

from flask import Blueprint, Response, request
from flask.blueprints import BlueprintSetupState

from ovirtbox import transfers
from ovirtbox.engine import EngineCore, core
from ovirtbox.faults import INVALID, Fault, broken
from ovirtbox.model import Transfer
from ovirtbox.rest.lists import by_id, limit
from ovirtbox.xml import (
    API,
    Element,
    action_reply,
    actions,
    attribute,
    boolean,
    choice,
    element,
    href,
    integer,
    leaf,
    parse_body,
    path_id,
    ref,
    ref_id,
    reply,
)

blueprint = Blueprint("transfers", __name__, url_prefix=API)

ACTIONS = ("finalize", "extend", "cancel", "pause", "resume")


@blueprint.record_once
def _install(state: BlueprintSetupState) -> None:
    transfers.install(state.app.config["engine"])


@blueprint.get("/imagetransfers")
def list_transfers() -> Response:
    engine = core()
    with engine.world.lock:
        rows = list(engine.world.transfers.values())[: limit()]
        return reply(element("image_transfers", [_element(engine, row) for row in rows]))


@blueprint.get("/imagetransfers/<transfer_id>")
def get_transfer(transfer_id: str) -> Response:
    engine = core()
    with engine.world.lock:
        return reply(_element(engine, by_id(engine.world.transfers, transfer_id)))


@blueprint.post("/imagetransfers")
def add_transfer() -> Response:
    engine = core()
    transfer = transfers.start(engine, _wanted(parse_body("image_transfer")))
    with engine.world.lock:
        return reply(_element(engine, transfer), 201)


def _wanted(body: Element) -> transfers.Wanted:
    named = [tag for tag in ("disk", "snapshot", "image") if attribute(body, tag)]
    if not named:
        detail = "No matching signature found, make sure that mandatory attributes are provided."
        raise Fault(400, detail, INVALID)
    timeout = integer(body, "inactivity_timeout")
    return transfers.Wanted(
        disk_id=ref_id(body, "disk") or ref_id(body, "image"),
        image_id=ref_id(body, "snapshot"),
        direction=choice(body, "direction", ("upload", "download")) or "upload",
        format=choice(body, "format", ("raw", "cow")),
        inactivity_timeout=60 if timeout is None else timeout,
        timeout_policy=choice(body, "timeout_policy", ("legacy", "pause", "cancel")) or "legacy",
        shallow=bool(boolean(body, "shallow", False)),
        host=ref_id(body, "host"),
        backup_id=ref_id(body, "backup"),
    )


@blueprint.post("/imagetransfers/<transfer_id>/<any(finalize,extend,cancel,pause,resume):action>")
def act(transfer_id: str, action: str) -> Response:
    """200 even for an id that nobody knows: only GET tells."""
    if not request.get_data().strip() and "xml" in request.headers.get("Content-Type", ""):
        raise broken()
    parse_body("action")
    transfers.ask(core(), path_id(transfer_id), action)
    return action_reply()


def _element(engine: EngineCore, transfer: Transfer) -> Element:
    path = ("imagetransfers", transfer.id)
    disk = engine.world.disks.get(transfer.disk_id)
    shown = transfer.format or (disk.format if disk else None)
    return element(
        "image_transfer",
        actions(ACTIONS, *path),
        leaf("active", transfer.active),
        leaf("direction", transfer.direction),
        leaf("format", shown),
        leaf("inactivity_timeout", transfer.inactivity_timeout),
        leaf("phase", transfer.phase),
        leaf("proxy_url", transfer.proxy_url),
        leaf("shallow", transfer.shallow),
        leaf("timeout_policy", transfer.timeout_policy),
        leaf("transfer_url", transfer.transfer_url),
        leaf("transferred", transfer.transferred or 0),
        ref("host", transfer.host or None, "hosts"),
        ref("image", transfer.disk_id),
        id=transfer.id,
        href=href(*path),
    )
