"""Bodies on the wire: build the engine's XML answers and read the client's XML requests."""

from __future__ import annotations

import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import datetime, timezone

from flask import Response, request

from ovirtbox import apimodel
from ovirtbox.faults import SYNTAX, Fault, bad_id, invalid_value, not_found

API = "/ovirt-engine/api"
XML = "application/xml;charset=UTF-8"
HTML = "text/html;charset=UTF-8"

Element = ET.Element
Content = Element | str | int | bool | None | Iterable["Content"]

_TRUE = {"true", "t", "yes", "y", "1"}
_FALSE = {"false", "f", "no", "n", "0"}


# --- answers ---------------------------------------------------------------------------------------


def word(value: str | int | bool | datetime) -> str:
    """A value as the engine writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return timestamp(value)
    return str(value)


def timestamp(when: datetime) -> str:
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def element(tag: str, *content: Content, **attributes: str | None) -> Element:
    """`element("disk", leaf("alias", "a"), [more, ...], id=..., href=...)`; None is left out everywhere."""
    made = ET.Element(tag, {name: value for name, value in attributes.items() if value is not None})
    _fill(made, content)
    return made


def _fill(parent: Element, content: Iterable[Content]) -> None:
    for item in content:
        if item is None:
            continue
        if isinstance(item, ET.Element):
            parent.append(item)
        elif isinstance(item, (str, int)):
            parent.text = (parent.text or "") + word(item)
        else:
            _fill(parent, item)


def leaf(tag: str, value: str | int | bool | datetime | None) -> Element | None:
    """`<tag>value</tag>`, or nothing for None."""
    return None if value is None else element(tag, word(value))


def href(*parts: str) -> str:
    """`href("vms", id, "backups")` -> `/ovirt-engine/api/vms/<id>/backups`."""
    return "/".join((API, *parts))


def link(rel: str, *parts: str) -> Element:
    return element("link", rel=rel, href=href(*parts))


def actions(names: Iterable[str], *parts: str) -> Element:
    return element("actions", [link(name, *parts, name) for name in names])


def ref(tag: str, identifier: str | None, *parent: str) -> Element | None:
    """`<vm id= href=/>`: a reference to another resource, with the path of its collection."""
    if identifier is None:
        return None
    return element(tag, id=identifier, href=href(*parent, identifier) if parent else None)


def render(root: Element) -> bytes:
    body: bytes = ET.tostring(root, "utf-8")
    return b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' + body


def reply(root: Element, status: int = 200) -> Response:
    return Response(render(root), status=status, content_type=XML)


def empty(status: int) -> Response:
    """An answer without a body has no content type either."""
    answer = Response(b"", status=status)
    del answer.headers["Content-Type"]
    return answer


def action_reply(*content: Content, job: str | None = None, status: str = "complete") -> Response:
    return reply(element("action", content, ref("job", job, "jobs"), leaf("status", status)))


def fault_element(fault: Fault) -> Element:
    return element("fault", leaf("detail", fault.detail), leaf("reason", fault.reason))


def fault_reply(fault: Fault) -> Response:
    if fault.empty:
        return empty(fault.status)
    if fault.html:
        page = f"<html><head><title>Error</title></head><body>{fault.status}</body></html>"
        return Response(page, status=fault.status, content_type=HTML)
    body = fault_element(fault)
    if not fault.bare:
        body = element("action", body, leaf("status", "failed"))
    return reply(body, fault.status)


# --- requests --------------------------------------------------------------------------------------


def parse_body(expected: str | None = None) -> Element:
    """The request's body. `expected` is the tag it must have.

    What is no XML, empty, or holds elements that the API's model does not know is refused alike.
    """
    if "xml" not in request.headers.get("Content-Type", ""):
        raise Fault(415, empty=True)
    raw = request.get_data()
    try:
        root = ET.fromstring(raw)
    except ET.ParseError:
        raise syntax_error() from None
    if expected is not None and root.tag != expected:
        raise Fault(500, f"java.lang.ClassCastException: class of <{root.tag}> for <{expected}>")
    if apimodel.unknown_elements(root):
        raise syntax_error()
    return root


def syntax_error() -> Fault:
    service = request.path.removeprefix(API).strip("/").split("/")[0]
    verb = {"POST": "add", "PUT": "update"}.get(request.method, request.method.lower())
    address = f"https://{request.host}/ovirt-engine/apidoc#services/{service}/methods/{verb}"
    return Fault(400, f"For correct usage, see: {address}", SYNTAX)


def find(root: Element | None, path: str) -> Element | None:
    return None if root is None else root.find(path)


def text(root: Element | None, path: str) -> str | None:
    """The text under `path`; "" for an empty element, None for a missing one."""
    found = find(root, path)
    return None if found is None else (found.text or "").strip()


def attribute(root: Element | None, path: str, name: str = "id") -> str | None:
    found = root if path == "." else find(root, path)
    return None if found is None else found.get(name)


def path_id(value: str) -> str:
    """An id of the path in lower case; a malformed one is as unknown as any other."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise not_found() from None


def guid(value: str) -> str:
    """A well-formed id in lower case, else the engine's 400."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise bad_id(value) from None


def ref_id(root: Element | None, path: str) -> str | None:
    """The checked `id` of the element at `path` ("." for the element itself)."""
    value = attribute(root, path)
    return None if not value else guid(value)


def guid_text(root: Element | None, path: str) -> str | None:
    value = text(root, path)
    return None if not value else guid(value)


def boolean(root: Element | None, path: str, default: bool | None = None) -> bool | None:
    value = text(root, path)
    if value is None or value == "":
        return default
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise invalid_value(f'Value "{value}" isn\'t a valid boolean, it should be "true" , "false", "0" or "1"')


def integer(root: Element | None, path: str) -> int | None:
    value = text(root, path)
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except ValueError:
        raise syntax_error() from None
    if number > _LONGEST:
        raise invalid_value(f"Value {value} is greater than maximum long {_LONGEST}.")
    return number


_LONGEST = (1 << 63) - 1


def choice(root: Element | None, path: str, allowed: Iterable[str]) -> str | None:
    """An enum value; anything else is the engine's 400."""
    value = text(root, path)
    if not value:
        return None
    names = list(allowed)
    if value.lower() not in names:
        known = ", ".join(f"'{name}'" for name in names)
        kind = _ENUMS.get(path.rsplit("/", 1)[-1], path.rsplit("/", 1)[-1])
        raise invalid_value(
            f"The string '{value}' isn't a valid value for the '{kind}' enumerated type."
            f" Valid values are: {known}."
        )
    return value.lower()


_ENUMS = {"format": "DiskFormat", "interface": "DiskInterface", "direction": "ImageTransferDirection"}


def query_flag(name: str, default: bool = False) -> bool:
    """A boolean of the query; present but empty is true, an invalid one is ignored."""
    value = request.args.get(name)
    if value is None:
        return default
    value = value.strip().lower()
    if value == "" or value in _TRUE:
        return True
    return False if value in _FALSE else default


def query_number(name: str) -> int | None:
    value = request.args.get(name)
    try:
        return None if value is None else int(value)
    except ValueError:
        return None
