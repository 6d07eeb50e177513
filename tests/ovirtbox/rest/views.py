"""How the engine shows its things: the XML of VMs, disks, layers, snapshots and attachments."""

from __future__ import annotations

from xml.etree.ElementTree import fromstring

from ovirtbox import ovf
from ovirtbox.engine import EngineCore
from ovirtbox.model import BLANK, Attachment, Disk, Layer, Snapshot, Vm
from ovirtbox.xml import Element, actions, element, href, leaf, link, ref

VM_ACTIONS = ("start", "stop", "shutdown", "freezefilesystems", "thawfilesystems", "previewsnapshot")
RUNNING = ("up", "paused", "powering_up", "powering_down", "reboot_in_progress", "migrating", "saving_state")


def vm_element(engine: EngineCore, vm: Vm, *, all_content: bool = False) -> Element:
    path = ("vms", vm.id)
    bios = element("bios", leaf("type", vm.bios_type))
    topology = element("topology", leaf("cores", vm.cores), leaf("sockets", 1), leaf("threads", 1))
    return element(
        "vm",
        actions(VM_ACTIONS, *path),
        leaf("name", vm.name),
        leaf("description", vm.description),
        leaf("comment", ""),
        [
            link(rel, *path, rel)
            for rel in (
                "diskattachments",
                "nics",
                "permissions",
                "snapshots",
                "tags",
                "backups",
                "checkpoints",
            )
        ],
        bios,
        leaf("fqdn", f"{vm.name}.example") if vm.agent and vm.status == "up" else None,
        _system(vm) if vm.agent and vm.status == "up" else None,
        element("cpu", leaf("architecture", "x86_64"), topology),
        leaf("creation_time", vm.created),
        leaf("start_time", vm.started) if vm.status != "down" else None,
        leaf("delete_protected", vm.delete_protected),
        leaf("memory", vm.memory),
        leaf("origin", "managed_hosted_engine" if vm.origin == "hosted_engine" else vm.origin),
        _compatibility(vm.level),
        leaf("next_run_configuration_exists", vm.next_run),
        leaf("status", vm.status),
        leaf("stop_time", vm.stopped) if vm.stopped else None,
        leaf("type", "server"),
        element("os", leaf("type", "rhel_8x64")),
        ref("cluster", vm.cluster, "clusters"),
        _beside(engine, vm),
        ref("host", vm.host if vm.status in RUNNING else None, "hosts"),
        ref("template", vm.template, "templates"),
        ref("original_template", vm.template, "templates"),
        None if all_content else _initialization(engine, vm, None),
        _all_content(engine, vm) if all_content else None,
        id=vm.id,
        href=href(*path),
    )


def _compatibility(level: tuple[int, int] | None) -> Element | None:
    if level is None:
        return None
    return element("custom_compatibility_version", leaf("major", level[0]), leaf("minor", level[1]))


def _all_content(engine: EngineCore, vm: Vm) -> list[Element | None]:
    return [
        _initialization(engine, vm, ovf.vm_ovf(engine, vm)),
        element("console", leaf("enabled", False)),
        element("virtio_scsi", leaf("enabled", True)),
        leaf("soundcard_enabled", False),
        leaf("tpm_enabled", vm.tpm),
    ]


def _beside(engine: EngineCore, vm: Vm) -> list[Element | None]:
    """Quota, and the lease: an import takes it over from the OVF."""
    lease = vm.properties.get("LeaseDomainId")
    held = element("lease", ref("storage_domain", lease, "storagedomains")) if lease else None
    return [ref("quota", engine.world.beside.of(vm.id).quota), held]


def _initialization(engine: EngineCore, vm: Vm, ovf_text: str | None) -> Element | None:
    """Cloud-init and the OVF are one element; a password that was set is shown as stars."""
    own, held = engine.world.beside.of(vm.id).initialization, configuration(ovf_text)
    if own is None:
        return held
    found = fromstring(own)
    for password in found.findall("root_password"):
        password.text = "******"
    found.extend(held if held is not None else ())
    return found


def configuration(text: str | None) -> Element | None:
    """`initialization` with the OVF in it; without one, nothing at all."""
    if text is None:
        return None
    return element("initialization", element("configuration", element("data", text), element("type", "ovf")))


def _system(vm: Vm) -> Element:
    """What an agent reported, of a VM that runs (VmMapper.java)."""
    return element(
        "guest_operating_system",
        leaf("architecture", "x86_64"),
        leaf("distribution", "Red Hat Enterprise Linux"),
        leaf("family", "Linux"),
        element("version", leaf("full_version", "8.9"), leaf("major", 8), leaf("minor", 9)),
    )


def attachment_element(vm: Vm, attachment: Attachment) -> Element:
    return element(
        "disk_attachment",
        leaf("active", attachment.active),
        leaf("bootable", attachment.bootable),
        leaf("interface", attachment.interface),
        leaf("logical_name", "") if vm.agent and vm.status == "up" else None,
        leaf("pass_discard", attachment.pass_discard),
        leaf("read_only", attachment.read_only),
        leaf("uses_scsi_reservation", False),
        ref("disk", attachment.disk_id, "disks"),
        ref("vm", vm.id, "vms"),
        id=attachment.disk_id,
        href=href("vms", vm.id, "diskattachments", attachment.disk_id),
    )


def disk_element(
    engine: EngineCore, disk: Disk, *, backup_mode: str | None = None, with_vms: bool = False
) -> Element:
    path = ("disks", disk.id)
    common = (
        actions(("copy", "export", "move", "reduce", "refreshlun"), *path),
        leaf("name", disk.alias),
        leaf("alias", disk.alias),
        leaf("description", disk.description),
        [link(rel, *path, rel) for rel in ("disksnapshots", "permissions", "statistics")],
        leaf("backup_mode", backup_mode),
        leaf("propagate_errors", disk.propagate_errors),
        leaf("shareable", disk.shareable),
        leaf("storage_type", disk.storage_type),
        leaf("wipe_after_delete", disk.wipe_after_delete),
        _vms_of(engine, disk) if with_vms else None,
    )
    if disk.storage_type == "lun":
        storage = element(
            "lun_storage",
            element("logical_units", element("logical_unit", leaf("size", disk.virtual_size), id=disk.id)),
        )
        return element("disk", common, storage, id=disk.id, href=href(*path))
    active = disk.active
    total = sum(engine.data.actual_size(layer) for layer in disk.layers)
    return element(
        "disk",
        common,
        leaf("actual_size", engine.data.actual_size(active)),
        leaf("backup", disk.backup),
        leaf("content_type", disk.content_type),
        leaf("format", active.format),
        leaf("image_id", active.image_id),
        leaf("provisioned_size", active.virtual_size),
        leaf("qcow_version", "qcow2_v3" if active.format == "cow" and not active.new else None),
        ref("quota", disk.quota),
        leaf("sparse", active.sparse),
        leaf("status", disk.status),
        leaf("total_size", total),
        element("storage_domains", ref("storage_domain", disk.domain, "storagedomains")),
        id=disk.id,
        href=href(*path),
    )


def _vms_of(engine: EngineCore, disk: Disk) -> Element:
    return element("vms", [ref("vm", vm.id, "vms") for vm in engine.world.vms_of_disk(disk.id)])


def disk_snapshot_element(
    engine: EngineCore, disk: Disk, layer: Layer, collection: tuple[str, ...]
) -> Element:
    """A layer; its id is the image id. `collection` is the path through which it was asked for."""
    active = layer is disk.active
    return element(
        "disk_snapshot",
        leaf("actual_size", engine.data.actual_size(layer)),
        leaf("alias", disk.alias),
        leaf("backup", disk.backup),
        leaf("content_type", disk.content_type),
        leaf("description", disk.description),
        leaf("format", layer.format),
        leaf("name", disk.alias),
        leaf("propagate_errors", disk.propagate_errors),
        leaf("provisioned_size", layer.virtual_size),
        leaf("qcow_version", "qcow2_v3" if layer.format == "cow" and not layer.new else None),
        leaf("shareable", disk.shareable),
        leaf("sparse", layer.sparse),
        leaf("status", layer.status),
        leaf("storage_type", disk.storage_type),
        leaf("total_size", 0),
        leaf("wipe_after_delete", disk.wipe_after_delete),
        ref("disk", disk.id, "disks"),
        ref("parent", layer.parent, *collection, "disksnapshots"),
        None if active or layer.snapshot_id is None else element("snapshot", id=layer.snapshot_id),
        element("storage_domain", id=disk.domain) if collection[0] == "storagedomains" else None,
        element("storage_domains", element("storage_domain", id=disk.domain)),
        id=layer.image_id,
        href=href(*collection, "disksnapshots", layer.image_id),
    )


def snapshot_element(
    engine: EngineCore, vm: Vm, snapshot: Snapshot, *, all_content: bool = False, fresh: bool = False
) -> Element:
    """`fresh`: the reply to its making, which carries its configuration unasked."""
    path = ("vms", vm.id, "snapshots", snapshot.id)
    active = snapshot.type == "active"
    return element(
        "snapshot",
        actions(("restore",), *path),
        leaf("date", snapshot.date),
        leaf("description", snapshot.description),
        leaf("persist_memorystate", snapshot.memory),
        leaf("snapshot_status", snapshot.status),
        leaf("snapshot_type", snapshot.type),
        [link(rel, *path, rel) for rel in ("disks", "nics", "cdroms")],
        element("vm", None if active else (leaf("name", vm.name), leaf("memory", vm.memory)), id=vm.id),
        configuration(snapshot.configuration) if (all_content or fresh) and not active else None,
        id=snapshot.id,
        href=href(*path),
    )


def template_version(template: str) -> Element:
    """The first of its name, as each of ours is. [read: restapi/types/TemplateMapper, 4.5]"""
    return element(
        "version",
        leaf("version_name", "base version"),
        leaf("version_number", 1),
        ref("base_template", template, "templates"),
    )


def blank_template(cluster: str) -> Element:
    return element(
        "template",
        leaf("name", "Blank"),
        template_version(BLANK),
        leaf("status", "ok"),
        ref("cluster", cluster, "clusters"),
        id=BLANK,
        href=href("templates", BLANK),
    )
