"""/templates: Blank and those that tests made; shown, not changed."""

from __future__ import annotations

from flask import Blueprint, Response

from ovirtbox.engine import core
from ovirtbox.model import BLANK, Template
from ovirtbox.rest.lists import by_id, find_rows
from ovirtbox.rest.views import blank_template, template_version
from ovirtbox.search import Fields
from ovirtbox.xml import API, Element, element, href, leaf, link, path_id, ref, reply

blueprint = Blueprint("templates", __name__, url_prefix=API)


def _template(template: Template) -> Element:
    path = ("templates", template.id)
    return element(
        "template",
        leaf("name", template.name),
        leaf("status", template.status),
        template_version(template.id),
        leaf("creation_time", template.created),
        ref("cluster", template.cluster, "clusters"),
        link("diskattachments", *path, "diskattachments"),
        id=template.id,
        href=href(*path),
    )


def _blank() -> Element:
    return blank_template(next(iter(core().world.clusters)))


@blueprint.get("/templates")
def list_templates() -> Response:
    world = core().world

    def centers(template: Template) -> list[str]:
        """The empty template is in each. [an Ansible module finds it so]"""
        ours = world.clusters[template.cluster].data_center
        return [c.name for c in world.data_centers.values() if template.id == BLANK or c.id == ours]

    fields: Fields[Template] = Fields(
        {
            "name": lambda t: [t.name],
            "id": lambda t: [t.id],
            "status": lambda t: [t.status],
            "datacenter": centers,
            "vm.name": lambda t: [vm.name for vm in world.vms.values() if vm.template == t.id],
        },
        text=("name",),
    )
    with world.lock:
        cluster = next(iter(world.clusters))
        rows = find_rows([Template(BLANK, "Blank", cluster), *world.templates.values()], fields)
        return reply(element("templates", [_blank() if row.id == BLANK else _template(row) for row in rows]))


@blueprint.get("/templates/<identifier>")
def get_template(identifier: str) -> Response:
    if path_id(identifier) == BLANK:
        return reply(_blank())
    return reply(_template(by_id(core().world.templates, identifier)))


@blueprint.get("/templates/<identifier>/diskattachments")
def template_disks(identifier: str) -> Response:
    world = core().world
    with world.lock:
        template = world.templates.get(path_id(identifier))
        rows = [
            element(
                "disk_attachment",
                leaf("bootable", number == 0),
                leaf("interface", "virtio_scsi"),
                ref("disk", disk_id, "disks"),
                ref("template", identifier, "templates"),
                id=disk_id,
                href=href("templates", identifier, "diskattachments", disk_id),
            )
            for number, disk_id in enumerate(template.disks if template else [])
        ]
        return reply(element("disk_attachments", rows))
