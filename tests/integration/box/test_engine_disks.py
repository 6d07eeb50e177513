"""Disks and attachments: what the engine makes of them, and what it refuses."""

from __future__ import annotations

import uuid
from itertools import count

import ovirtsdk4 as sdk
import ovirtsdk4.types as types
import pytest
from ovirtbox.box import GIB, MIB, Box, DiskSpec
from rest_client import Call

NUMBERS = count(1)


def disk(domain: str = "data", **given: object) -> types.Disk:
    fields = {
        "alias": f"d{next(NUMBERS)}",
        "provisioned_size": 64 * MIB,
        "format": types.DiskFormat.COW,
        "storage_domains": [types.StorageDomain(name=domain)],
    }
    return types.Disk(**{**fields, **given})


def wait_ok(box: Box, identifier: str) -> None:
    box.wait(lambda: box.world.disks[identifier].status == "ok", "the disk")


def refusal(call: object, *arguments: object, **named: object) -> tuple[int, str]:
    with pytest.raises(sdk.Error) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.code, caught.value.fault.detail


def test_a_disk_is_locked_then_ok(box: Box, api: sdk.services.SystemService) -> None:
    identifier, image = str(uuid.uuid4()), str(uuid.uuid4())
    service = api.disks_service()
    made = service.add(disk(id=identifier, image_id=image, alias="mine", description="words"))
    assert made.status == types.DiskStatus.LOCKED
    assert (made.id, made.image_id, made.alias, made.name) == (identifier, image, "mine", "mine")
    wait_ok(box, identifier)
    found = service.disk_service(identifier).get()
    assert found.status == types.DiskStatus.OK
    assert found.sparse
    assert found.provisioned_size == 64 * MIB
    assert found.qcow_version == types.QcowVersion.QCOW2_V3
    assert found.description == "words"
    assert found.initial_size is None
    path = box.domain("data").path / "images" / identifier / image
    assert path.exists()
    service.disk_service(identifier).remove()
    box.wait(lambda: identifier not in box.world.disks, "the disk to go")
    assert not path.exists()
    with pytest.raises(sdk.NotFoundError):
        service.disk_service(identifier).get()


def test_ids_that_are_taken_are_refused(box: Box, api: sdk.services.SystemService) -> None:
    service = api.disks_service()
    made = service.add(disk(alias="first"))
    wait_ok(box, made.id)
    assert refusal(service.add, disk(id=made.id)) == (
        409,
        f"[Cannot add Virtual Disk. The selected disk ID: {made.id} is already used by the following"
        " existing disk: first.]",
    )
    assert refusal(service.add, disk(image_id=made.image_id)) == (
        409,
        "[Cannot add Virtual Disk. One of the Template Images already exists.]",
    )


RAW, COW = types.DiskFormat.RAW, types.DiskFormat.COW
INCREMENTAL = types.DiskBackup.INCREMENTAL


@pytest.mark.parametrize(
    ("domain", "given", "allowed"),
    [
        ("data", {"format": RAW}, True),
        ("data", {"format": RAW, "sparse": False}, True),
        ("data", {"format": COW, "sparse": True, "backup": INCREMENTAL}, True),
        ("data", {"format": COW, "sparse": False}, False),
        ("data", {"format": COW, "sparse": False, "backup": INCREMENTAL}, True),
        ("data", {"format": RAW, "sparse": True, "backup": INCREMENTAL}, False),
        ("lun", {"format": RAW}, False),
        ("lun", {"format": RAW, "sparse": False}, True),
        ("lun", {"format": COW}, True),
        ("lun", {"format": COW, "sparse": False}, False),
        ("lun", {"format": COW, "sparse": False, "backup": INCREMENTAL}, True),
    ],
)
def test_formats_and_allocations(
    box: Box, api: sdk.services.SystemService, domain: str, given: dict[str, object], allowed: bool
) -> None:
    service = api.disks_service()
    if allowed:
        made = service.add(disk(domain, **given))
        wait_ok(box, made.id)
        box.delete_disk(box.world.disks[made.id])
    else:
        code, detail = refusal(service.add, disk(domain, **given))
        assert code == 409
        assert detail.startswith("[Cannot add Virtual Disk. Disk configuration (")
        assert detail.endswith(") is incompatible with the storage domain type.]")


def test_what_must_be_given(http: Call, api: sdk.services.SystemService) -> None:
    answer = http("POST", "/disks", "<disk><alias>x</alias></disk>")
    assert answer.status == 400
    assert answer.root.findtext("reason") == "Incomplete parameters"
    assert answer.detail == "Disk [provisionedSize, format] required for add"
    add = api.disks_service().add
    nowhere = "<disk><provisioned_size>1</provisioned_size><format>cow</format></disk>"
    answer = http("POST", "/disks", nowhere)
    assert (answer.status, answer.html) == (500, True)
    assert refusal(add, disk(provisioned_size=0))[0] == 400
    unknown = refusal(add, disk("nowhere"))
    assert unknown == (404, "Entity not found: nowhere")
    wrong = http("POST", "/disks", "<disk><format>vmdk</format><provisioned_size>1</provisioned_size></disk>")
    assert (wrong.status, wrong.root.findtext("reason")) == (400, "Invalid value")


def test_a_domain_without_space_refuses(box: Box, api: sdk.services.SystemService) -> None:
    box.make_domain("small", "file", capacity=GIB)
    add = api.disks_service().add
    assert refusal(add, disk("small", format=RAW, sparse=False, provisioned_size=2 * GIB)) == (
        409,
        "[Cannot add Virtual Disk. Low disk space on Storage Domain small.]",
    )
    made = add(disk("small", provisioned_size=2 * GIB))
    wait_ok(box, made.id)
    box.delete_disk(box.world.disks[made.id])
    box.inject.fill_domain("small")
    assert refusal(add, disk("small"))[1] == (
        "[Cannot add Virtual Disk. Low disk space on Storage Domain small.]"
    )
    box.inject.fill_domain("small", False)
    box.domain("small").status = "maintenance"
    assert refusal(add, disk("small")) == (
        409,
        "[Cannot add Virtual Disk. The relevant Storage Domain's status is Maintenance.]",
    )


def test_block_volumes_are_rounded_up_and_stale(box: Box, api: sdk.services.SystemService) -> None:
    made = api.disks_service().add(disk("lun", format=RAW, sparse=False, provisioned_size=100 * MIB + 512))
    wait_ok(box, made.id)
    found = api.disks_service().disk_service(made.id).get()
    assert found.provisioned_size == 100 * MIB + 512
    assert found.actual_size == 128 * MIB
    data = box.world.disks[made.id].active.path.read_bytes()
    assert len(data) == 128 * MIB
    assert any(data)


def test_initial_size_is_the_size_of_the_volume_on_block(box: Box, api: sdk.services.SystemService) -> None:
    service = api.disks_service()
    small = service.add(disk("lun", provisioned_size=8 * GIB))
    large = service.add(disk("lun", provisioned_size=8 * GIB, initial_size=3 * GIB))
    for made in (small, large):
        wait_ok(box, made.id)
    assert service.disk_service(small.id).get().actual_size == GIB
    # A tenth more for the metadata of qcow2, in whole extents of 128 MiB.
    assert service.disk_service(large.id).get().actual_size == 27 * 128 * MIB


def test_a_disk_that_cannot_be_made_disappears(box: Box, api: sdk.services.SystemService) -> None:
    identifier = str(uuid.uuid4())
    path = box.domain("data").path / "images" / identifier
    path.mkdir(parents=True)
    image = str(uuid.uuid4())
    (path / image).mkdir()
    api.disks_service().add(disk(id=identifier, image_id=image, format=RAW))
    box.wait(lambda: identifier not in box.world.disks, "the disk to disappear")
    assert box.world.events[-1].code == 2022


def test_fields_of_a_disk_change(box: Box, api: sdk.services.SystemService) -> None:
    made = api.disks_service().add(disk())
    wait_ok(box, made.id)
    service = api.disks_service().disk_service(made.id)
    service.update(types.Disk(alias="renamed", description="new", backup=INCREMENTAL))
    found = service.get()
    assert (found.alias, found.description, found.backup) == ("renamed", "new", INCREMENTAL)
    raw = api.disks_service().add(disk(format=RAW))
    wait_ok(box, raw.id)
    refused = refusal(api.disks_service().disk_service(raw.id).update, types.Disk(backup=INCREMENTAL))
    assert refused == (
        400,
        "[Cannot edit Virtual Disk. Incremental backup is not supported for RAW format disks.]",
    )


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("shape", [{"format": "cow"}, {"format": "raw"}, {"format": "raw", "domain": "lun"}])
def test_a_disk_grows(
    box: Box, api: sdk.services.SystemService, running: bool, shape: dict[str, str]
) -> None:
    vm = box.make_vm(f"grow{next(NUMBERS)}", [DiskSpec(64 * MIB, **shape)], running=running)  # type: ignore[arg-type]
    (grown,) = box.disks(vm)
    box.write(grown, 63 * MIB, b"the old end")
    attachments = api.vms_service().vm_service(vm.id).disk_attachments_service()
    attachments.attachment_service(grown.id).update(
        types.DiskAttachment(disk=types.Disk(provisioned_size=200 * MIB))
    )
    box.wait(lambda: grown.status == "ok", "the disk to grow")
    assert api.disks_service().disk_service(grown.id).get().provisioned_size == 200 * MIB
    box.write(grown, 199 * MIB, b"the new end")
    assert box.read(grown, 63 * MIB, 11) == b"the old end"
    assert box.content(grown).stat().st_size == 200 * MIB
    code, detail = refusal(
        api.disks_service().disk_service(grown.id).update, types.Disk(provisioned_size=100 * MIB)
    )
    assert (code, detail) == (
        400,
        "[Cannot edit Virtual Disk. New disk size must be larger than the current disk size.]",
    )


def test_a_disk_moves(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("mover", [DiskSpec(64 * MIB, content=[(MIB, b"moved along")])], running=False)
    (moved,) = box.disks(vm)
    box.snapshot(vm, "one")
    before = box.sha(moved)
    api.disks_service().disk_service(moved.id).move(storage_domain=types.StorageDomain(name="lun"))
    box.wait(lambda: moved.status == "ok", "the move")
    found = api.disks_service().disk_service(moved.id).get()
    assert found.storage_domains[0].id == box.domain("lun").id
    box.start_vm(vm)
    assert box.read(moved, MIB, 11) == b"moved along"
    assert box.sha(moved) == before
    code, detail = refusal(
        api.disks_service().disk_service(moved.id).move, storage_domain=types.StorageDomain(name="data")
    )
    assert (code, detail) == (409, "[Cannot move Virtual Disk. At least one of the VMs is not down.]")


# --- attachments -----------------------------------------------------------------------------------


def test_an_existing_disk_is_attached_inactive_unless_asked(
    box: Box, api: sdk.services.SystemService
) -> None:
    vm = box.make_vm("attacher", running=False)
    floating = box.add_disk(None, DiskSpec(64 * MIB))
    service = api.vms_service().vm_service(vm.id).disk_attachments_service()
    made = service.add(
        types.DiskAttachment(disk=types.Disk(id=floating.id), interface=types.DiskInterface.VIRTIO)
    )
    assert made.id == floating.id
    assert made.active is False
    assert floating.active.snapshot_id == vm.active_snapshot.id
    again = refusal(
        service.add,
        types.DiskAttachment(disk=types.Disk(id=floating.id), interface=types.DiskInterface.VIRTIO),
    )
    assert again == (409, "[Cannot attach Virtual Disk. The disk is already attached to VM.]")
    other = box.make_vm("attacher2", running=False)
    elsewhere = api.vms_service().vm_service(other.id).disk_attachments_service()
    taken = refusal(
        elsewhere.add,
        types.DiskAttachment(disk=types.Disk(id=floating.id), interface=types.DiskInterface.VIRTIO),
    )
    assert taken == (
        409,
        "[Cannot attach Virtual Disk. The disk is not shareable and is already attached to a VM.]",
    )
    service.attachment_service(floating.id).update(types.DiskAttachment(active=True))
    assert service.attachment_service(floating.id).get().active
    service.attachment_service(floating.id).remove()
    assert service.list() == []
    assert floating.id in box.world.disks
    assert floating.active.snapshot_id is None


def test_locked_and_illegal_disks_are_not_attached(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("attacher3", running=False)
    floating = box.add_disk(None, DiskSpec(64 * MIB, alias="floating"))
    service = api.vms_service().vm_service(vm.id).disk_attachments_service()
    wanted = types.DiskAttachment(
        disk=types.Disk(id=floating.id), interface=types.DiskInterface.VIRTIO, active=True
    )
    floating.active.status = "locked"
    assert refusal(service.add, wanted) == (
        409,
        "[Cannot attach Virtual Disk: The following disks are locked: floating."
        " Please try again in a few minutes.]",
    )
    floating.active.status = "illegal"
    assert refusal(service.add, wanted)[1].startswith("[Cannot attach Virtual Disk. Disk is in an illegal")
    floating.active.status = "ok"
    vm.status = "suspended"
    assert refusal(service.add, wanted)[0] == 409
    vm.status = "down"
    service.add(wanted)
    boot = box.add_disk(None, DiskSpec(64 * MIB))
    wanted.bootable = True
    wanted.disk = types.Disk(id=boot.id)
    service.add(wanted)
    second = box.add_disk(None, DiskSpec(64 * MIB))
    wanted.disk = types.Disk(id=second.id)
    code, detail = refusal(service.add, wanted)
    assert (code, detail) == (
        409,
        f"[Cannot attach Virtual Disk. Disk {boot.alias} in VM attacher3 is already marked as boot.]",
    )


def test_a_disk_is_plugged_into_a_running_vm(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("plugger", [DiskSpec(64 * MIB, bootable=True)])
    service = api.vms_service().vm_service(vm.id).disk_attachments_service()
    made = service.add(
        types.DiskAttachment(
            disk=disk("data", alias="plugged"),
            interface=types.DiskInterface.VIRTIO_SCSI,
            bootable=False,
            active=True,
        )
    )
    plugged = box.world.disks[made.disk.id]
    box.wait(lambda: service.attachment_service(plugged.id).get().active, "the plug")
    box.write(plugged, 0, b"hello")
    assert box.read(plugged, 0, 5) == b"hello"
    service.attachment_service(plugged.id).update(types.DiskAttachment(active=False))
    assert not service.attachment_service(plugged.id).get().active
    assert box.read(plugged, 0, 5) == b"hello"
    refused = refusal(api.disks_service().disk_service(box.disks(vm)[0].id).remove)
    assert refused == (409, "[Cannot remove Virtual Disk. At least one of the VMs is not down.]")
    service.attachment_service(plugged.id).remove(detach_only=False)
    box.wait(lambda: plugged.id not in box.world.disks, "the disk to go")


def test_a_disk_with_snapshots_stays_attached(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("keeper", [DiskSpec(64 * MIB)], running=False)
    box.snapshot(vm, "one")
    (kept,) = box.disks(vm)
    service = api.vms_service().vm_service(vm.id).disk_attachments_service()
    assert refusal(service.attachment_service(kept.id).remove) == (
        409,
        "[Cannot detach Virtual Disk. The disk is already configured in a snapshot."
        " In order to detach it, remove the disk's snapshots.]",
    )


def test_locks_of_other_commands_are_respected(box: Box, api: sdk.services.SystemService) -> None:
    from ovirtbox.locks import DISK, shared

    floating = box.add_disk(None, DiskSpec(64 * MIB, alias="busy"))
    box.engine.locks.take("a transfer", "", shared(DISK, floating.id, "Disk busy is being transferred."))
    refused = refusal(api.disks_service().disk_service(floating.id).remove)
    assert refused == (409, "[Cannot remove Virtual Disk. Disk busy is being transferred.]")
    box.engine.locks.drop("a transfer")
    box.delete_disk(floating)


def test_luns_and_shareable_disks_are_shown(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm(
        "odd",
        [
            DiskSpec(GIB, storage_type="lun", format="raw"),
            DiskSpec(64 * MIB, format="raw", shareable=True),
        ],
        running=False,
    )
    lun, shared_disk = box.disks(vm)
    found = api.disks_service().disk_service(lun.id).get()
    assert found.storage_type == types.DiskStorageType.LUN
    assert found.provisioned_size is None
    assert found.lun_storage is not None
    assert api.disks_service().disk_service(shared_disk.id).get().shareable
