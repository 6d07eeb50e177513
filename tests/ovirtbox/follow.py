"""`follow=disk_attachments.disk,nics`: links of an answer are replaced by what they lead to.

A link that the model does not have, or one that cannot be followed, is no bad request: the engine breaks.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flask import Response, current_app, g, request

from ovirtbox import apimodel
from ovirtbox.faults import broken
from ovirtbox.xml import fault_reply, render

Tree = dict[str, "Tree"]


def inline_links(answer: Response) -> Response:
    """After a GET that was answered with 200: apply the `follow` of its query."""
    wanted = request.args.get("follow")
    if not wanted or request.method != "GET" or answer.status_code != 200:
        return answer
    root = ET.fromstring(answer.get_data())
    tree = _tree(wanted)
    try:
        if root.get("id") is None and root.tag.endswith("s"):
            for item in root:
                _inline(item, tree)
        else:
            _inline(root, tree)
    except _Broken:
        return fault_reply(broken())
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


class _Broken(Exception):
    """A link cannot be followed."""


def _check(entity: ET.Element, name: str) -> None:
    links, singles = apimodel.links_of(entity.tag)
    here = {_plain(child.tag): child for child in entity}
    if name in links and (name not in here or here[name].get("href")):
        return
    if name not in {_plain(single) for single in singles} or (
        name in here and not here[name].get("href") and here[name].get("id")
    ):
        raise _Broken(name)


def _inline(entity: ET.Element, tree: Tree) -> None:
    for name, deeper in tree.items():
        _check(entity, name)
        for child in list(entity):
            names = {_plain(child.get("rel", "") if child.tag == "link" else child.tag)}
            address = child.get("href")
            if name not in names or not address:
                continue
            found = _get(address)
            if found is None:
                raise _Broken(name)
            if child.tag == "link":
                for item in found:
                    _inline(item, deeper)
            else:
                _inline(found, deeper)
            entity[list(entity).index(child)] = found


def _get(address: str) -> ET.Element | None:
    answer = current_app.test_client().get(address, environ_overrides={"ovirtbox.internal": g.user})
    return ET.fromstring(answer.get_data()) if answer.status_code == 200 else None
