"""The OVF writer: the engine's real structure, its traps included."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from xml.sax.saxutils import escape, quoteattr

from ovirtbox.engine import EngineCore
from ovirtbox.model import BLANK, Attachment, Disk, Layer, Snapshot, Vm

GIB = 1 << 30

_ROOT = (
    '<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1/"'
    ' xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"'
    ' xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" ovf:version="4.4.0.0">'
)
_INTERFACES = {
    "virtio": "VirtIO",
    "virtio_scsi": "VirtIO_SCSI",
    "ide": "IDE",
    "sata": "SATA",
    "spapr_vscsi": "SPAPR_VSCSI",
}
_FORMATS = {
    "cow": "http://www.gnome.org/~markmc/qcow-image-format.html",
    "raw": "http://www.vmware.com/specifications/vmdk.html#sparse",
}
BIOS_TYPES = {
    "i440fx_sea_bios": 0,
    "q35_sea_bios": 1,
    "q35_ovmf": 2,
    "q35_secure_boot": 3,
}
"""As written: the engine's number of the type, less one."""


def vm_ovf(engine: EngineCore, vm: Vm) -> str | None:
    """The VM's OVF, or None while the VM or one of its disks is locked: the engine then says nothing."""
    world = engine.world
    with world.lock:
        if vm.status == "image_locked":
            return None
        parts = []
        for attachment in vm.attachments:
            disk = world.disks.get(attachment.disk_id)
            if disk is None or disk.shareable or disk.storage_type == "managed_block_storage":
                continue
            if disk.status == "locked":
                return None
            parts.append((attachment, disk, list(reversed(disk.layers))))
        return _Writer(engine, vm, parts, snapshots=vm.snapshots, storage_ids=True).write()


def snapshot_configuration(engine: EngineCore, vm: Vm, disks: list[str]) -> str:
    """What a snapshot of these disks stores: one image for each, no storage ids, no snapshots."""
    parts = []
    for attachment in vm.attachments:
        disk = engine.world.disks[attachment.disk_id]
        if disk.id in disks:
            parts.append((attachment, disk, [disk.active]))
    return _Writer(engine, vm, parts, snapshots=[], storage_ids=False).write()


def _gib(size: int) -> int:
    """Sizes are rounded up to whole GiB: the exact one is lost."""
    return -(-size // GIB)


def _date(when: datetime | None) -> str:
    when = when or datetime.now(timezone.utc)
    return when.astimezone(timezone.utc).strftime("%Y/%m/%d %H:%M:%S")


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _tag(name: str, value: str | int) -> str:
    return f"<{name}>{escape(str(value))}</{name}>"


def _open(tag: str, /, **attributes: str | int | bool) -> str:
    """A start tag with its attributes in the ovf namespace; `__` in a name stands for `-`."""
    text = "".join(
        f" ovf:{key.replace('__', '-')}={quoteattr(_flag(v) if isinstance(v, bool) else str(v))}"
        for key, v in attributes.items()
    )
    return f"<{tag}{text}>"


Part = tuple[Attachment, Disk, list[Layer]]


class _Writer:
    def __init__(
        self,
        engine: EngineCore,
        vm: Vm,
        parts: list[Part],
        *,
        snapshots: list[Snapshot],
        storage_ids: bool,
    ) -> None:
        self._engine = engine
        self._vm = vm
        self._parts = parts
        self._snapshots = snapshots
        self._storage_ids = storage_ids
        self._images = [(a, d, layer) for a, d, layers in parts for layer in layers]
        self._luns = [(a, d) for a, d, _ in parts if d.storage_type == "lun"]

    def write(self) -> str:
        return "".join(
            [
                '<?xml version="1.0" encoding="UTF-8"?>',
                _ROOT,
                self._references(),
                self._networks(),
                self._disks(),
                self._content(),
                "</ovf:Envelope>",
            ]
        )

    # --- what lies on storage ---

    def _references(self) -> str:
        files = [
            _open(
                "File",
                href=self._file(disk, layer),
                id=layer.image_id,
                size=self._engine.data.actual_size(layer),
                description=self._snapshot_of(layer),
                disk_storage_type="IMAGE",
                cinder_volume_type="",
            )
            for _, disk, layer in self._images
        ]
        files += [
            _open("File", href=disk.id, id=disk.id, size=0, description="", disk_storage_type="LUN")
            for _, disk in self._luns
        ]
        return "<References>" + "".join(f"{file}</File>" for file in files) + "</References>"

    def _snapshot_of(self, layer: Layer) -> str:
        """A file bears the description of the snapshot that owns it."""
        owners = (s.description for s in self._vm.snapshots if s.id == layer.snapshot_id)
        return next(owners, "Active VM")

    @staticmethod
    def _file(disk: Disk, layer: Layer) -> str:
        return f"{disk.id}/{layer.image_id}"

    def _networks(self) -> str:
        names = dict.fromkeys(nic.network for nic in self._vm.nics)
        networks = "".join(_open("Network", name=name) + "</Network>" for name in names)
        return f"<NetworkSection><Info>List of networks</Info>{networks}</NetworkSection>"

    def _disks(self) -> str:
        elements = [self._disk(*image) + "</Disk>" for image in self._images]
        for attachment, disk in self._luns:
            elements.append(self._lun(attachment, disk) + "</Disk>")
        return (
            '<Section xsi:type="ovf:DiskSection_Type"><Info>List of Virtual Disks</Info>'
            + "".join(elements)
            + "</Section>"
        )

    def _disk(self, attachment: Attachment, disk: Disk, layer: Layer) -> str:
        return _open(
            "Disk",
            diskId=layer.image_id,
            size=_gib(layer.virtual_size),
            actual_size=_gib(self._engine.data.actual_size(layer)),
            vm_snapshot_id=layer.snapshot_id or "",
            parentRef=self._parent_ref(layer),
            fileRef=self._file(disk, layer),
            format=_FORMATS[layer.format],
            volume__format=layer.format.upper(),
            volume__type="Sparse" if layer.sparse else "Preallocated",
            disk__interface=_INTERFACES[attachment.interface],
            read__only=attachment.read_only,
            shareable=disk.shareable,
            boot=attachment.bootable,
            pass__discard=attachment.pass_discard,
            incremental__backup=disk.backup == "incremental",
            disk__alias=disk.alias,
            disk__description=disk.description,
            wipe__after__delete=disk.wipe_after_delete,
        )

    def _parent_ref(self, layer: Layer) -> str:
        """The engine's own mistake, kept: the first image of the document, whatever the parent is."""
        if layer.parent is None:
            return ""
        candidates = [(disk, other) for _, disk, other in self._images]
        while candidates and candidates[0][1].image_id == layer.parent:
            candidates.pop(0)
        return self._file(*candidates[0]) if len(candidates) > 1 else ""

    @staticmethod
    def _lun(attachment: Attachment, disk: Disk) -> str:
        return _open(
            "Disk",
            diskId=disk.id,
            disk__alias=disk.alias,
            disk__description=disk.description,
            pass__discard=attachment.pass_discard,
            fileRef=disk.id,
            shareable=disk.shareable,
            boot=attachment.bootable,
            disk__interface=_INTERFACES[attachment.interface],
            read__only=attachment.read_only,
            scsi_reservation=False,
            plugged=attachment.active,
            LunId=disk.id,
        )

    # --- the virtual machine ---

    def _content(self) -> str:
        vm, world = self._vm, self._engine.world
        cluster = world.clusters[vm.cluster]
        template = world.templates.get(vm.template)
        level = vm.level
        general = [
            _tag("Name", vm.name),
            _tag("Description", vm.description),
            _tag("Comment", ""),
            _tag("CreationDate", _date(vm.created)),
            _tag("ExportDate", _date(self._engine.clock.now())),
            _tag("DeleteProtected", _flag(vm.delete_protected)),
            _tag("SsoMethod", "guest_agent"),
            _tag("IsSmartcardEnabled", "false"),
            _tag("NumOfIoThreads", 1),
            _tag("TimeZone", "Etc/GMT"),
            _tag("default_boot_sequence", 0),
            _tag("Generation", vm.generation),
            _tag("CustomCompatibilityVersion", f"{level[0]}.{level[1]}") if level else "",
            _tag("ClusterCompatibilityVersion", f"{cluster.level[0]}.{cluster.level[1]}"),
            _tag("VmType", 1),
            _tag("ResumeBehavior", "AUTO_RESUME"),
            _tag("MinAllocatedMem", vm.memory >> 20),
            _tag("IsStateless", "false"),
            _tag("IsRunAndPause", "false"),
            _tag("AutoStartup", "false"),
            _tag("Priority", 1),
            _tag("BiosType", BIOS_TYPES[vm.bios_type]),
            _tag("MaxMemorySizeMb", vm.memory >> 18),
            _tag("BalloonEnabled", "true"),
            _tag("ClusterName", cluster.name),
            _tag("TemplateId", vm.template),
            _tag("TemplateName", template.name if template else "Blank"),
            _tag("IsInitilized", "true"),
            *(_tag(name, value) for name, value in vm.properties.items()),
            _tag("Origin", 6 if vm.origin == "hosted_engine" else 3),
            _tag("DefaultDisplayType", 2),
            _tag("TrustedService", "false"),
            _tag("OriginalTemplateId", vm.template),
            _tag("OriginalTemplateName", template.name if template else "Blank"),
            _tag("UseLatestVersion", "false"),
        ]
        system = (
            f'<Section ovf:id="{vm.id}" ovf:required="false" xsi:type="ovf:OperatingSystemSection_Type">'
            "<Info>Guest Operating System</Info><Description>rhel_8x64</Description></Section>"
        )
        return (
            '<Content ovf:id="out" xsi:type="ovf:VirtualSystem_Type">'
            + "".join(general)
            + system
            + self._hardware()
            + self._snapshot_section()
            + "</Content>"
        )

    def _hardware(self) -> str:
        vm = self._vm
        megabytes = vm.memory >> 20
        items = [
            self._item(
                ("Caption", f"{vm.cores} virtual cpu"),
                ("Description", "Number of virtual CPU"),
                ("InstanceId", 1),
                ("ResourceType", 3),
                ("num_of_sockets", 1),
                ("cpu_per_socket", vm.cores),
                ("threads_per_cpu", 1),
                ("max_num_of_vcpus", 16 * vm.cores),
                ("VirtualQuantity", vm.cores),
            ),
            self._item(
                ("Caption", f"{megabytes} MB of memory"),
                ("Description", "Memory Size"),
                ("InstanceId", 2),
                ("ResourceType", 4),
                ("AllocationUnits", "MegaBytes"),
                ("VirtualQuantity", megabytes),
            ),
        ]
        items += [self._drive(*image, order) for order, image in enumerate(self._images, 1)]
        items += [
            self._item(
                ("Caption", disk.alias),
                ("InstanceId", disk.id),
                ("ResourceType", 17),
                ("HostResource", disk.id),
                ("Parent", BLANK),
                ("Template", BLANK),
                ("ApplicationList", ""),
            )
            for _, disk in self._luns
        ]
        items += [
            self._item(
                ("Caption", f"Ethernet adapter on {nic.network}"),
                ("InstanceId", nic.id),
                ("ResourceType", 10),
                ("OtherResourceType", nic.profile if nic.network else ""),
                ("ResourceSubType", 3),
                ("Connection", nic.network),
                ("Linked", _flag(nic.linked)),
                ("Name", nic.name),
                ("ElementName", nic.name),
                ("MACAddress", nic.mac),
                ("speed", 10000),
                more="<Type>interface</Type><Device>bridge</Device><rasd:Address></rasd:Address>"
                + _tag("BootOrder", nic.boot_order)
                + _tag("IsPlugged", _flag(nic.plugged))
                + f"<IsReadOnly>false</IsReadOnly><Alias>ua-{nic.id}</Alias>",
            )
            for nic in vm.nics
        ]
        items.append(
            self._item(
                ("Caption", "USB Controller"),
                ("InstanceId", 3),
                ("ResourceType", 23),
                ("UsbPolicy", "DISABLED"),
            )
        )
        items += [
            self._device("Graphical Controller", 20, "video", "vga"),
            self._device("Graphical Framebuffer", 26, "graphics", "vnc"),
            self._device("CDROM", 15, "disk", "cdrom"),
            self._device(None, 0, "controller", "virtio-scsi"),
        ]
        items += [self._device(None, 0, kind, device, spec) for kind, device, spec in vm.devices]
        if vm.tpm:
            items.append(self._device(None, 0, "tpm", "tpm"))
        return (
            '<Section xsi:type="ovf:VirtualHardwareSection_Type">'
            f"<Info>{vm.cores} CPU, {megabytes} Memory</Info>"
            "<System><vssd:VirtualSystemType>ENGINE 4.4.0.0</vssd:VirtualSystemType></System>"
            + "".join(items)
            + "</Section>"
        )

    @staticmethod
    def _item(*fields: tuple[str, str | int], more: str = "") -> str:
        return "<Item>" + "".join(_tag(f"rasd:{name}", value) for name, value in fields) + more + "</Item>"

    def _drive(self, attachment: Attachment, disk: Disk, layer: Layer, order: int) -> str:
        vm = self._vm
        template = layer.parent if layer.parent and disk.layer(layer.parent) is None else BLANK
        domain = self._engine.world.domains[disk.domain]
        fields: list[tuple[str, str | int]] = [
            ("Caption", disk.alias),
            ("InstanceId", layer.image_id),
            ("ResourceType", 17),
            ("HostResource", self._file(disk, layer)),
            ("Parent", layer.parent or BLANK),
            ("Template", template),
            ("ApplicationList", ""),
        ]
        if self._storage_ids:
            fields += [("StorageId", disk.domain), ("StoragePoolId", domain.data_center)]
        created = _date(layer.created or vm.created)
        fields += [("CreationDate", created), ("LastModified", created), ("last_modified_date", created)]
        more = ""
        if layer is disk.active and attachment.active:
            address = f"{{type=drive, bus=0, controller=0, target=0, unit={order - 1}}}"
            more = (
                "<Type>disk</Type><Device>disk</Device>"
                + _tag("rasd:Address", address)
                + _tag("BootOrder", 1 if attachment.bootable else 0)
                + "<IsPlugged>true</IsPlugged>"
                + _tag("IsReadOnly", _flag(attachment.read_only))
                + _tag("Alias", f"ua-{disk.id}")
            )
        return self._item(*fields, more=more)

    def _device(
        self, caption: str | None, resource: int, kind: str, device: str, parameters: str = ""
    ) -> str:
        identifier = f"{resource:08x}{self._vm.id[8:]}" if kind != "tpm" else f"0000007b{self._vm.id[8:]}"
        fields: list[tuple[str, str | int]] = [("InstanceId", identifier), ("ResourceType", resource)]
        if caption:
            fields.insert(0, ("Caption", caption))
        more = (
            f"<Type>{kind}</Type><Device>{device}</Device><rasd:Address></rasd:Address>"
            "<BootOrder>0</BootOrder><IsPlugged>true</IsPlugged>"
            f"<IsReadOnly>{_flag(device == 'cdrom')}</IsReadOnly><Alias></Alias>"
        )
        if parameters:
            more += f"<SpecParams>{parameters}</SpecParams>"
        return self._item(*fields, more=more)

    def _snapshot_section(self) -> str:
        if not self._snapshots:
            return ""
        elements = []
        for snapshot in self._snapshots:
            stored = ""
            if snapshot.configuration is not None:
                stored = _tag("VmConfiguration", base64.b64encode(snapshot.configuration.encode()).decode())
            elements.append(
                _open("Snapshot", id=snapshot.id)
                + _tag("Type", snapshot.type.upper())
                + _tag("Description", snapshot.description)
                + _tag("CreationDate", _date(snapshot.date))
                + stored
                + "</Snapshot>"
            )
        return '<Section xsi:type="ovf:SnapshotsSection_Type">' + "".join(elements) + "</Section>"
