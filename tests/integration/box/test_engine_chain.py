"""A VM with its snapshots, taken apart layer by layer and built again in the order an engine accepts."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from urllib.parse import urlparse

import ovirtsdk4 as sdk
import ovirtsdk4.types as types
import pytest
from ovirtbox.box import MIB, Box, DiskSpec, sha_of
from ovirtbox.model import Vm
from ovirtbox.processes import tool

QCOW2 = b"QFI\xfb"
COW, RAW = types.DiskFormat.COW, types.DiskFormat.RAW


class Client:
    """Moves whole images through the real daemon."""

    def __init__(self, box: Box, api: sdk.services.SystemService) -> None:
        self._box = box
        self._transfers = api.image_transfers_service()
        self._context = ssl.create_default_context(cafile=str(box.ca_file))

    def _start(self, transfer: types.ImageTransfer) -> types.ImageTransfer:
        made = self._transfers.add(transfer)
        assert made.phase == types.ImageTransferPhase.TRANSFERRING
        return made

    def _request(
        self, url: str, method: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        parts = urlparse(url)
        connection = http.client.HTTPSConnection(parts.netloc, context=self._context, timeout=60)
        try:
            connection.request(
                method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers or {}
            )
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def download(self, image_id: str) -> bytes:
        made = self._start(
            types.ImageTransfer(
                snapshot=types.DiskSnapshot(id=image_id), direction=types.ImageTransferDirection.DOWNLOAD
            )
        )
        status, data = self._request(made.transfer_url, "GET")
        assert status == 200
        self._finish(made.id)
        return data

    def upload(self, image_id: str, data: bytes) -> types.ImageTransferPhase:
        made = self._start(
            types.ImageTransfer(
                snapshot=types.DiskSnapshot(id=image_id), direction=types.ImageTransferDirection.UPLOAD
            )
        )
        status, _ = self._request(made.transfer_url + "?flush=y", "PUT", data)
        assert status == 200
        return self._finish(made.id)

    def _finish(self, transfer_id: str) -> types.ImageTransferPhase:
        service = self._transfers.image_transfer_service(transfer_id)
        service.finalize()
        over = (types.ImageTransferPhase.FINISHED_SUCCESS, types.ImageTransferPhase.FINISHED_FAILURE)
        self._box.wait(lambda: service.get().phase in over, "the transfer")
        phase: types.ImageTransferPhase = service.get().phase
        return phase


@dataclass
class Saved:
    """What a client keeps of one disk."""

    disk: types.Disk
    layers: list[tuple[str, bytes]]
    """Base first: image id and file."""
    snapshot_of: dict[str, str]
    """Image id -> the snapshot that froze it."""


def trimmed(box: Box, data: bytes) -> bytes:
    """From block storage a qcow2 comes as long as its volume: only the image itself is kept."""
    if not data.startswith(QCOW2):
        return data
    path = box.directory / "downloaded"
    path.write_bytes(data)
    image = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": str(path)}}
    found = json.loads(tool("qemu-img", "check", "--output=json", f"json:{json.dumps(image)}"))
    return data[: found["image-end-offset"]]


def take_apart(box: Box, api: sdk.services.SystemService, client: Client, disk_id: str) -> Saved:
    service = api.disks_service().disk_service(disk_id)
    found = {layer.id: layer for layer in service.disk_snapshots_service().list(include_active=True)}
    chain = [next(layer for layer in found.values() if layer.parent is None)]
    while above := [layer for layer in found.values() if layer.parent and layer.parent.id == chain[-1].id]:
        chain += above
    return Saved(
        service.get(),
        [(layer.id, trimmed(box, client.download(layer.id))) for layer in chain],
        {layer.id: layer.snapshot.id for layer in chain if layer.snapshot},
    )


def build(
    box: Box,
    api: sdk.services.SystemService,
    client: Client,
    ovf: str,
    saved: list[Saved],
    names: dict[str, str],
) -> None:
    for one in saved:
        image_id, data = one.layers[0]
        block = one.disk.storage_domains[0].id == box.domain("lun").id
        base_is_cow = data.startswith(QCOW2)
        api.disks_service().add(
            types.Disk(
                id=one.disk.id,
                image_id=image_id,
                alias=one.disk.alias,
                provisioned_size=one.disk.provisioned_size,
                format=COW if base_is_cow else RAW,
                sparse=base_is_cow or not block,
                initial_size=len(data) if base_is_cow else None,
                backup=one.disk.backup if base_is_cow else None,
                storage_domains=one.disk.storage_domains,
            )
        )
    for one in saved:
        box.wait(lambda one=one: box.world.disks[one.disk.id].status == "ok", "the disk")  # type: ignore[misc]
    configuration = types.Configuration(data=ovf, type=types.ConfigurationType.OVF)
    made = api.vms_service().add(
        types.Vm(
            cluster=types.Cluster(name="Default"),
            initialization=types.Initialization(configuration=configuration),
        )
    )
    vm = api.vms_service().vm_service(made.id)
    assert len(vm.disk_attachments_service().list()) == len(saved)
    for snapshot_id, description in names.items():
        attachments = []
        for one in saved:
            ids = [image_id for image_id, _ in one.layers]
            for below, (image_id, data) in zip(ids, one.layers[1:], strict=False):
                if one.snapshot_of[below] == snapshot_id:
                    block = one.disk.storage_domains[0].id == box.domain("lun").id
                    size = len(data) if block else None  # on a file domain the host refuses it
                    disk = types.Disk(id=one.disk.id, image_id=image_id, initial_size=size)
                    attachments.append(types.DiskAttachment(disk=disk))
        new = vm.snapshots_service().add(
            types.Snapshot(description=description, persist_memorystate=False, disk_attachments=attachments)
        )
        service = vm.snapshots_service().snapshot_service(new.id)
        box.wait(lambda s=service: s.get().snapshot_status == types.SnapshotStatus.OK, "the snapshot")  # type: ignore[misc]
    box.as_found()
    for one in saved:
        for image_id, data in one.layers:
            assert client.upload(image_id, data) == types.ImageTransferPhase.FINISHED_SUCCESS


def written(box: Box) -> Vm:
    """Chains of three, two and one layers: the second disk is added between the snapshots."""
    vm = box.make_vm("chain", [DiskSpec(64 * MIB, content=[(0, b"base")])], running=False)
    box.snapshot(vm, "before upgrade")
    box.write(box.disks(vm)[0], 0, b"then")
    box.add_disk(vm, DiskSpec(64 * MIB, domain="lun", format="raw", content=[(MIB, b"raw base")]))
    box.snapshot(vm, "after upgrade", initial_size=32 * MIB)
    box.fill(box.disks(vm)[0], 8 * MIB, 4 * MIB, seed=1)
    box.write(box.disks(vm)[1], MIB, b"raw then")
    box.add_disk(vm, DiskSpec(64 * MIB, domain="lun", initial_size=32 * MIB, content=[(2 * MIB, b"alone")]))
    return vm


def test_a_chain_is_taken_apart_and_built_again(box: Box, api: sdk.services.SystemService) -> None:
    client = Client(box, api)
    vm = written(box)
    before = {disk.id: box.sha(disk) for disk in box.disks(vm)}
    names = {s.id: s.description for s in vm.snapshots if s.type == "regular"}
    then = {
        (s.description, disk_id): sha_of(box.content_at(s, box.world.disks[disk_id]))
        for s in vm.snapshots
        if s.type == "regular"
        for disk_id in s.images
    }
    ovf = api.vms_service().vm_service(vm.id).get(all_content=True).initialization.configuration.data
    saved = [take_apart(box, api, client, disk.id) for disk in box.disks(vm)]
    assert [len(one.layers) for one in saved] == [3, 2, 1]
    box.remove_vm(vm)

    build(box, api, client, ovf, saved, names)

    again = box.vm("chain")
    assert [s.description for s in again.snapshots] == ["before upgrade", "after upgrade", "Active VM"]
    assert {disk.id: box.sha(disk) for disk in box.disks(again)} == before
    for snapshot in again.snapshots[:-1]:
        for disk_id, image_id in snapshot.images.items():
            layer = box.world.disks[disk_id].layer(image_id)
            assert layer is not None
            out = box.directory / "as-of"
            form = "qcow2" if layer.format == "cow" else "raw"
            tool("qemu-img", "convert", "-U", "-f", form, "-O", "raw", layer.path, out)
            with open(out, "r+b") as file:
                file.truncate(layer.virtual_size)
            assert sha_of(out) == then[snapshot.description, disk_id]
    box.start_vm(again)
    for disk in box.disks(again):
        assert box.sha(disk) == before[disk.id]
    assert box.clean() == []
    box.stop_vm(again)
    box.remove_vm(again)


def test_a_layer_with_another_backing_name_takes_the_disk_away(
    box: Box, api: sdk.services.SystemService
) -> None:
    client = Client(box, api)
    vm = box.make_vm("wrong", [DiskSpec(64 * MIB)], running=False)
    box.snapshot(vm, "one")
    (disk,) = box.disks(vm)
    upper = disk.active
    good = upper.path.read_bytes()
    base = disk.layers[0].image_id.encode()
    assert client.upload(upper.image_id, good) == types.ImageTransferPhase.FINISHED_SUCCESS
    bad = good.replace(base, b"../" + base[3:])
    assert client.upload(upper.image_id, bad) == types.ImageTransferPhase.FINISHED_FAILURE
    box.wait(lambda: disk.id not in box.world.disks, "the disk to go")
    assert vm.attachments == []


def test_a_vm_does_not_start_while_a_layer_is_uploaded(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("uploading", [DiskSpec(64 * MIB)], running=False)
    made = box.snapshot(vm, "one")
    (disk,) = box.disks(vm)
    transfer = api.image_transfers_service().add(
        types.ImageTransfer(
            snapshot=types.DiskSnapshot(id=disk.layers[0].image_id),
            direction=types.ImageTransferDirection.DOWNLOAD,
        )
    )
    service = api.vms_service().vm_service(vm.id)
    busy = f"Disk {disk.alias} is being transferred."
    for call in (
        service.start,
        lambda: service.snapshots_service().add(types.Snapshot(description="x", persist_memorystate=False)),
        service.snapshots_service().snapshot_service(made.id).remove,
        api.disks_service().disk_service(disk.id).remove,
    ):
        with pytest.raises(sdk.Error) as caught:
            call()
        assert caught.value.code == 409
        assert busy in caught.value.fault.detail
    finishing = api.image_transfers_service().image_transfer_service(transfer.id)
    finishing.finalize()
    box.wait(lambda: finishing.get().phase == types.ImageTransferPhase.FINISHED_SUCCESS, "the transfer")
    service.start()
    box.wait(lambda: vm.status == "up", "the start")
