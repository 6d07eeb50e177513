"""A domain of libvirt's made of an OVF: each kind of hardware, and what is told of the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from libvirt_host import define, open_place, valid
from unit.jobs.restore.test_restore_plan import disk, manifest, uid

from borg_ovirt.errors import NotOurArchive
from borg_ovirt.jobs.restore.libvirt import Domain, Image, make_domain
from borg_ovirt.jobs.restore.libvirt_names import os_id
from borg_ovirt.ovirt.facts.hardware import Device, Hardware, Nic, read_hardware
from borg_ovirt.repository.layout import DiskRecord

SAMPLE = (Path(__file__).parents[2] / "ovirt/facts/sample.ovf").read_bytes()
PLAIN = read_hardware(SAMPLE)


def made(
    *disks: DiskRecord,
    hardware: Hardware = PLAIN,
    networks: dict[str, str] | None = None,
    nics_off: bool = False,
    **vm: Any,
) -> Domain:
    images = [Image(d, ((Path("/r") / f"{d.id}.raw", "raw"),)) for d in disks]
    return make_domain(manifest(*disks, **vm), hardware, images, networks or {}, nics_off=nics_off)


def root(domain: Domain) -> Element:
    assert domain.blockers == []
    return ElementTree.fromstring(domain.xml)


def texts(domain: Domain, path: str, attribute: str) -> list[str | None]:
    return [element.get(attribute) for element in root(domain).iterfind(path)]


def test_the_sample_is_read() -> None:
    assert (PLAIN.sockets, PLAIN.cores, PLAIN.threads, PLAIN.memory) == (1, 2, 1, 2048)
    assert (PLAIN.os, PLAIN.firmware, PLAIN.boot) == ("rhel_8x64", "q35_sea_bios", "C")
    assert PLAIN.nics == (Nic("nic1", "ovirtmgmt", "56:6f:00:00:00:01", "virtio", True, True),)
    assert PLAIN.has("graphics", "vnc")
    with pytest.raises(NotOurArchive):
        read_hardware(b"<Envelope/>")


NICS = (
    Nic("a", "lan", "56:6f:00:00:00:01", "e1000", True, True),
    Nic("b", "", "nonsense", "pci_passthrough", True, True),
    Nic("c", "dmz", None, "virtio", False, False),
)
DEVICES = (
    Device("video", "qxl"),
    Device("graphics", "spice"),
    Device("sound", "ich9"),
    Device("sound", "sb16"),
    Device("watchdog", "i6300esb"),
    Device("rng", "virtio"),
    Device("hostdev", "pci_0000_01_00_0"),
    Device("controller", "virtio-scsi"),
    Device("disk", "cdrom"),
)
BUSES = [
    *(disk(f"s{n}") for n in range(28)),
    disk("v", interface="virtio", bootable=True, pass_discard=True),
    disk("i", interface="ide", read_only=True),
    disk("r", read_only=True),
    disk("a", interface="sata"),
    disk("p", interface="spapr_vscsi"),
    disk("off", active=False),
]


@pytest.mark.parametrize("firmware", ["i440fx_sea_bios", "q35_sea_bios", "q35_ovmf", "q35_secure_boot"])
def test_libvirt_takes_every_kind(tmp_path: Path, firmware: str) -> None:
    hardware = replace(PLAIN, nics=NICS, devices=DEVICES, boot="CDN", os="windows_2019x64", sockets=2)
    domain = made(*BUSES, hardware=hardware, networks={"lan": "default"}, bios_type=firmware)
    file = tmp_path / "domain.xml"
    file.write_bytes(domain.xml)
    valid(file)
    with open_place() as place:
        kept = define(domain.xml, place)
    assert len(kept.findall("devices/disk")) == len(BUSES)  # one is not active, and there is the drive
    assert kept.findtext("vcpu") == "4"
    secure = kept.find("os/firmware/feature[@enabled='yes']") is not None
    assert secure == (firmware == "q35_secure_boot")
    machine = "pc-i440fx" if firmware == "i440fx_sea_bios" else "pc-q35"
    assert [t.get("machine", "").startswith(machine) for t in kept.iterfind("os/type")] == [True]
    said = " ".join(domain.notes)
    for words in (
        "sound sb16",
        "hostdev pci_0000_01_00_0",
        "SPICE",
        "qxl",
        "pci_passthrough becomes virtio",
        "c was unplugged",
        "network default for lan",
        "disk i: ide cannot be read-only" if firmware == "i440fx_sea_bios" else "i: sata cannot be read-only",
        "disk off was not active",
        "spapr_vscsi becomes virtio-scsi",
        "disk lun is not in the archive: direct LUN",
    ):
        assert words in said
    assert ("no IDE" in said) == (firmware != "i440fx_sea_bios")
    assert ("UEFI variables" in said) == (firmware in ("q35_ovmf", "q35_secure_boot"))


def test_disks_keep_what_the_guest_knows_them_by() -> None:
    domain = made(*BUSES)
    assert texts(domain, "devices/disk/driver", "discard").count("unmap") == 1
    names = texts(domain, "devices/disk/target", "dev")
    assert len(set(names)) == len(names)
    assert {"sda", "sdz", "sdaa", "vda"} <= set(names)
    serials = [element.text for element in root(domain).iterfind("devices/disk/serial")]
    assert uid("s0") in serials
    read_only = root(domain).findall("devices/disk[readonly]")
    assert {element.get("device") for element in read_only} == {"cdrom", "disk"}


def test_the_boot_order_is_the_vms() -> None:
    hardware = replace(PLAIN, boot="NDC", nics=NICS)
    orders = {}
    for element in root(made(disk("a"), disk("b", bootable=True), hardware=hardware)).iterfind(
        "devices/*[boot]"
    ):
        boot = element.find("boot")
        assert boot is not None
        orders[int(boot.get("order", ""))] = element.get("device") or element.tag
    assert orders == {1: "interface", 2: "interface", 3: "interface", 4: "cdrom", 5: "disk"}


@pytest.mark.parametrize(
    ("networks", "off", "sources", "links"),
    [
        ({}, False, ["lan", "dmz"], [None, "down", "down"]),
        ({"lan": "x", "dmz": "none"}, False, ["x"], [None, "down", "down"]),
        ({}, True, ["lan", "dmz"], ["down", "down", "down"]),
    ],
)
def test_network_cards_go_where_they_are_told(
    networks: dict[str, str], off: bool, sources: list[str], links: list[str | None]
) -> None:
    domain = made(disk("a"), hardware=replace(PLAIN, nics=NICS), networks=networks, nics_off=off)
    assert texts(domain, "devices/interface/source", "network") == sources
    found = [i.find("link") for i in root(domain).iterfind("devices/interface")]
    assert [None if link is None else link.get("state") for link in found] == links
    assert texts(domain, "devices/interface/mac", "address") == ["56:6f:00:00:00:01"]


def test_a_tpm_and_the_firmware_of_the_record_are_made() -> None:
    domain = made(disk("a"), bios_type="q35_secure_boot", tpm=True)
    assert texts(domain, "devices/tpm", "model") == ["tpm-crb"]
    assert texts(domain, "os/firmware/feature", "enabled") == ["yes"]
    assert "TPM comes back empty" in " ".join(domain.notes)


def test_layers_are_named_with_their_formats() -> None:
    record = disk("a")
    files = ((Path("/r/top"), "qcow2"), (Path("/r/base"), "raw"))
    domain = make_domain(manifest(record), PLAIN, [Image(record, files)], {})
    assert texts(domain, "devices/disk/backingStore/source", "file") == ["/r/base"]
    assert texts(domain, "devices/disk/backingStore/format", "type") == ["raw"]
    assert len(root(domain).findall("devices/disk/backingStore/backingStore")) == 1


def test_what_cannot_be_is_in_the_way() -> None:
    assert "rhel_7_ppc64" in made(disk("a"), hardware=replace(PLAIN, os="rhel_7_ppc64")).blockers[0]
    record = disk("a")
    image = Image(record, ((Path("/r/\x01"), "raw"),))
    assert "another directory" in make_domain(manifest(record), PLAIN, [image], {}).blockers[0]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("rhel_8x64", "http://redhat.com/rhel/8.0"),
        ("windows_2012R2x64", "http://microsoft.com/win/2k12r2"),
        ("windows_2060x64", None),
        ("ubuntu_18_04", "http://ubuntu.com/ubuntu/18.04"),
        ("debian_9", "http://debian.org/debian/9"),
        ("other_linux", None),
    ],
)
def test_systems_have_the_names_of_libosinfo(name: str, known: str | None) -> None:
    assert os_id(name) == known
