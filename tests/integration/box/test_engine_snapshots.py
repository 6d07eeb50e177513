"""Snapshots: ids swap, layers stack, merges go backward, and going back costs what came after."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path

import ovirtsdk4 as sdk
import ovirtsdk4.types as types
import pytest
from ovirtbox.box import MIB, Box, DiskSpec, sha_of
from ovirtbox.model import Disk, Vm
from rest_client import Call


def refusal(call: object, *arguments: object, **named: object) -> tuple[int, str]:
    with pytest.raises(sdk.Error) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.code, caught.value.fault.detail


def snapshots_of(api: sdk.services.SystemService, vm: Vm) -> sdk.services.SnapshotsService:
    return api.vms_service().vm_service(vm.id).snapshots_service()


def take(
    box: Box, api: sdk.services.SystemService, vm: Vm, description: str, **more: object
) -> types.Snapshot:
    service = snapshots_of(api, vm)
    made = service.add(types.Snapshot(description=description, persist_memorystate=False, **more))
    assert made.snapshot_status == types.SnapshotStatus.LOCKED
    box.wait(
        lambda: service.snapshot_service(made.id).get().snapshot_status == types.SnapshotStatus.OK,
        "the snapshot",
    )
    box.as_found()
    return service.snapshot_service(made.id).get()


def backing(path: Path) -> str | None:
    info = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", path], check=True, capture_output=True
    ).stdout
    name: str | None = json.loads(info).get("backing-filename")
    return name


def image(disk: Disk, index: int) -> str:
    return disk.layers[index].image_id


@pytest.mark.parametrize("running", [False, True], ids=["down", "up"])
def test_the_ids_swap(box: Box, api: sdk.services.SystemService, running: bool) -> None:
    vm = box.make_vm(f"swap-{running}", [DiskSpec(64 * MIB)], running=running)
    (disk,) = box.disks(vm)
    old_active, base = vm.active_snapshot.id, image(disk, 0)
    chosen = str(uuid.uuid4())
    made = take(
        box,
        api,
        vm,
        "first",
        disk_attachments=[types.DiskAttachment(disk=types.Disk(id=disk.id, image_id=chosen))],
    )
    assert made.id == old_active
    listed = {s.id: s for s in snapshots_of(api, vm).list()}
    assert {s.snapshot_type for s in listed.values()} == {
        types.SnapshotType.ACTIVE,
        types.SnapshotType.REGULAR,
    }
    assert vm.active_snapshot.id != old_active
    assert api.disks_service().disk_service(disk.id).get().image_id == chosen
    layers = api.disks_service().disk_service(disk.id).disk_snapshots_service()
    (frozen,) = layers.list()
    assert (frozen.id, frozen.snapshot.id, frozen.parent) == (base, made.id, None)
    active = {layer.id: layer for layer in layers.list(include_active=True)}[chosen]
    assert active.parent.id == base
    assert active.snapshot is None
    assert active.format == types.DiskFormat.COW
    assert active.disk.id == disk.id
    assert backing(disk.active.path) == base
    (listed_disk,) = snapshots_of(api, vm).snapshot_service(made.id).disks_service().list()
    assert (listed_disk.id, listed_disk.image_id) == (disk.id, base)
    (now,) = snapshots_of(api, vm).snapshot_service(vm.active_snapshot.id).disks_service().list()
    assert (now.id, now.image_id, now.provisioned_size) == (disk.id, chosen, 1 << 30)


def test_a_snapshot_keeps_what_was(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("keeps", [DiskSpec(64 * MIB), DiskSpec(64 * MIB, format="raw", domain="lun")])
    first, second = box.disks(vm)
    box.write(first, 0, b"before")
    made = box.snapshot(vm, "one")
    then = {disk.id: sha_of(box.content_at(made, disk)) for disk in (first, second)}
    box.write(first, 0, b"after!")
    box.write(second, MIB, b"after!")
    for disk in (first, second):
        out = box.directory / f"{disk.id}.out"
        frozen = disk.layers[0]
        form = "qcow2" if frozen.format == "cow" else "raw"
        subprocess.run(["qemu-img", "convert", "-U", "-f", form, "-O", "raw", frozen.path, out], check=True)
        with open(out, "r+b") as file:
            file.truncate(frozen.virtual_size)
        assert sha_of(out) == then[disk.id]
        assert box.sha(disk) != then[disk.id]


@pytest.mark.parametrize("running", [False, True], ids=["down", "up"])
def test_merges_go_backward(box: Box, api: sdk.services.SystemService, running: bool) -> None:
    """Removing a snapshot keeps the id of the layer that it froze, with the data of the one above."""
    vm = box.make_vm(f"merge-{running}", [DiskSpec(64 * MIB, content=[(0, b"zero")])], running=running)
    (disk,) = box.disks(vm)
    made = []
    for number in (1, 2, 3):
        made.append(box.snapshot(vm, f"snapshot {number}"))
        box.write(disk, number * MIB, f"written after {number}".encode())
    b0, l1, l2, l3 = (layer.image_id for layer in disk.layers)
    contents = [sha_of(box.content_at(snapshot, disk)) for snapshot in made]
    now = box.sha(disk)

    # In the middle: l2's data goes into l1, which now stands for snapshot 3.
    service = snapshots_of(api, vm)
    service.snapshot_service(made[1].id).remove()
    box.wait(lambda: len(service.list()) == 3, "the merge")
    assert [layer.image_id for layer in disk.layers] == [b0, l1, l3]
    assert made[2].images[disk.id] == l1
    assert disk.layers[1].snapshot_id == made[2].id
    assert backing(disk.layers[2].path) == l1
    assert sha_of(box.content_at(made[2], disk)) == contents[2]
    assert box.sha(disk) == now
    assert not disk.layers[1].path.with_name(l2).exists()
    configuration = made[2].configuration
    assert configuration is not None
    assert l1 in configuration
    assert l2 not in configuration

    # The newest: the active layer goes into the one below, and that is the active one now.
    service.snapshot_service(made[2].id).remove()
    box.wait(lambda: len(service.list()) == 2, "the merge")
    assert [layer.image_id for layer in disk.layers] == [b0, l1]
    assert disk.active.snapshot_id == vm.active_snapshot.id
    assert box.sha(disk) == now

    # The base keeps its id too.
    service.snapshot_service(made[0].id).remove()
    box.wait(lambda: len(service.list()) == 1, "the merge")
    assert [layer.image_id for layer in disk.layers] == [b0]
    assert backing(disk.active.path) is None
    assert box.sha(disk) == now
    assert box.read(disk, 3 * MIB, 15) == b"written after 3"
    assert api.disks_service().disk_service(disk.id).get().image_id == b0


def test_a_grown_disk_merges(box: Box) -> None:
    vm = box.make_vm("grown", [DiskSpec(64 * MIB, format="raw", domain="lun")], running=False)
    (disk,) = box.disks(vm)
    made = box.snapshot(vm, "small")
    box.grow(disk, 200 * MIB)
    assert [layer.virtual_size for layer in disk.layers] == [64 * MIB, 200 * MIB]
    box.write(disk, 199 * MIB, b"the end")
    before = box.sha(disk)
    box.remove_snapshot(vm, made)
    assert disk.active.virtual_size == 200 * MIB
    assert box.read(disk, 199 * MIB, 7) == b"the end"
    assert box.sha(disk) == before


def test_only_some_disks(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("some", [DiskSpec(64 * MIB), DiskSpec(64 * MIB)], running=False)
    chosen, other = box.disks(vm)
    made = take(box, api, vm, "some", disk_attachments=[types.DiskAttachment(disk=types.Disk(id=chosen.id))])
    assert (len(chosen.layers), len(other.layers)) == (2, 1)
    assert other.active.snapshot_id == vm.active_snapshot.id != made.id
    none = take(box, api, vm, "none", disk_attachments=[types.DiskAttachment()])
    assert (len(chosen.layers), len(other.layers)) == (2, 1)
    assert snapshots_of(api, vm).snapshot_service(none.id).disks_service().list() == []


def test_the_stored_configuration(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("stored", [DiskSpec(64 * MIB), DiskSpec(64 * MIB)], running=False)
    made = box.snapshot(vm, "one")
    service = snapshots_of(api, vm).snapshot_service(made.id)
    assert service.get().initialization is None
    data = service.get(query={"all_content": "true"}).initialization.configuration.data
    assert data.count("<Disk ") == 2
    assert "StorageId" not in data
    assert "SnapshotsSection" not in data
    assert all(disk.layers[0].image_id in data for disk in box.disks(vm))
    active = snapshots_of(api, vm).snapshot_service(vm.active_snapshot.id)
    assert active.get(query={"all_content": "true"}).initialization is None


def test_while_a_snapshot_is_made(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("busy", [DiskSpec(64 * MIB)], running=True)
    (disk,) = box.disks(vm)
    service = snapshots_of(api, vm)
    tick, box.engine.clock.tick = box.engine.clock.tick, 1.0
    try:
        made = service.add(types.Snapshot(description="slow", persist_memorystate=False))
    finally:
        box.engine.clock.tick = tick
    assert api.disks_service().disk_service(disk.id).get().status == types.DiskStatus.LOCKED
    assert api.vms_service().vm_service(vm.id).get(all_content=True).initialization is None
    assert refusal(service.add, types.Snapshot(description="second")) == (
        409,
        "[Cannot create Snapshot. Snapshot is currently being created for VM busy.]",
    )
    assert refusal(service.snapshot_service(made.id).remove)[0] == 409
    assert refusal(api.vms_service().vm_service(vm.id).stop)[0] == 409
    box.wait(lambda: disk.status == "ok", "the snapshot")
    box.as_found()
    assert [event.code for event in box.world.events if event.vm_id == vm.id][-2:] == [45, 68]
    assert api.vms_service().vm_service(vm.id).get(all_content=True).initialization is not None


def test_what_a_snapshot_needs(box: Box, api: sdk.services.SystemService, http: Call) -> None:
    vm = box.make_vm(
        "needs",
        [DiskSpec(64 * MIB), DiskSpec(64 * MIB, format="raw", shareable=True)],
        running=False,
    )
    disk, shared = box.disks(vm)
    floating = box.add_disk(None, DiskSpec(64 * MIB, alias="loose"))
    service = snapshots_of(api, vm)
    answer = http("POST", f"/vms/{vm.id}/snapshots", "<snapshot/>")
    assert (answer.status, answer.root.findtext("reason")) == (400, "Input validation failed.")
    assert answer.detail == "Parameter 'snapshot.description' is mandatory but was not provided."
    elsewhere = http("POST", f"/vms/{uuid.uuid4()}/snapshots", "<snapshot><description/></snapshot>")
    assert (elsewhere.status, elsewhere.detail) == (400, "[Cannot create Snapshot. VM is not found.]")

    def of(*disks: types.Disk) -> types.Snapshot:
        return types.Snapshot(
            description="x",
            persist_memorystate=False,
            disk_attachments=[types.DiskAttachment(disk=one) for one in disks],
        )

    unknown = str(uuid.uuid4())
    assert refusal(service.add, of(types.Disk(id=unknown))) == (
        400,
        f"[Cannot create Snapshot. The following disk(s) ID(s) does not exist: {unknown}.]",
    )
    assert refusal(service.add, of(types.Disk(id=shared.id))) == (
        400,
        f"[Cannot create Snapshot. Snapshot is not allowed for the following disk(s): {shared.alias}.]",
    )
    assert refusal(service.add, of(types.Disk(id=floating.id))) == (
        400,
        "[Cannot create Snapshot. The following disk(s) are not attached to the VM needs: loose.]",
    )
    assert refusal(service.add, of(types.Disk(id=disk.id, image_id=image(disk, 0)))) == (
        409,
        f"[Cannot create Snapshot. Image IDs \t{image(disk, 0)} are already used by a snapshot.]",
    )
    twice = f"<disk_attachment><disk id='{disk.id}'/></disk_attachment>" * 2
    for listed in (twice, ""):
        body = (
            f"<snapshot><description>x</description><disk_attachments>{listed}</disk_attachments></snapshot>"
        )
        answer = http("POST", f"/vms/{vm.id}/snapshots", body)
        assert (answer.status, answer.headers["Content-Type"]) == (500, "text/html;charset=UTF-8")
    strange = of(types.Disk(id=disk.id, image_id=floating.active.image_id))
    assert refusal(service.add, strange) == (400, "[]")
    vm.status = "suspended"
    assert refusal(service.add, types.Snapshot(description="x")) == (
        409,
        "[Cannot create Snapshot because the VM is in Suspended status.]",
    )
    vm.status = "down"
    disk.active.status = "locked"
    assert refusal(service.add, types.Snapshot(description="x")) == (
        409,
        f"[Cannot create Snapshot: The following disks are locked: {disk.alias}."
        " Please try again in a few minutes.]",
    )
    disk.active.status = "ok"
    vm.preview = True
    assert refusal(service.add, types.Snapshot(description="x"))[1] == (
        "[Cannot create Snapshot. VM is previewing a Snapshot.]"
    )
    vm.preview = False
    assert len(service.list()) == 1
    assert box.clean() == []


def test_a_snapshot_that_fails_is_called_ok(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("fails", [DiskSpec(64 * MIB)], running=False)
    (disk,) = box.disks(vm)
    active, chosen = vm.active_snapshot.id, str(uuid.uuid4())
    made = snapshots_of(api, vm).add(
        types.Snapshot(
            description="doomed",
            persist_memorystate=False,
            # on a file domain the host refuses it
            disk_attachments=[
                types.DiskAttachment(disk=types.Disk(id=disk.id, image_id=chosen, initial_size=MIB))
            ],
        )
    )
    assert made.id == active
    box.wait(lambda: disk.status == "ok", "the failure")
    found = snapshots_of(api, vm).snapshot_service(active).get()
    assert (found.description, found.snapshot_status) == ("doomed", types.SnapshotStatus.OK)
    assert [event.code for event in box.world.events[-2:]] == [10774, 69]
    assert api.disks_service().disk_service(disk.id).get().image_id == chosen
    assert not disk.active.path.exists()
    api.vms_service().vm_service(vm.id).start()
    box.wait(lambda: vm.status == "down" and box.world.events[-1].code == 119, "the start to fail")
    box.as_found()


@pytest.mark.parametrize("running", [False, True], ids=["down", "up"])
def test_while_a_snapshot_is_removed(box: Box, api: sdk.services.SystemService, running: bool) -> None:
    """All images of its disks are locked, of a VM that runs too (RemoveSnapshotCommand)."""
    vm = box.make_vm(f"removing-{running}", [DiskSpec(64 * MIB)], running=running)
    (disk,) = box.disks(vm)
    one = box.snapshot(vm, "one")
    service = snapshots_of(api, vm).snapshot_service(one.id)
    tick, box.engine.clock.tick = box.engine.clock.tick, 1.0
    try:
        service.remove()
    finally:
        box.engine.clock.tick = tick
    assert api.disks_service().disk_service(disk.id).get().status == types.DiskStatus.LOCKED
    assert api.vms_service().vm_service(vm.id).get(all_content=True).initialization is None
    assert refusal(service.remove)[1].startswith("[Cannot remove Snapshot. The VM is performing an operation")
    wanted = types.Backup(disks=[types.Disk(id=disk.id)])
    add = api.vms_service().vm_service(vm.id).backups_service().add
    status, words = refusal(lambda: add(wanted, query={"legacy": "true"}))
    assert (status, words.split(":")[1]) == (409, " The following disks are locked")
    box.wait(lambda: one not in vm.snapshots, "the merge")
    assert {layer.status for layer in disk.layers} == {"ok"}


def test_what_removal_needs(box: Box, api: sdk.services.SystemService, http: Call) -> None:
    vm = box.make_vm("removal", [DiskSpec(64 * MIB)], running=False)
    made = box.snapshot(vm, "one")
    service = snapshots_of(api, vm)
    answer = http("DELETE", f"/vms/{vm.id}/snapshots/{uuid.uuid4()}")
    assert answer.status == 404
    assert (answer.detail or "").startswith("Entity not found: GetSnapshotBySnapshotId: snapshot id=")
    assert refusal(service.snapshot_service(vm.active_snapshot.id).remove)[0] == 409
    vm.status = "suspended"
    assert refusal(service.snapshot_service(made.id).remove) == (
        409,
        "[Cannot remove Snapshot. VM removal must be in status Down, Up or Paused.]",
    )
    vm.status = "down"
    answer = http("DELETE", f"/vms/{vm.id}/snapshots/{made.id}")
    assert (answer.status, answer.root.tag, answer.root.findtext("status")) == (200, "action", "complete")
    assert answer.root.find("job") is not None
    box.wait(lambda: made not in vm.snapshots, "the merge")


@pytest.mark.parametrize("running", [False, True], ids=["down", "up"])
def test_the_initial_size_of_the_new_layer(box: Box, api: sdk.services.SystemService, running: bool) -> None:
    vm = box.make_vm(f"initial-{running}", [DiskSpec(4096 * MIB, domain="lun")], running=running)
    (disk,) = box.disks(vm)
    chosen = types.Disk(id=disk.id, initial_size=3072 * MIB)
    take(box, api, vm, "one", disk_attachments=[types.DiskAttachment(disk=chosen)])
    # A tenth more for the metadata of qcow2, in whole extents of 128 MiB.
    assert disk.active.volume_size == 27 * 128 * MIB
    assert api.disks_service().disk_service(disk.id).get().actual_size == 27 * 128 * MIB


def test_going_back(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("back", [DiskSpec(64 * MIB, content=[(0, b"first state")])], running=False)
    (disk,) = box.disks(vm)
    made = box.snapshot(vm, "good")
    then = box.sha(disk)
    box.write(disk, 0, b"second state")
    box.snapshot(vm, "later")
    box.write(disk, 0, b"third state!")
    lost: list[str] = []
    box.engine.on_restore.append(lambda changed: lost.append(changed.id))
    snapshots_of(api, vm).snapshot_service(made.id).restore()
    box.wait(lambda: vm.status == "down", "the restore")
    assert lost == [vm.id]
    assert box.sha(disk) == then
    assert box.read(disk, 0, 11) == b"first state"
    assert [s.description for s in vm.snapshots] == ["good", "Active VM"]
    assert len(disk.layers) == 2
    assert backing(disk.active.path) == image(disk, 0)
    box.start_vm(vm)
    assert box.read(disk, 0, 11) == b"first state"
    code, detail = refusal(snapshots_of(api, vm).snapshot_service(made.id).restore)
    assert (code, detail) == (409, "[Cannot revert to Snapshot because the VM is in Up status.]")


def test_layers_by_domain(box: Box, api: sdk.services.SystemService, http: Call) -> None:
    box.make_domain("apart", "file")
    vm = box.make_vm("layers", [DiskSpec(64 * MIB, domain="apart")], running=False)
    box.add_disk(None, DiskSpec(64 * MIB, domain="apart"))
    box.snapshot(vm, "one")
    (disk,) = box.disks(vm)
    domain = box.domain("apart")
    service = api.storage_domains_service().storage_domain_service(domain.id).disk_snapshots_service()
    assert [layer.id for layer in service.list()] == [image(disk, 0)]
    everything = http("GET", f"/storagedomains/{domain.id}/disksnapshots?include_active=true").root
    assert {layer.get("id") for layer in everything} == {image(disk, 0), image(disk, 1)}
    found = service.snapshot_service(image(disk, 0)).get()
    assert found.id == image(disk, 0)
    assert found.image_id is None
    assert http("GET", f"/storagedomains/{domain.id}/disksnapshots/{uuid.uuid4()}").status == 404
    assert http("GET", f"/disks/{disk.id}/disksnapshots/{uuid.uuid4()}").status == 500


def test_a_thin_vm_hangs_on_its_template(box: Box, api: sdk.services.SystemService, http: Call) -> None:
    template = box.make_template("golden", [DiskSpec(64 * MIB, content=[(MIB, b"from the template")])])
    vm = box.make_thin_vm("thin", template)
    (disk,) = box.disks(vm)
    base = box.world.disks[template.disks[0]]
    assert box.read(disk, MIB, 17) == b"from the template"
    assert backing(disk.active.path) == base.active.image_id
    box.start_vm(vm)
    box.write(disk, 0, b"of its own")
    assert box.read(disk, MIB, 17) == b"from the template"
    path = f"/disks/{disk.id}/disksnapshots?include_active=true"
    (own,) = http("GET", path).root
    parent = own.find("parent")
    assert parent is not None
    assert parent.get("id") == base.active.image_id
    layers = {layer.get("id"): layer for layer in http("GET", path + "&include_template=true").root}
    owner = layers[base.active.image_id].find("disk")
    assert owner is not None
    assert owner.get("id") == base.id
    found = api.vms_service().vm_service(vm.id).get()
    assert found.template.id == template.id
    data = api.vms_service().vm_service(vm.id).get(all_content=True).initialization.configuration.data
    assert data.count(f"<rasd:Template>{base.active.image_id}</rasd:Template>") == 1
    assert data.count("<Disk ") == 1
