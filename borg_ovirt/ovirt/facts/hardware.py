"""What an OVF tells of a VM's virtual hardware, as far as another hypervisor can use it.

The numbers are the engine's enumerations: BiosType (written less one), VmInterfaceType, BootSequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.ovirt.facts.ovf_tree import NIC_ITEM, OVF, RASD, XSI, items, tree

_CPU, _MEMORY = "3", "4"
_BIOS = ("i440fx_sea_bios", "q35_sea_bios", "q35_ovmf", "q35_secure_boot")
_NIC_MODELS = {
    "0": "rtl8139_virtio",
    "1": "rtl8139",
    "2": "e1000",
    "3": "virtio",
    "4": "spapr_vlan",
    "5": "pci_passthrough",
    "6": "e1000e",
}
_BOOT = ("C", "DC", "N", "CDN", "CND", "DCN", "DNC", "NCD", "NDC", "CD", "D", "CN", "DN", "NC", "ND")
"""C is the bootable disk, D the CD-ROM, N the network."""
_SETTINGS = {
    "CustomEmulatedMachine": "emulated machine",
    "CustomCpuName": "CPU model",
    "CpuPinning": "CPU pinning",
    "LeaseDomainId": "lease",
    "QuotaId": "quota",
    "CustomProperties": "custom properties",
    "PredefinedProperties": "custom properties",
    "UserDefinedProperties": "custom properties",
}
"""Elements of the content that another hypervisor has no use for, and what they are."""
_MOST = 1 << 20


@dataclass(frozen=True)
class Nic:
    """A network card."""

    name: str
    network: str
    """Empty: on none."""
    mac: str | None
    model: str
    """`virtio`, `e1000`, `e1000e`, `rtl8139`, `pci_passthrough` ..."""
    linked: bool
    plugged: bool


@dataclass(frozen=True)
class Device:
    """A device that is neither disk nor network card, as the engine calls it: `video` `vga`, `tpm` `tpm`."""

    type: str
    device: str


@dataclass(frozen=True)
class Hardware:
    """A VM without its disks."""

    vm_id: str
    name: str
    description: str
    os: str
    """The engine's name of the guest's system, as `rhel_8x64`."""
    firmware: str | None
    """As REST calls it: `q35_ovmf`; None where the OVF does not tell."""
    sockets: int
    cores: int
    """Of each socket."""
    threads: int
    """Of each core."""
    memory: int
    """MiB."""
    boot: str
    """Of the letters C, D and N, the first to be tried first."""
    nics: tuple[Nic, ...]
    devices: tuple[Device, ...]
    settings: tuple[str, ...]
    """What is set besides, in words."""

    def has(self, kind: str, device: str | None = None) -> bool:
        """Whether there is such a device."""
        return any(d.type == kind and device in (None, d.device) for d in self.devices)


def read_hardware(ovf: bytes) -> Hardware:
    """Read it from an OVF of the engine's; `NotOurArchive` if it is none."""
    root = tree(ovf)
    content = root.find("Content")
    system = next(
        (s for s in root.iter("Section") if "OperatingSystemSection" in s.get(f"{{{XSI}}}type", "")), None
    )
    if content is None or system is None:
        raise NotOurArchive("The OVF describes no VM: it is not an oVirt engine's.")
    cpu = next(items(root, _CPU), None)
    memory = next(items(root, _MEMORY), None)
    boot = _number(content.findtext("default_boot_sequence"), 0, least=0)
    bios = _number(content.findtext("BiosType"), len(_BIOS), least=0)
    return Hardware(
        vm_id=system.get(f"{{{OVF}}}id") or "",
        name=content.findtext("Name") or "",
        description=content.findtext("Description") or "",
        os=system.findtext("Description") or "",
        firmware=_BIOS[bios] if bios < len(_BIOS) else None,
        sockets=_of(cpu, "num_of_sockets", 1),
        cores=_of(cpu, "cpu_per_socket", 1),
        threads=_of(cpu, "threads_per_cpu", 1),
        memory=_of(memory, "VirtualQuantity", 1024),
        boot=_BOOT[boot] if boot < len(_BOOT) else "C",
        nics=tuple(_nics(root)),
        devices=tuple(_devices(root)),
        settings=tuple(dict.fromkeys(what for tag, what in _SETTINGS.items() if content.findtext(tag))),
    )


def _nics(root: Element) -> Iterator[Nic]:
    for item in items(root, NIC_ITEM):
        yield Nic(
            name=item.findtext(f"{{{RASD}}}Name") or "",
            network=item.findtext(f"{{{RASD}}}Connection") or "",
            mac=item.findtext(f"{{{RASD}}}MACAddress") or None,
            model=_NIC_MODELS.get((item.findtext(f"{{{RASD}}}ResourceSubType") or "").strip(), "virtio"),
            linked=_flag(item.findtext(f"{{{RASD}}}Linked")),
            plugged=_flag(item.findtext("IsPlugged")),
        )


def _devices(root: Element) -> Iterator[Device]:
    for item in root.iter("Item"):
        kind, device = item.findtext("Type"), item.findtext("Device")
        if kind and device and (kind, device) != ("disk", "disk") and kind != "interface":
            yield Device(kind.strip().lower(), device.strip().lower())


def _of(item: Element | None, name: str, default: int) -> int:
    return default if item is None else _number(item.findtext(f"{{{RASD}}}{name}"), default)


def _number(text: str | None, default: int, least: int = 1) -> int:
    """A number as the engine writes it; an archive's OVF is input, so what makes no sense is the default."""
    text = (text or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return default
    number = int(text)
    return number if least <= number <= _MOST * 64 else default


def _flag(text: str | None) -> bool:
    return (text or "true").strip().lower() == "true"
