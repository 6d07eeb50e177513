"""The OVF reader: as strict about what must be there as the engine's, and as careless about the rest."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from ovirtbox.model import BLANK
from ovirtbox.ovf import BIOS_TYPES

OVF = "{http://schemas.dmtf.org/ovf/envelope/1/}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"

_INTERFACES = {
    "virtio": "virtio",
    "virtio_scsi": "virtio_scsi",
    "ide": "ide",
    "sata": "sata",
    "spapr_vscsi": "spapr_vscsi",
}


class BadOvf(Exception):
    """The text is no OVF that the engine can read."""


@dataclass
class OvfDisk:
    """A disk as the import attaches it: its id, and how it was attached."""

    id: str
    alias: str
    interface: str = "ide"
    bootable: bool = False
    read_only: bool = False
    pass_discard: bool = False
    layers: list[str] = field(default_factory=list)


@dataclass
class OvfNic:
    id: str
    name: str
    network: str
    mac: str
    profile: str = ""
    plugged: bool = True
    linked: bool = True


@dataclass
class OvfVm:
    id: str
    name: str
    description: str
    memory: int
    cores: int
    bios_type: str
    os: str
    level: tuple[int, int] | None
    delete_protected: bool = False
    tpm: bool = False
    disks: list[OvfDisk] = field(default_factory=list)
    nics: list[OvfNic] = field(default_factory=list)
    snapshots: int = 0
    properties: dict[str, str] = field(default_factory=dict)
    devices: list[tuple[str, str, str]] = field(default_factory=list)


PROPERTIES = (
    "LeaseDomainId",
    "CustomEmulatedMachine",
    "CustomCpuName",
    "MultiQueuesEnabled",
    "VirtioScsiMultiQueuesEnabled",
    "UserDefinedProperties",
)
"""What an import takes over of the rest of the content; quota, labels and template are left behind."""
DEVICES = ("rng", "watchdog", "balloon", "sound")


def read(text: str) -> OvfVm:
    """References, networks, disks, content: in the order in which the engine reads them."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise BadOvf("Error loading ovf, message Content is not allowed in prolog.") from error
    if root.tag not in (f"{OVF}Envelope", "Envelope"):
        raise BadOvf("Error loading ovf, message the root is no Envelope")
    files = _read_references(root)
    disks = _read_disks(root, files)
    content = root.find("Content")
    if content is None:
        raise BadOvf(
            "OVF error: [empty name]: cannot read 'name' with value: Cannot invoke"
            ' "org.ovirt.engine.core.utils.ovf.xml.XmlNode.selectSingleNode(String)" because "node" is null'
        )
    return _read_content(content, disks)


def _unreadable(name: str, path: str, value: str | None = None) -> BadOvf:
    return BadOvf(f"OVF error: {name}: cannot read '{path}' with value: {value or 'null'}")


def _attribute(element: ET.Element, name: str, where: str) -> str:
    value = element.get(f"{OVF}{name}")
    if value is None:
        raise _unreadable(where, f"{element.tag}/@ovf:{name}")
    return value


def _child(element: ET.Element, name: str, where: str) -> str:
    found = element.find(name)
    if found is None:
        raise _unreadable(where, name.replace(RASD, "rasd:"))
    return (found.text or "").strip()


def _optional(element: ET.Element, name: str, default: str = "") -> str:
    found = element.find(name)
    return default if found is None else (found.text or "").strip()


def _read_references(root: ET.Element) -> dict[str, str]:
    """File id (image id) -> disk id."""
    files = {}
    for file in root.iterfind("References/File"):
        href = _attribute(file, "href", "References")
        identifier = _attribute(file, "id", "References")
        _attribute(file, "description", "References")
        files[identifier] = href.split("/")[0]
    return files


def _read_disks(root: ET.Element, files: dict[str, str]) -> dict[str, OvfDisk]:
    """Image id -> what is said of its disk."""
    disks: dict[str, OvfDisk] = {}
    for section in root.iterfind("Section"):
        if section.get(f"{XSI}type") != "ovf:DiskSection_Type":
            continue
        for element in section.iterfind("Disk"):
            image_id = _attribute(element, "diskId", "Disk")
            interface = (element.get(f"{OVF}disk-interface") or "IDE").lower()
            if interface not in _INTERFACES:
                raise _unreadable("Disk", "@ovf:disk-interface", interface)
            disks[image_id] = OvfDisk(
                id=files.get(image_id, image_id),
                alias=element.get(f"{OVF}disk-alias", ""),
                interface=interface,
                bootable=_flag(element, "boot"),
                read_only=_flag(element, "read-only"),
                pass_discard=_flag(element, "pass-discard"),
            )
    return disks


def _flag(element: ET.Element, name: str) -> bool:
    return (element.get(f"{OVF}{name}") or "").lower() == "true"


def _read_content(content: ET.Element, disks: dict[str, OvfDisk]) -> OvfVm:
    identifier, os_name = "", ""
    hardware: ET.Element | None = None
    snapshots = 0
    for section in content.iterfind("Section"):
        kind = section.get(f"{XSI}type")
        if kind is None:
            raise _unreadable(_optional(content, "Name"), "Content/Section/@xsi:type")
        if kind == "ovf:OperatingSystemSection_Type":
            identifier = _attribute(section, "id", "Section")
            os_name = _optional(section, "Description")
        elif kind == "ovf:VirtualHardwareSection_Type":
            hardware = section
        elif kind == "ovf:SnapshotsSection_Type":
            snapshots = _read_snapshots(section)
    name = _optional(content, "Name")
    level = _optional(content, "CustomCompatibilityVersion")
    bios = _number(name, "BiosType", _optional(content, "BiosType", "0") or "0")
    vm = OvfVm(
        id=identifier,
        name=name,
        description=_optional(content, "Description"),
        memory=1 << 30,
        cores=1,
        bios_type=next((k for k, v in BIOS_TYPES.items() if v == bios), "i440fx_sea_bios"),
        os=os_name,
        level=_version(level),
        delete_protected=_optional(content, "DeleteProtected") == "true",
        snapshots=snapshots,
    )
    vm.properties = {tag: text for tag in PROPERTIES if (text := _optional(content, tag))}
    if hardware is not None:
        for item in hardware.iterfind("Item"):
            _read_item(vm, item, disks)
    return vm


def _number(vm: str, field_name: str, text: str) -> int:
    if not text.isdigit():
        raise BadOvf(f"OVF error: {vm}: cannot read '{field_name}' with value: For input string: \"{text}\"")
    return int(text)


def _version(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def _read_snapshots(section: ET.Element) -> int:
    count = 0
    for snapshot in section.iterfind("Snapshot"):
        _attribute(snapshot, "id", "Snapshot")
        for name in ("Type", "Description", "CreationDate"):
            _child(snapshot, name, "Snapshot")
        count += 1
    return count


def _read_item(vm: OvfVm, item: ET.Element, disks: dict[str, OvfDisk]) -> None:
    resource = _child(item, f"{RASD}ResourceType", vm.name)
    if resource == "3":
        per_socket = int(_optional(item, f"{RASD}cpu_per_socket", "1") or 1)
        vm.cores = per_socket * int(_optional(item, f"{RASD}num_of_sockets", "1") or 1)
    elif resource == "4":
        vm.memory = int(_child(item, f"{RASD}VirtualQuantity", vm.name)) << 20
    elif resource == "17":
        _read_drive(vm, item, disks)
    elif resource == "10":
        _read_nic(vm, item)
    elif resource == "0" and _optional(item, "Device") == "tpm":
        vm.tpm = True
    elif resource == "0" and _optional(item, "Type") in DEVICES:
        found = item.find("SpecParams")
        said = "" if found is None else "".join(ET.tostring(child, "unicode") for child in found)
        vm.devices.append((_optional(item, "Type"), _optional(item, "Device"), said))


def _read_drive(vm: OvfVm, item: ET.Element, disks: dict[str, OvfDisk]) -> None:
    image_id = _child(item, f"{RASD}InstanceId", vm.name)
    resource = _child(item, f"{RASD}HostResource", vm.name)
    _child(item, f"{RASD}Parent", vm.name)
    said = disks.get(image_id)
    if said is None:
        raise _unreadable(vm.name, "rasd:InstanceId", image_id)
    disk_id = resource.split("/")[0] or said.id or BLANK
    known = next((disk for disk in vm.disks if disk.id == disk_id), None)
    if known is None:
        said.id = disk_id
        said.alias = said.alias or _optional(item, f"{RASD}Caption")
        said.layers.append(image_id)
        vm.disks.append(said)
    else:
        known.layers.append(image_id)


def _read_nic(vm: OvfVm, item: ET.Element) -> None:
    identifier = item.find(f"{RASD}InstanceId")
    if identifier is None:
        identifier = item.find(f"{RASD}InstanceID")
    if identifier is None:
        raise _unreadable(vm.name, "rasd:InstanceId")
    vm.nics.append(
        OvfNic(
            id=(identifier.text or "").strip(),
            name=_optional(item, f"{RASD}Name", f"nic{len(vm.nics) + 1}"),
            network=_child(item, f"{RASD}Connection", vm.name),
            mac=_optional(item, f"{RASD}MACAddress"),
            profile=_optional(item, f"{RASD}OtherResourceType"),
            plugged=_optional(item, "IsPlugged", "true") == "true",
            linked=_optional(item, f"{RASD}Linked", "true") == "true",
        )
    )
