"""The entry point of the API: what this engine is, and where everything lies."""

from __future__ import annotations

from flask import Blueprint, Response

from ovirtbox.engine import core
from ovirtbox.model import BLANK, new_id
from ovirtbox.xml import API, element, empty, href, leaf, link, reply

blueprint = Blueprint("root", __name__, url_prefix=API)

VERSION = "4.5.6-1.el8"
INSTANCE = new_id()
USER_ID = new_id()

COLLECTIONS = (
    "clusters",
    "datacenters",
    "disks",
    "events",
    "hosts",
    "imagetransfers",
    "jobs",
    "networks",
    "storagedomains",
    "tags",
    "templates",
    "vms",
)
SEARCHABLE = tuple(name for name in COLLECTIONS if name not in ("imagetransfers", "networks", "tags"))


@blueprint.get("")
@blueprint.get("/")
def entry() -> Response:
    engine = core()
    world = engine.world
    with world.lock:
        up = sum(1 for vm in world.vms.values() if vm.status != "down")
        root = element(
            "api",
            [link(name, name) for name in COLLECTIONS],
            [
                element("link", rel=f"{name}/search", href=f"{href(name)}?search={{query}}")
                for name in SEARCHABLE
            ],
            element(
                "product_info",
                leaf("instance_id", INSTANCE),
                leaf("name", "oVirt Engine"),
                leaf("vendor", "ovirt.org"),
                element(
                    "version",
                    leaf("build", 6),
                    leaf("full_version", VERSION),
                    leaf("major", 4),
                    leaf("minor", 5),
                    leaf("revision", 0),
                ),
            ),
            element(
                "special_objects",
                element("blank_template", id=BLANK, href=href("templates", BLANK)),
                element("root_tag", id=BLANK, href=href("tags", BLANK)),
            ),
            element(
                "summary",
                element("hosts", leaf("active", len(world.hosts)), leaf("total", len(world.hosts))),
                element(
                    "storage_domains",
                    leaf("active", len(world.domains)),
                    leaf("total", len(world.domains)),
                ),
                element("users", leaf("active", 1), leaf("total", 1)),
                element("vms", leaf("active", up), leaf("total", len(world.vms))),
            ),
            leaf("time", engine.clock.now()),
            element("authenticated_user", id=USER_ID, href=href("users", USER_ID)),
            element("effective_user", id=USER_ID, href=href("users", USER_ID)),
        )
    answer = reply(root)
    answer.headers["Link"] = ", ".join(f"<{href(name)}>; rel={name}" for name in COLLECTIONS)
    return answer


@blueprint.get("/options/<name>")
def option(name: str) -> Response:
    """Of the engine's configuration only what is asked for. [read: BackendSystemOptionResource]"""
    if name != "ImageDaemonPort":
        return empty(404)
    value = element("system_option_value", leaf("value", core().data.host.port), leaf("version", "general"))
    return reply(
        element(
            "system_option", leaf("name", name), element("values", value), id=name, href=href("options", name)
        )
    )
