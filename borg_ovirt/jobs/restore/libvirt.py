"""A libvirt domain made of an archive: the VM for a hypervisor that knows nothing of oVirt. Pure.

Written for libvirt 7 and newer on x86_64 (formatdomain.html); machine type and firmware are named by kind, so
that each host takes the ones it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from xml.etree import ElementTree as Plain
from xml.etree.ElementTree import Element, SubElement

from borg_ovirt.jobs.restore.libvirt_names import os_id
from borg_ovirt.jobs.restore.options import NONE
from borg_ovirt.ovirt.facts.hardware import Hardware, Nic
from borg_ovirt.repository.layout import DiskRecord, Manifest

_INFO = "http://libosinfo.org/xmlns/libvirt/domain/1.0"
Plain.register_namespace("libosinfo", _INFO)
_MAC = re.compile(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_NIC_MODELS = {"virtio", "e1000", "e1000e", "rtl8139"}
_SOUNDS = {"ich6", "ich9", "ac97"}
_MADE_AGAIN = {
    *("controller", "disk", "balloon", "channel", "console"),
    *("rng", "tpm", "video", "graphics", "watchdog"),
}
"""Types of devices that have a counterpart, or come by themselves."""


@dataclass(frozen=True)
class Image:
    """A disk's files as they lie, the active one first, each with its format in QEMU's words."""

    disk: DiskRecord
    files: tuple[tuple[Path, str], ...]


@dataclass
class Domain:
    """The XML, and what became otherwise."""

    xml: bytes = b""
    notes: list[str] = field(default_factory=list)
    """What has no counterpart, or another one."""
    blockers: list[str] = field(default_factory=list)


def make_domain(
    manifest: Manifest,
    hardware: Hardware,
    images: Sequence[Image],
    networks: Mapping[str, str],
    *,
    nics_off: bool = False,
) -> Domain:
    """The domain whose disks are these images. `networks`: archived network -> libvirt network or `none`."""
    made = _Maker(manifest, hardware, networks, nics_off)
    for image in images:
        for path, _ in image.files:
            if not str(path).isprintable():
                made.out.blockers.append(f"XML cannot name {str(path)!r}: choose another directory")
    if "ppc" in hardware.os or "s390" in hardware.os:
        made.out.blockers.append(f"--as libvirt makes x86_64 machines; this one is {hardware.os}")
    if made.out.blockers:
        return made.out
    root = made.domain(images)
    Plain.indent(root)
    made.out.xml = Plain.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"
    return made.out


class _Maker:
    def __init__(
        self, manifest: Manifest, hardware: Hardware, networks: Mapping[str, str], nics_off: bool
    ) -> None:
        self.out = Domain()
        self._manifest = manifest
        self._hardware = hardware
        self._networks = networks
        self._nics_off = nics_off
        self._firmware = manifest.vm.bios_type or ""
        if self._firmware not in ("i440fx_sea_bios", "q35_sea_bios", "q35_ovmf", "q35_secure_boot"):
            self._firmware = hardware.firmware or "q35_sea_bios"  # `cluster_default` tells nothing
        self._windows = hardware.os.startswith("windows")
        self._bootable: list[Element] = []
        self._names = {"vd": count(), "sd": count(), "hd": count()}

    def note(self, text: str) -> None:
        self.out.notes.append(text)

    def domain(self, images: Sequence[Image]) -> Element:
        vm, hardware = self._manifest.vm, self._hardware
        root = Element("domain", type="kvm")
        _add(root, "name", hardware.name or vm.name)
        _add(root, "uuid", vm.id)
        self._system_info(root)
        if hardware.description.strip():
            _add(root, "description", hardware.description)
        _add(root, "memory", str(hardware.memory), unit="MiB")
        _add(root, "vcpu", str(hardware.sockets * hardware.cores * hardware.threads))
        self._boot_and_cpu(root)
        _add(root, "on_poweroff", "destroy")
        _add(root, "on_reboot", "restart")
        _add(root, "on_crash", "destroy")
        devices = _add(root, "devices")
        self._disks(devices, images)
        for nic in hardware.nics:
            self._nic(devices, nic)
        self._boot_order(devices)
        self._others(devices)
        self._left_out()
        return root

    def _system_info(self, root: Element) -> None:
        known = os_id(self._hardware.os)
        if known is not None:
            info = _add(_add(root, "metadata"), f"{{{_INFO}}}libosinfo")
            _add(info, f"{{{_INFO}}}os", id=known)

    def _boot_and_cpu(self, root: Element) -> None:
        efi = self._firmware in ("q35_ovmf", "q35_secure_boot")
        secure = self._firmware == "q35_secure_boot"
        system = _add(root, "os")
        if efi:
            system.set("firmware", "efi")
        machine = "pc" if self._firmware == "i440fx_sea_bios" else "q35"
        _add(system, "type", "hvm", arch="x86_64", machine=machine)
        if efi:
            firmware = _add(system, "firmware")
            _add(firmware, "feature", enabled="yes" if secure else "no", name="secure-boot")
            self.note("UEFI variables are not in the archive: the guest boots by its loader's fallback path")
        features = _add(root, "features")
        _add(features, "acpi")
        _add(features, "apic")
        if self._windows:
            hyperv = _add(features, "hyperv")
            _add(hyperv, "relaxed", state="on")
            _add(hyperv, "vapic", state="on")
            _add(hyperv, "spinlocks", state="on", retries="8191")
        if secure:
            _add(features, "smm", state="on")
        hardware = self._hardware
        cpu = _add(root, "cpu", mode="host-model")
        _add(
            cpu,
            "topology",
            sockets=str(hardware.sockets),
            cores=str(hardware.cores),
            threads=str(hardware.threads),
        )
        _add(root, "clock", offset="localtime" if self._windows else "utc")

    # Disks

    def _disks(self, devices: Element, images: Sequence[Image]) -> None:
        units = count()
        for image in images:
            record = image.disk
            if not record.active:
                self.note(f"disk {record.alias or record.id} was not active: its file is there, unused")
                continue
            path, form = image.files[0]
            disk = _add(devices, "disk", type="file", device="disk")
            driver = _add(disk, "driver", name="qemu", type=form)
            if record.pass_discard:
                driver.set("discard", "unmap")
            _add(disk, "source", file=str(path.absolute()))
            _below(disk, image.files[1:])
            bus = self._bus(record)
            _add(disk, "target", dev=self._name(bus), bus=bus)
            if bus == "scsi":
                unit = str(next(units))
                _add(disk, "address", type="drive", controller="0", bus="0", target="0", unit=unit)
            _add(disk, "serial", record.id)
            if record.read_only and bus in ("ide", "sata"):
                self.note(f"disk {record.alias or record.id}: {bus} cannot be read-only, it can be written")
            elif record.read_only:
                _add(disk, "readonly")
            if record.bootable:
                self._bootable.append(disk)
        if next(units):
            _add(devices, "controller", type="scsi", index="0", model="virtio-scsi")
        drive = _add(devices, "disk", type="file", device="cdrom")
        _add(drive, "driver", name="qemu", type="raw")
        bus = "ide" if self._firmware == "i440fx_sea_bios" else "sata"
        _add(drive, "target", dev=self._name(bus), bus=bus)
        _add(drive, "readonly")

    def _bus(self, record: DiskRecord) -> str:
        name = record.alias or record.id
        bus = {"virtio": "virtio", "virtio_scsi": "scsi", "ide": "ide", "sata": "sata"}.get(
            record.interface or "virtio_scsi"
        )
        if bus is None:
            self.note(f"disk {name}: {record.interface} becomes virtio-scsi")
            return "scsi"
        if bus == "ide" and self._firmware != "i440fx_sea_bios":
            self.note(f"disk {name}: this machine type has no IDE, it becomes SATA")
            return "sata"
        return bus

    def _name(self, bus: str) -> str:
        prefix = {"virtio": "vd", "ide": "hd"}.get(bus, "sd")
        return prefix + _letters(next(self._names[prefix]))

    # The rest

    def _nic(self, devices: Element, nic: Nic) -> None:
        name = nic.name or nic.mac or "a network card"
        wanted = self._networks.get(nic.network, nic.network)
        on = bool(nic.network) and wanted != NONE
        interface = _add(devices, "interface", type="network" if on else "user")
        if nic.mac and _MAC.fullmatch(nic.mac):
            _add(interface, "mac", address=nic.mac)
        if on:
            _add(interface, "source", network=wanted)
            told = f"network {wanted}" if wanted == nic.network else f"network {wanted} for {nic.network}"
            self.note(f"{name} ({nic.mac or 'a new MAC'}) expects the libvirt {told}")
        model = nic.model if nic.model in _NIC_MODELS else "virtio"
        if model != nic.model:
            self.note(f"{name}: {nic.model} becomes {model}")
        _add(interface, "model", type=model)
        if self._nics_off or not (on and nic.linked and nic.plugged):
            _add(interface, "link", state="down")
            if not nic.plugged:
                self.note(f"{name} was unplugged: it comes with its link down")

    def _boot_order(self, devices: Element) -> None:
        """In the order of the VM's boot sequence; libvirt wants each number once."""
        order = count(1)
        found = {
            "C": self._bootable,
            "D": [disk for disk in devices.findall("disk") if disk.get("device") == "cdrom"],
            "N": devices.findall("interface"),
        }
        for letter in self._hardware.boot:
            for element in found[letter]:
                _add(element, "boot", order=str(next(order)))

    def _others(self, devices: Element) -> None:
        hardware = self._hardware
        _add(devices, "controller", type="usb", model="qemu-xhci")
        _add(_add(devices, "serial", type="pty"), "target", port="0")
        _add(_add(devices, "console", type="pty"), "target", type="serial", port="0")
        agent = _add(devices, "channel", type="unix")
        _add(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
        if hardware.has("graphics") or hardware.has("video"):
            _add(devices, "input", type="tablet", bus="usb")
            _add(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
            kind = next((d.device for d in hardware.devices if d.type == "video"), "vga")
            if hardware.has("graphics", "spice") and not hardware.has("graphics", "vnc"):
                self.note("the SPICE display becomes VNC")
            if kind not in ("vga", "cirrus", "bochs"):
                self.note(f"the {kind} video card becomes vga")
                kind = "vga"
            _add(_add(devices, "video"), "model", type=kind)
        for device in hardware.devices:
            if device.type == "sound" and device.device in _SOUNDS:
                _add(devices, "sound", model=device.device)
        if self._manifest.vm.tpm or hardware.has("tpm"):
            tpm = _add(devices, "tpm", model="tpm-crb")
            _add(tpm, "backend", type="emulator", version="2.0")
            self.note("the TPM comes back empty: have the recovery keys of what it protected at hand")
        if hardware.has("watchdog"):
            _add(devices, "watchdog", model="i6300esb", action="none")
            self.note("the watchdog does nothing when it fires, until its action is set")
        if hardware.has("rng"):
            rng = _add(devices, "rng", model="virtio")
            _add(rng, "backend", "/dev/urandom", model="random")
        _add(devices, "memballoon", model="virtio")

    def _left_out(self) -> None:
        devices = self._hardware.devices
        lost = {
            d for d in devices if d.type not in _MADE_AGAIN and (d.type != "sound" or d.device not in _SOUNDS)
        }
        for what in (*self._hardware.settings, *sorted(f"{d.type} {d.device}" for d in lost)):
            self.note(f"no counterpart here: {what}")
        for skipped in self._manifest.skipped:
            self.note(f"disk {skipped.alias or skipped.id} is not in the archive: {skipped.reason}")


def _below(disk: Element, files: Sequence[tuple[Path, str]]) -> None:
    """The layers under an image: libvirt guesses no format, and the headers tell none."""
    place = disk
    for path, form in files:
        place = _add(place, "backingStore", type="file")
        _add(place, "format", type=form)
        _add(place, "source", file=str(path.absolute()))
    _add(place, "backingStore")


def _letters(number: int) -> str:
    """a, b ... z, aa ..."""

    def digits(rest: int) -> Iterator[str]:
        while rest >= 0:
            yield chr(ord("a") + rest % 26)
            rest = rest // 26 - 1

    return "".join(reversed(list(digits(number))))


def _add(parent: Element, tag: str, text: str | None = None, **attributes: str) -> Element:
    element = SubElement(parent, tag, attributes)
    element.text = text
    return element
