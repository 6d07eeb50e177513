"""The engine's OVF of a VM: read with care, and rewritten for a VM beside the original.

An OVF out of an archive is input like any other: no DTD and no entity is accepted. The ids of VM, disks,
layers, snapshots and network cards stand in many places (file references, items, device aliases, stored
configurations of snapshots), so they are replaced wherever they stand; only what people wrote is left alone.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.ovirt.facts.ovf_tree import (
    DISK_ITEM,
    NIC_ITEM,
    OVF,
    RASD,
    XSI,
    items,
    set_text,
    tree,
    written,
)

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_PROSE = {"Name", "Description", "Comment", "Info", f"{{{RASD}}}Caption", f"{{{RASD}}}Description"}
_NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True)
class OvfLayer:
    """One layer of one disk."""

    disk_id: str
    image_id: str
    parent: str | None
    """Image id of the layer below, from the item: the disk section's `parentRef` is always wrong."""
    snapshot_id: str | None
    alias: str
    format: str
    """`cow` or `raw`."""


@dataclass(frozen=True)
class OvfNic:
    id: str
    name: str
    network: str
    mac: str | None
    profile: str = ""
    """Name of its vNIC profile."""
    plugged: bool = True
    linked: bool = True


@dataclass(frozen=True)
class NicChange:
    """What a card is to be instead; None leaves it as it is."""

    network: str | None = None
    profile: str | None = None
    new_mac: bool = False
    """Its address is dropped: the engine gives one of its pool."""
    linked: bool | None = None


@dataclass(frozen=True)
class OvfSnapshot:
    id: str
    type: str
    """`REGULAR`, `ACTIVE`, `PREVIEW` ..."""
    description: str
    configuration: bytes | None = None
    """The OVF of the VM as of the snapshot: one layer for each disk that the snapshot covers."""


@dataclass(frozen=True)
class OvfFacts:
    """What an OVF tells that somebody asks for."""

    vm_id: str
    name: str
    layers: tuple[OvfLayer, ...]
    nics: tuple[OvfNic, ...]
    snapshots: tuple[OvfSnapshot, ...]
    delete_protected: bool = False

    @property
    def disk_ids(self) -> tuple[str, ...]:
        """The disks, each once, in the order of the document."""
        return tuple(dict.fromkeys(layer.disk_id for layer in self.layers))


def parse(ovf: bytes) -> OvfFacts:
    """Read an OVF of the engine's; `NotOurArchive` if it is none."""
    root = tree(ovf)
    content = root.find("Content")
    if content is None:
        raise NotOurArchive("The OVF has no content section: it is not an oVirt engine's.")
    system = next(
        (s for s in content.findall("Section") if "OperatingSystemSection" in s.get(f"{{{XSI}}}type", "")),
        None,
    )
    vm_id = system.get(f"{{{OVF}}}id") if system is not None else None
    if not vm_id:
        raise NotOurArchive("The OVF names no VM: it is not an oVirt engine's.")
    return OvfFacts(
        vm_id=vm_id,
        name=content.findtext("Name") or "",
        layers=tuple(_layers(root)),
        nics=tuple(_nics(root)),
        snapshots=tuple(_snapshots(root)),
        delete_protected=(content.findtext("DeleteProtected") or "").strip().lower() == "true",
    )


def rewrite(
    ovf: bytes,
    ids: Mapping[str, str],
    *,
    name: str | None = None,
    fresh: bool = False,
    nics: Mapping[str, NicChange] | None = None,
    keep_disks: Collection[str] | None = None,
    without_nics: bool = False,
) -> bytes:
    """The OVF of another VM: `ids` (old to new) replaced everywhere.

    `fresh`: ids that `ids` does not name (network cards, snapshots, other layers) become new ones.
    `nics`: what changes of each network card, by its archived id; unless told, those of a fresh VM get new
    addresses. `without_nics`: it gets none. `keep_disks`: leave out every disk whose id, old or new, is not
    among these. Delete protection
    is left out: what an import makes must be removable until it is whole.
    """
    facts = parse(ovf)
    root = tree(ovf)
    if keep_disks is not None:
        _drop_disks(root, {ids.get(disk_id, disk_id) for disk_id in keep_disks}, ids)
    if without_nics:
        _drop_nics(root)
    mapping = dict(ids)
    if nics is None:
        nics = {nic.id: NicChange(new_mac=True) for nic in facts.nics} if fresh else {}
    _change_nics(root, nics)
    if fresh:
        for old in _own_ids(facts):
            mapping.setdefault(old, str(uuid.uuid4()))
    _replace(root, mapping)
    content = root.find("Content")
    if name is not None and content is not None:
        set_text(content, "Name", name)
    if facts.delete_protected and content is not None:
        set_text(content, "DeleteProtected", "false")
    return written(root)


def _layers(root: Element) -> Iterator[OvfLayer]:
    disks = {d.get(f"{{{OVF}}}diskId"): d for d in root.iter("Disk")}
    for item in items(root, DISK_ITEM):
        image = item.findtext(f"{{{RASD}}}InstanceId") or ""
        resource = item.findtext(f"{{{RASD}}}HostResource") or image
        parent = item.findtext(f"{{{RASD}}}Parent") or _NOBODY
        disk = disks.get(image)
        yield OvfLayer(
            disk_id=resource.split("/")[0],
            image_id=image,
            parent=None if parent == _NOBODY else parent,
            snapshot_id=disk.get(f"{{{OVF}}}vm_snapshot_id") if disk is not None else None,
            alias=item.findtext(f"{{{RASD}}}Caption") or "",
            format="raw" if disk is not None and disk.get(f"{{{OVF}}}volume-format") == "RAW" else "cow",
        )


def _nics(root: Element) -> Iterator[OvfNic]:
    for item in items(root, NIC_ITEM):
        yield OvfNic(
            id=_nic_id(item),
            name=item.findtext(f"{{{RASD}}}Name") or "",
            network=item.findtext(f"{{{RASD}}}Connection") or "",
            mac=item.findtext(f"{{{RASD}}}MACAddress") or None,
            profile=item.findtext(f"{{{RASD}}}OtherResourceType") or "",
            plugged=(item.findtext("IsPlugged") or "true").strip().lower() == "true",
            linked=(item.findtext(f"{{{RASD}}}Linked") or "true").strip().lower() == "true",
        )


def _nic_id(item: Element) -> str:
    return item.findtext(f"{{{RASD}}}InstanceId") or item.findtext(f"{{{RASD}}}InstanceID") or ""


def _snapshots(root: Element) -> Iterator[OvfSnapshot]:
    for snapshot in root.iter("Snapshot"):
        yield OvfSnapshot(
            id=snapshot.get(f"{{{OVF}}}id") or "",
            type=snapshot.findtext("Type") or "",
            description=snapshot.findtext("Description") or "",
            configuration=_decoded(snapshot.findtext("VmConfiguration") or ""),
        )


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) or None
    except binascii.Error:
        return None


def _own_ids(facts: OvfFacts) -> Iterator[str]:
    """The ids that must not be used twice in one engine."""
    yield facts.vm_id
    for layer in facts.layers:
        yield layer.disk_id
        yield layer.image_id
        if layer.snapshot_id:
            yield layer.snapshot_id
    yield from (nic.id for nic in facts.nics if nic.id)
    yield from (snapshot.id for snapshot in facts.snapshots if snapshot.id)


def _drop_disks(root: Element, keep: set[str], ids: Mapping[str, str]) -> None:
    def dropped(reference: str | None) -> bool:
        disk_id = (reference or "").split("/")[0]
        return ids.get(disk_id, disk_id) not in keep

    for parent in list(root.iter()):
        for child in list(parent):
            gone = (
                (child.tag == "File" and dropped(child.get(f"{{{OVF}}}href")))
                or (child.tag == "Disk" and dropped(child.get(f"{{{OVF}}}fileRef")))
                or (
                    child.tag == "Item"
                    and child.findtext(f"{{{RASD}}}ResourceType") == DISK_ITEM
                    and dropped(child.findtext(f"{{{RASD}}}HostResource"))
                )
            )
            if gone:
                parent.remove(child)


def _drop_nics(root: Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "Item" and child.findtext(f"{{{RASD}}}ResourceType") == NIC_ITEM:
                parent.remove(child)


def _change_nics(root: Element, changes: Mapping[str, NicChange]) -> None:
    for item in items(root, NIC_ITEM):
        change = changes.get(_nic_id(item))
        if change is None:
            continue
        if change.network is not None:
            set_text(item, f"{{{RASD}}}Connection", change.network)
            set_text(item, f"{{{RASD}}}OtherResourceType", change.profile or "")
        if change.linked is not None:
            set_text(item, f"{{{RASD}}}Linked", "true" if change.linked else "false")
        for mac in item.findall(f"{{{RASD}}}MACAddress") if change.new_mac else ():
            item.remove(mac)


def _replace(root: Element, ids: Mapping[str, str]) -> None:
    """Every id of `ids` in every attribute and text, but not in what people wrote."""

    def new(match: re.Match[str]) -> str:
        return ids.get(match[0].lower(), match[0])

    for element in root.iter():
        for key, value in element.attrib.items():
            if not key.endswith(("disk-alias", "description")):
                element.set(key, _ID.sub(new, value))
        if element.tag == "VmConfiguration":
            element.text = _stored(element.text or "", ids)
        elif element.text and element.tag not in _PROSE:
            element.text = _ID.sub(new, element.text)


def _stored(text: str, ids: Mapping[str, str]) -> str:
    """The configuration that a snapshot keeps: an OVF of its own, in base64."""
    stored = _decoded(text)
    if stored is None:
        return text
    try:
        root = tree(stored)
    except NotOurArchive:
        return text
    _replace(root, ids)
    return base64.b64encode(written(root)).decode("ascii")
