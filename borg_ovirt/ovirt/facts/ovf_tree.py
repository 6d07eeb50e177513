"""The XML of an OVF: read with bounds and without DTDs, its items found, written again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as Plain
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import XMLParser

from borg_ovirt.errors import NotOurArchive

OVF = "http://schemas.dmtf.org/ovf/envelope/1/"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
RASD = _CIM + "CIM_ResourceAllocationSettingData"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
for _prefix, _uri in (
    ("ovf", OVF),
    ("rasd", RASD),
    ("vssd", _CIM + "CIM_VirtualSystemSettingData"),
    ("xsi", XSI),
):
    Plain.register_namespace(_prefix, _uri)

DISK_ITEM, NIC_ITEM = "17", "10"
_LARGEST = 32 << 20
_DEEPEST = 100
_MOST = 1 << 20
"""Elements; the OVF of a VM with a hundred snapshots has some ten thousand."""


def tree(ovf: bytes) -> Element:
    if len(ovf) > _LARGEST:
        raise NotOurArchive(f"The OVF has {len(ovf)} bytes, more than any VM needs.")
    try:
        parser = XMLParser(target=_Bounded(), forbid_dtd=True)
        parser.feed(ovf)
        root: Element = parser.close()
    except (Plain.ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise NotOurArchive(f"The OVF cannot be read: {type(error).__name__}.") from None
    return root


class _Bounded(Plain.TreeBuilder):
    """Builds a tree, but none that takes memory or depth beyond what an OVF has."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._count = 0

    def start(self, tag: str, attrs: dict[Any, Any], /) -> Element:
        self._depth += 1
        self._count += 1
        if self._depth > _DEEPEST or self._count > _MOST:
            raise ValueError("an OVF beyond all bounds")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def items(root: Element, kind: str) -> Iterator[Element]:
    for item in root.iter("Item"):
        if item.findtext(f"{{{RASD}}}ResourceType") == kind:
            yield item


def written(root: Element) -> bytes:
    text: str = Plain.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


def set_text(parent: Element, tag: str, text: str) -> None:
    found = parent.find(tag)
    if found is None:
        found = Plain.SubElement(parent, tag)
    found.text = text
