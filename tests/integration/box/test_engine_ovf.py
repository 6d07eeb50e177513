"""The OVF: written as a real engine does, traps included, and read as strictly."""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

import ovirtsdk4 as sdk
import ovirtsdk4.types as types
import pytest
from ovirtbox.box import GIB, MIB, Box, DiskSpec
from ovirtbox.model import Vm
from rest_client import Call

OVF = "{http://schemas.dmtf.org/ovf/envelope/1/}"
RASD = "{http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData}"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"


def ovf_of(api: sdk.services.SystemService, vm: Vm) -> str:
    found = api.vms_service().vm_service(vm.id).get(all_content=True)
    data: str = found.initialization.configuration.data
    return data


@pytest.fixture(scope="module")
def chained(box: Box) -> Vm:
    """As in the sample of a real engine: a chain of three layers, and a raw disk of 1.5 GiB."""
    vm = box.make_vm("chained", [DiskSpec(6 * GIB, bootable=True)], running=False, description="<&>")
    box.snapshot(vm, "before upgrade")
    box.snapshot(vm, "after upgrade")
    box.add_disk(vm, DiskSpec(GIB + GIB // 2, format="raw", sparse=False))
    return vm


def test_the_document(box: Box, api: sdk.services.SystemService, chained: Vm) -> None:
    text = ovf_of(api, chained)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?><ovf:Envelope ')
    assert "\n" not in text
    root = ET.fromstring(text)
    assert root.tag == f"{OVF}Envelope"
    assert [child.tag for child in root] == ["References", "NetworkSection", "Section", "Content"]
    first, second = box.disks(chained)
    newest_first = [layer.image_id for layer in reversed(first.layers)] + [second.active.image_id]
    files = root.findall("References/File")
    assert [file.get(f"{OVF}id") for file in files] == newest_first
    assert files[0].get(f"{OVF}href") == f"{first.id}/{first.active.image_id}"
    kinds = [section.get(f"{XSI}type") for section in root.findall("Content/Section")]
    assert kinds == [
        "ovf:OperatingSystemSection_Type",
        "ovf:VirtualHardwareSection_Type",
        "ovf:SnapshotsSection_Type",
    ]
    assert root.findall("Content/Section")[0].get(f"{OVF}id") == chained.id
    assert root.findtext("Content/Description") == "<&>"


def test_its_traps(box: Box, api: sdk.services.SystemService, chained: Vm) -> None:
    root = ET.fromstring(ovf_of(api, chained))
    first, second = box.disks(chained)
    disks = {disk.get(f"{OVF}diskId"): disk for disk in root.findall("Section/Disk")}
    leaf = f"{first.id}/{first.active.image_id}"
    base, middle, active = (layer.image_id for layer in first.layers)
    assert disks[base].get(f"{OVF}parentRef") == ""
    assert disks[middle].get(f"{OVF}parentRef") == leaf
    assert disks[active].get(f"{OVF}parentRef") == leaf
    assert disks[second.active.image_id].get(f"{OVF}size") == "2"
    assert disks[base].get(f"{OVF}size") == "6"
    items = {
        item.findtext(f"{RASD}InstanceId"): item
        for item in root.iter("Item")
        if item.findtext(f"{RASD}ResourceType") == "17"
    }
    parents = [items[i].findtext(f"{RASD}Parent") for i in (base, middle, active)]
    assert parents == ["00000000-0000-0000-0000-000000000000", base, middle]
    owners = [disks[i].get(f"{OVF}vm_snapshot_id") for i in (base, middle, active)]
    assert owners == [snapshot.id for snapshot in chained.snapshots]
    assert disks[second.active.image_id].get(f"{OVF}vm_snapshot_id") == chained.active_snapshot.id
    shown = root.findall("Content/Section/Snapshot")
    assert [s.findtext("Type") for s in shown] == ["REGULAR", "REGULAR", "ACTIVE"]
    assert [s.find("VmConfiguration") is not None for s in shown] == [True, True, False]


def test_no_ovf_while_locked(box: Box, api: sdk.services.SystemService, chained: Vm) -> None:
    service = api.vms_service().vm_service(chained.id)
    disk = box.disks(chained)[1]
    disk.active.status = "locked"
    assert service.get(all_content=True).initialization is None
    disk.active.status = "ok"
    box.disks(chained)[0].layers[0].status = "locked"
    assert service.get(all_content=True).initialization is not None
    box.disks(chained)[0].layers[0].status = "ok"
    chained.status = "image_locked"
    assert service.get(all_content=True).initialization is None
    chained.status = "down"


def test_shareable_disks_are_left_out_and_luns_are_not(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm(
        "mixed",
        [
            DiskSpec(64 * MIB),
            DiskSpec(64 * MIB, format="raw", shareable=True),
            DiskSpec(GIB, storage_type="lun"),
        ],
        running=False,
    )
    plain, shared, lun = box.disks(vm)
    root = ET.fromstring(ovf_of(api, vm))
    kinds = {f.get(f"{OVF}id"): f.get(f"{OVF}disk_storage_type") for f in root.findall("References/File")}
    assert kinds == {plain.active.image_id: "IMAGE", lun.id: "LUN"}
    assert shared.id not in ET.tostring(root, "unicode")


# --- import ----------------------------------------------------------------------------------------


def add(
    api: sdk.services.SystemService, text: str, name: str | None = None, *, regenerate: bool = False
) -> types.Vm:
    configuration = types.Configuration(data=text, type=types.ConfigurationType.OVF)
    initialization = types.Initialization(configuration=configuration, regenerate_ids=regenerate)
    return api.vms_service().add(
        types.Vm(name=name, cluster=types.Cluster(name="Default"), initialization=initialization)
    )


def renewed(text: str) -> str:
    """All ids of VM, NICs and disks replaced, and no MACs: what a restore beside the original sends."""
    for identifier in set(re.findall(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", text)):
        text = text.replace(identifier, str(uuid.uuid4()))
    return re.sub(r"<rasd:MACAddress>[^<]*</rasd:MACAddress>", "", text)


def test_a_vm_comes_back_as_it_was(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm(
        "phoenix",
        [DiskSpec(64 * MIB, bootable=True, interface="virtio"), DiskSpec(64 * MIB, active=False)],
        running=False,
        memory=3 << 30,
        nics=2,
        bios_type="q35_ovmf",
    )
    text = ovf_of(api, vm)
    boot, other = box.disks(vm)
    api.vms_service().vm_service(vm.id).remove(detach_only=True)
    made = add(api, text)
    assert (made.id, made.name, made.status) == (vm.id, "phoenix", types.VmStatus.DOWN)
    found = api.vms_service().vm_service(vm.id).get(follow="disk_attachments,nics,snapshots")
    assert found.memory == 3 << 30
    assert found.bios.type == types.BiosType.Q35_OVMF
    assert {nic.mac.address for nic in found.nics} == {nic.mac for nic in vm.nics}
    attached = {a.id: a for a in found.disk_attachments}
    assert set(attached) == {boot.id, other.id}
    assert attached[boot.id].bootable
    assert attached[boot.id].interface == types.DiskInterface.VIRTIO
    assert attached[other.id].active
    assert [s.description for s in found.snapshots] == ["Active VM"]
    assert box.world.events[-1].code == 174
    box.start_vm(box.vm("phoenix"))


def test_beside_the_original(box: Box, api: sdk.services.SystemService, chained: Vm) -> None:
    text = ovf_of(api, chained)
    again = renewed(text)
    made = add(api, again, "beside")
    assert made.id != chained.id
    assert made.name == "beside"
    macs = [nic.mac for nic in box.vm("beside").nics]
    assert macs
    assert not set(macs) & {nic.mac for nic in chained.nics}
    event = box.world.events[-1]
    assert event.code == 175
    assert "failed to attach: chained_Disk1, chained_Disk2." in event.description
    assert api.vms_service().vm_service(made.id).disk_attachments_service().list() == []


def test_a_disk_that_is_locked_does_not_attach(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("partly", [DiskSpec(64 * MIB), DiskSpec(64 * MIB)], running=False)
    text = ovf_of(api, vm)
    good, locked = box.disks(vm)
    api.vms_service().vm_service(vm.id).remove(detach_only=True)
    locked.active.status = "locked"
    made = add(api, text)
    attached = api.vms_service().vm_service(made.id).disk_attachments_service().list()
    assert [a.id for a in attached] == [good.id]
    assert box.world.events[-1].code == 175
    locked.active.status = "ok"


def refusal(api: sdk.services.SystemService, text: str, name: str | None = None) -> tuple[int, str]:
    with pytest.raises(sdk.Error) as caught:
        add(api, text, name)
    return caught.value.code, caught.value.fault.detail


def test_what_is_taken(box: Box, api: sdk.services.SystemService, chained: Vm) -> None:
    text = ovf_of(api, chained)
    macs = (
        409,
        "[Cannot import Virtual Machine, because that action would create duplicates in target MAC pool,"
        " which are not allowed. Either allow duplicate MACs in MAC Pool, or allow reassignment of bad MACs"
        " during import. Problematic NICs are \tnic1]",
    )
    other = text.replace(chained.id, str(uuid.uuid4()))
    for described, name in ((text, None), (other, None), (other, "fresh")):
        assert refusal(api, described, name) == macs
    text, other = (re.sub("<rasd:MACAddress>.*?</rasd:MACAddress>", "", t) for t in (text, other))
    assert refusal(api, text, "fresh") == (
        409,
        "[Import VM failed - VM ID already exists in the system."
        " Please remove the VM (chained) from the system first]",
    )
    assert refusal(api, other) == (
        409,
        "[Import VM failed - VM Name already exists in the Data Center."
        " Please rename the VM in the Data Center first]",
    )
    assert refusal(api, text, "two words")[1].endswith("are allowed., Attribute: vm.vmStatic.name]")
    long = refusal(api, text, "x" * 256)
    assert long == (400, "[size must be between 1 and 255, Attribute: vm.vmStatic.name]")


def test_new_ids_from_the_engine_lose_the_disks(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("regenerated", [DiskSpec(64 * MIB)], running=False)
    text = ovf_of(api, vm)
    (disk,) = box.disks(vm)
    api.vms_service().vm_service(vm.id).remove(detach_only=True)
    made = add(api, text, "fresh", regenerate=True)
    assert made.id != vm.id
    assert box.vm("fresh").attachments == []
    assert box.world.events[-1].code == 175
    assert disk.id in box.world.disks


def test_what_the_request_must_have(http: Call, api: sdk.services.SystemService, chained: Vm) -> None:
    unknown = (
        "<vm><cluster><name>nowhere</name></cluster><initialization><configuration><type>ovf</type>"
        "<data>{}</data></configuration></initialization></vm>"
    )
    assert http("POST", "/vms", unknown.format("x")).status == 400  # the OVF is read first
    good = escape(renewed(ovf_of(api, chained)))
    answer = http("POST", "/vms", unknown.format(good))
    assert (answer.status, answer.detail) == (404, "Entity not found: Cluster: name=nowhere")
    missing = http(
        "POST",
        "/vms",
        "<vm><cluster><name>Default</name></cluster><initialization><configuration><type>ovf</type>"
        "</configuration></initialization></vm>",
    )
    assert (missing.status, missing.root.findtext("reason")) == (400, "Incomplete parameters")


NEEDED = {
    "file href": (r' ovf:href="[^"]*"', 1),
    "file id": (r'(<File [^>]*?) ovf:id="[^"]*"', 1),
    "file description": (r' ovf:description="[^"]*"', 1),
    "disk id": (r' ovf:diskId="[^"]*"', 1),
    "os section id": (r'(<Section) ovf:id="[^"]*"', 1),
    "section type": (r' xsi:type="ovf:VirtualHardwareSection_Type"', 1),
    "resource type": (r"<rasd:ResourceType>10</rasd:ResourceType>", 1),
    "memory": (r"(MegaBytes</rasd:AllocationUnits>)<rasd:VirtualQuantity>\d+</rasd:VirtualQuantity>", 1),
    "drive id": (r"<rasd:InstanceId>[^<]*</rasd:InstanceId>(<rasd:ResourceType>17)", 1),
    "drive resource": (r"<rasd:HostResource>[^<]*</rasd:HostResource>", 1),
    "drive parent": (r"<rasd:Parent>[^<]*</rasd:Parent>", 1),
    "nic id": (r"<rasd:InstanceId>[^<]*</rasd:InstanceId>(<rasd:ResourceType>10)", 1),
    "nic connection": (r"<rasd:Connection>[^<]*</rasd:Connection>", 1),
    "snapshot id": (r'(<Snapshot) ovf:id="[^"]*"', 1),
    "snapshot type": (r"<Type>REGULAR</Type>", 1),
    "snapshot description": (r"(<Type>REGULAR</Type>)<Description>[^<]*</Description>", 1),
    "snapshot date": (
        r"(<Type>REGULAR</Type><Description>[^<]*</Description>)<CreationDate>[^<]*</CreationDate>",
        1,
    ),
    "all": (r"<Content.*</Content>", 1),
}


@pytest.mark.parametrize("what", NEEDED)
def test_what_the_reader_insists_on(api: sdk.services.SystemService, chained: Vm, what: str) -> None:
    pattern, count = NEEDED[what]
    text = renewed(ovf_of(api, chained))
    broken, found = re.subn(pattern, lambda m: m.group(1) if m.groups() else "", text, count=count)
    assert found == 1
    code, detail = refusal(api, broken, f"broken-{what}".replace(" ", "-"))
    assert code == 400
    assert detail.startswith("failed to parse a given ovf configuration ovf error: ")


@pytest.mark.parametrize(
    "pattern",
    [
        r' ovf:version="4.4.0.0"',
        r' ovf:parentRef="[^"]*"',
        r' ovf:volume-format="[^"]*"',
        r' ovf:disk-interface="[^"]*"',
        r'<Section xsi:type="ovf:SnapshotsSection_Type">.*?</Section>',
        r"<NetworkSection>.*?</NetworkSection>",
        r"<BiosType>\d</BiosType>",
        r"<rasd:StorageId>[^<]*</rasd:StorageId>",
    ],
)
def test_what_the_reader_does_without(
    box: Box, api: sdk.services.SystemService, chained: Vm, pattern: str
) -> None:
    text, found = re.subn(pattern, "", renewed(ovf_of(api, chained)))
    assert found
    made = add(api, text, "lenient")
    api.vms_service().vm_service(made.id).remove()
    if "BiosType" in pattern:
        assert made.bios.type == types.BiosType.I440FX_SEA_BIOS


def test_an_unknown_guest_system_has_no_architecture(api: sdk.services.SystemService, chained: Vm) -> None:
    text = renewed(ovf_of(api, chained)).replace("<Description>rhel_8x64</Description>", "")
    assert refusal(api, text, "no-os") == (
        400,
        "[Cannot import VM. The selected VM has undefined architecture]",
    )


def test_text_that_is_no_ovf(api: sdk.services.SystemService) -> None:
    code, detail = refusal(api, "<ovf", "x")
    assert code == 400
    assert detail.startswith("failed to parse a given ovf configuration error loading ovf, message")


def test_the_sample_of_a_real_engine_is_read() -> None:
    """Attributes that the writer of the box leaves out, or writes otherwise, do not trouble the reader."""
    from ovirtbox.ovf_reader import read

    text = (
        f'<ovf:Envelope xmlns:ovf="{OVF[1:-1]}" xmlns:rasd="{RASD[1:-1]}" xmlns:xsi="{XSI[1:-1]}">'
        '<References><File ovf:href="d/i" ovf:id="i" ovf:description="" ovf:size="1"/></References>'
        '<Section xsi:type="ovf:DiskSection_Type"><Info/>'
        '<Disk ovf:diskId="i" ovf:fileRef="d/i" ovf:disk-interface="VirtIO_SCSI" ovf:boot="true"/></Section>'
        '<Content ovf:id="out"><Name>n</Name><BiosType>2</BiosType>'
        '<Section ovf:id="v" xsi:type="ovf:OperatingSystemSection_Type">'
        "<Description>o</Description></Section>"
        '<Section xsi:type="ovf:VirtualHardwareSection_Type"><Item><rasd:InstanceId>i</rasd:InstanceId>'
        "<rasd:ResourceType>17</rasd:ResourceType><rasd:HostResource>d/i</rasd:HostResource>"
        "<rasd:Parent>p</rasd:Parent></Item><Item><rasd:InstanceID>e</rasd:InstanceID>"
        "<rasd:ResourceType>10</rasd:ResourceType><rasd:Connection>net</rasd:Connection></Item></Section>"
        "</Content></ovf:Envelope>"
    )
    vm = read(text)
    assert (vm.id, vm.name, vm.bios_type) == ("v", "n", "q35_ovmf")
    assert [(d.id, d.interface, d.bootable) for d in vm.disks] == [("d", "virtio_scsi", True)]
    assert [(n.id, n.network) for n in vm.nics] == [("e", "net")]
