"""`follow=disk_attachments.disk,nics`: links of an answer are replaced by what they lead to."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flask import Response, current_app, request

from ovirtbox.xml import render

Tree = dict[str, "Tree"]


def inline_links(answer: Response) -> Response:
    """After a GET that was answered with 200: apply the `follow` of its query."""
    wanted = request.args.get("follow")
    if not wanted or request.method != "GET" or answer.status_code != 200:
        return answer
    root = ET.fromstring(answer.get_data())
    tree = _tree(wanted)
    if root.get("id") is None and root.tag.endswith("s"):
        for item in root:
            _inline(item, tree)
    else:
        _inline(root, tree)
    answer.set_data(render(root))
    return answer


def _tree(text: str) -> Tree:
    tree: Tree = {}
    for path in text.split(","):
        node = tree
        for step in path.strip().split("."):
            if step:
                node = node.setdefault(_plain(step), {})
    return tree


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _inline(entity: ET.Element, tree: Tree) -> None:
    for name, deeper in tree.items():
        for child in list(entity):
            names = {_plain(child.get("rel", "") if child.tag == "link" else child.tag)}
            address = child.get("href")
            if name not in names or not address:
                continue
            found = _get(address)
            if found is None:
                continue
            if child.tag == "link":
                for item in found:
                    _inline(item, deeper)
            else:
                _inline(found, deeper)
            entity[list(entity).index(child)] = found


def _get(address: str) -> ET.Element | None:
    answer = current_app.test_client().get(address, environ_overrides={"ovirtbox.internal": True})
    return ET.fromstring(answer.get_data()) if answer.status_code == 200 else None
