"""Image transfers of the box: what they carry, what they lock, how they end."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import ovirtsdk4 as sdk
import pytest
import requests
from box_client import KIB, MIB, Client, refused, sha_file
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk, Vm
from ovirtsdk4 import types

if TYPE_CHECKING:
    from rest_client import Call

UPLOAD = types.ImageTransferDirection.UPLOAD
_names = (f"vm{number}" for number in itertools.count())


@pytest.fixture
def client(box: Box, connection: sdk.Connection) -> Iterator[Client]:
    yield Client(box, connection)
    assert box.clean() == []


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def make(box: Box, *specs: DiskSpec, running: bool = False) -> tuple[Vm, list[Disk]]:
    vm = box.make_vm(next(_names), specs or [DiskSpec(16 * MIB)], running=running)
    return vm, box.disks(vm)


def by_layer(image_id: str, **more: object) -> dict[str, object]:
    return {"snapshot": types.DiskSnapshot(id=image_id), **more}


def qcow2(path: Path, size: int, *, backing: str | None = None, data: bytes = b"") -> bytes:
    """A qcow2 file that names `backing`, with some data at the start."""
    name = ["-u", "-b", backing, "-F", "qcow2"] if backing else []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *name, path, str(size)], check=True)
    if data:
        subprocess.run(["qemu-img", "rebase", "-q", "-u", "-b", "", "-f", "qcow2", path], check=True)
        command = f"write -P {data[0]} 0 {len(data)}"
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, path], check=True, capture_output=True)
        if backing:
            rebase = ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", path]
            subprocess.run(rebase, check=True)
    return path.read_bytes()


# --- downloads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["transfer_url", "proxy_url"])
def test_raw_download_is_the_disk(box: Box, client: Client, through: str) -> None:
    _, disks = make(
        box, DiskSpec(16 * MIB), DiskSpec(16 * MIB, "raw"), DiskSpec(9 * MIB, "raw", domain="lun")
    )
    for number, disk in enumerate(disks):
        box.write(disk, MIB, noise(number, 3 * MIB))
        transfer = client.transfer(disk)
        assert client.sha(getattr(transfer, through), disk.virtual_size) == box.sha(disk)
        service = client.system.disks_service().disk_service(disk.id)
        assert service.get().status == types.DiskStatus.LOCKED
        assert client.finalize(transfer) == "finished_success"
        assert service.get().status == types.DiskStatus.OK


def test_layers_one_by_one(box: Box, client: Client, tmp_path: Path) -> None:
    """File bytes of each layer, their collapsed view, and the shallow one with its holes."""
    vm, (disk,) = make(box, running=True)
    frozen = []
    for number in range(2):
        box.write(disk, number * MIB, noise(number, MIB))
        frozen.append(box.snapshot(vm, f"s{number}"))
    box.write(disk, 2 * MIB, noise(2, MIB))
    for snapshot in frozen:
        image_id = snapshot.images[disk.id]
        layer = disk.layer(image_id)
        assert layer is not None
        whole = client.transfer(**by_layer(image_id))
        assert client.sha(whole.transfer_url, disk.virtual_size) == sha_file(box.content_at(snapshot, disk))
        client.finalize(whole)
        raw = client.transfer(**by_layer(image_id, format=types.DiskFormat.COW))
        size = layer.path.stat().st_size
        assert client.read(raw.transfer_url, 0, size) == layer.path.read_bytes()
        assert client.http("GET", f"{raw.transfer_url}/extents").json() == [
            {"start": 0, "length": size, "zero": False, "hole": False}
        ]
        client.finalize(raw)
    shallow = client.transfer(**by_layer(frozen[1].images[disk.id], shallow=True))
    extents = client.http("GET", f"{shallow.transfer_url}/extents").json()
    assert [(e["start"], e["length"]) for e in extents if not e["hole"]] == [(MIB, MIB)]
    client.finalize(shallow)
    info = subprocess.run(["qemu-img", "info", "-U", disk.layers[1].path], capture_output=True, text=True)
    assert f"backing file: {disk.layers[0].image_id}" in info.stdout


def test_the_active_layer_of_a_running_vm_is_refused(box: Box, client: Client) -> None:
    vm, (disk,) = make(box, running=True)
    detail = f"[Cannot transfer Virtual Disk. The disk {disk.alias} is plugged to non-Down VMs: {vm.name}]"
    assert refused(lambda: client.transfer(disk)) == (409, detail)
    assert refused(lambda: client.transfer(**by_layer(disk.active.image_id))) == (409, detail)


def test_a_second_transfer_of_an_image_is_refused(box: Box, client: Client) -> None:
    _, (disk,) = make(box)
    first = client.transfer(disk)
    assert refused(lambda: client.transfer(disk)) == (
        409,
        f"[Cannot transfer Virtual Disk: The following disks are locked: {disk.alias}."
        " Please try again in a few minutes.]",
    )
    being = (409, f"[Cannot transfer Virtual Disk. Disk {disk.alias} is being transferred.]")
    assert refused(lambda: client.transfer(disk, direction=UPLOAD)) == being
    client.finalize(first)


def test_a_layer_transfer_keeps_the_vm_from_starting(box: Box, client: Client) -> None:
    vm, (disk,) = make(box)
    snapshot = box.snapshot(vm, "s")
    transfer = client.transfer(**by_layer(snapshot.images[disk.id]))
    vms = client.system.vms_service().vm_service(vm.id)
    assert refused(vms.start)[0] == 409
    again = types.Snapshot(description="t", persist_memorystate=False)
    assert refused(lambda: vms.snapshots_service().add(again))[0] == 409
    client.finalize(transfer)


def test_a_download_of_everything_ends_by_itself(box: Box, client: Client) -> None:
    _, (disk,) = make(box, DiskSpec(4 * MIB))
    transfer = client.transfer(disk)
    client.read(transfer.transfer_url, 0, disk.virtual_size)
    assert client.wait_phase(transfer, "finished_success", "finished_failure") == "finished_success"


def test_a_quiet_download_is_cancelled_and_a_quiet_upload_paused(box: Box, client: Client) -> None:
    _, (one, two) = make(box, DiskSpec(4 * MIB), DiskSpec(4 * MIB))
    down = client.transfer(one, inactivity_timeout=1)
    up = client.transfer(two, inactivity_timeout=1, direction=UPLOAD)
    assert client.wait_phase(down, "finished_failure") == "finished_failure"
    assert client.wait_phase(up, "paused_system") == "paused_system"
    service = client.transfers.image_transfer_service(up.id)
    assert service.get().transfer_url == up.transfer_url  # a pause takes neither ticket nor address
    service.resume()
    client.write(up.transfer_url, 0, noise(1, MIB))
    assert client.finalize(up) == "finished_success"
    assert box.read(two, 0, MIB) == noise(1, MIB)


def test_timeout_policy_pause(box: Box, client: Client) -> None:
    _, (disk,) = make(box, DiskSpec(4 * MIB))
    policy = types.ImageTransferTimeoutPolicy.PAUSE
    transfer = client.transfer(disk, inactivity_timeout=1, timeout_policy=policy)
    client.wait_phase(transfer, "paused_system")
    client.cancel(transfer)


def test_a_cancelled_download_unlocks(box: Box, client: Client) -> None:
    _, (disk,) = make(box)
    transfer = client.transfer(disk)
    assert client.cancel(transfer) == "finished_failure"
    assert disk.status == "ok"
    assert client.http("GET", transfer.transfer_url).status_code == 403


def test_finished_transfers_are_kept_then_gone(box: Box, client: Client) -> None:
    _, (one, two) = make(box, DiskSpec(4 * MIB), DiskSpec(4 * MIB))
    good, bad = client.transfer(one), client.transfer(two)
    client.finalize(good)
    client.cancel(bad)

    def known() -> set[str]:
        return {t.id for t in client.transfers.list()} & {good.id, bad.id}

    assert known() == {good.id, bad.id}
    box.shift(minutes=16)
    client.until(known, lambda ids: ids == {bad.id})
    box.shift(minutes=15)
    client.until(known, lambda ids: not ids)
    with pytest.raises(sdk.NotFoundError):
        client.transfers.image_transfer_service(good.id).get()
    client.transfers.image_transfer_service(good.id).finalize()  # 200 all the same
    client.transfers.image_transfer_service(good.id).cancel()


def test_shape_on_the_wire(box: Box, client: Client, http: Call) -> None:
    _, (disk,) = make(box, DiskSpec(4 * MIB))
    body = f'<image_transfer><disk id="{disk.id}"/><direction>download</direction></image_transfer>'
    answer = http("POST", "/imagetransfers", body)
    assert answer.status == 201
    root = answer.root
    assert root.find("image").get("id") == disk.id  # type: ignore[union-attr]
    assert [root.find(tag) for tag in ("disk", "snapshot", "backup")] == [None] * 3
    assert root.findtext("transferred") == "0"
    assert root.findtext("format") == "cow"
    assert root.findtext("phase") == "transferring"
    ticket = (root.findtext("transfer_url") or "").rsplit("/", 1)[1]
    assert ticket != root.get("id")
    assert root.findtext("proxy_url", "").endswith(f"/images/{ticket}")
    path = f"/imagetransfers/{root.get('id')}"
    assert http("POST", f"{path}/pause", "<action/>").detail == (
        "[Cannot pause image download as it's handled by the client."
        " Note that it can be canceled if you wish to stop it.]"
    )
    resumed = http("POST", f"{path}/resume", "<action/>")
    assert (resumed.status, resumed.detail) == (
        409,
        "[Cannot resume image transfer as it's not in a paused state.]",
    )
    done = http("POST", f"{path}/finalize", "<action/>")
    assert (done.status, done.root.findtext("status")) == (200, "complete")
    client.until(lambda: http("GET", path).root, lambda r: r.findtext("phase") == "finished_success")
    assert http("GET", path).root.find("transfer_url") is None
    assert http("POST", "/imagetransfers", "<image_transfer/>").status == 400
    unknown = "<image_transfer><disk id='12345678-1111-4222-8333-123456789012'/></image_transfer>"
    assert http("POST", "/imagetransfers", unknown).status == 500


# --- uploads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "domain"), [("cow", "data"), ("raw", "data"), ("cow", "lun"), ("raw", "lun")]
)
def test_raw_upload(box: Box, client: Client, form: str, domain: str) -> None:
    disk = box.add_disk(
        None, DiskSpec(8 * MIB, form, sparse=form == "cow" or domain == "data", domain=domain)
    )
    transfer = client.transfer(disk, direction=UPLOAD)
    options = client.http("OPTIONS", transfer.transfer_url).json()
    assert options["max_writers"] == 8
    data = noise(1, 2 * MIB)
    client.write(transfer.transfer_url, MIB, data)
    zero = {"op": "zero", "offset": 4 * MIB, "size": 4 * MIB, "flush": True}
    assert client.http("PATCH", transfer.transfer_url, json=zero).status_code == 200
    assert client.finalize(transfer) == "finished_success"
    assert box.read(disk, MIB, 2 * MIB) == data
    assert not any(box.read(disk, 4 * MIB, 4 * MIB))
    stale = any(box.read(disk, 0, MIB))
    assert stale == (form == "raw" and domain == "lun")
    assert box.content(disk).read_bytes() == box.read(disk, 0, 8 * MIB)


def test_a_chain_goes_up_layer_by_layer(box: Box, client: Client, tmp_path: Path) -> None:
    vm, (disk,) = make(box, DiskSpec(8 * MIB))
    box.snapshot(vm, "s")
    base, top = disk.layers
    files = [
        qcow2(tmp_path / "base", 8 * MIB, data=b"a" * MIB),
        qcow2(tmp_path / "top", 8 * MIB, backing=base.image_id, data=b"b" * 64 * KIB),
    ]
    for layer, data in zip((base, top), files, strict=True):
        up = by_layer(layer.image_id, direction=UPLOAD, format=types.DiskFormat.COW)
        transfer = client.transfer(**up)
        client.write(transfer.transfer_url, 0, data)
        other = top if layer is base else base
        assert refused(lambda o=other: client.transfer(**by_layer(o.image_id, direction=UPLOAD))) == (
            409,
            f"[Cannot transfer Virtual Disk. Disk {disk.alias} is being transferred.]",
        )
        assert client.finalize(transfer) == "finished_success"
    assert box.content(disk).read_bytes() == (b"b" * 64 * KIB + b"a" * (MIB - 64 * KIB)).ljust(8 * MIB, b"\0")


@pytest.mark.parametrize("wrong", ["backing", "size", "format", "cancel"])
def test_an_upload_that_fails_removes_the_whole_disk(
    box: Box, client: Client, tmp_path: Path, wrong: str
) -> None:
    vm, (disk,) = make(box, DiskSpec(8 * MIB))
    box.snapshot(vm, "s")
    top = disk.layers[1]
    parent = disk.layers[0].image_id
    data = {
        "backing": qcow2(tmp_path / "a", 8 * MIB, backing=f"/somewhere/{parent}"),
        "size": qcow2(tmp_path / "b", 9 * MIB, backing=parent),
        "format": b"not a qcow2 file".ljust(64 * KIB, b"."),
        "cancel": qcow2(tmp_path / "c", 8 * MIB, backing=parent),
    }[wrong]
    transfer = client.transfer(**by_layer(top.image_id, direction=UPLOAD, format=types.DiskFormat.COW))
    client.write(transfer.transfer_url, 0, data)
    end = client.cancel if wrong == "cancel" else client.finalize
    assert end(transfer) == "finished_failure"
    client.until(lambda: disk.id in box.world.disks, lambda there: not there)
    assert not top.path.parent.exists()
    assert vm.attachments == []


def test_a_qcow2_on_block_is_limited_by_its_volume(box: Box, client: Client) -> None:
    disk = box.add_disk(None, DiskSpec(512 * MIB, domain="lun", initial_size=MIB))
    transfer = client.transfer(disk, direction=UPLOAD, format=types.DiskFormat.COW)
    headers = {"Content-Range": f"bytes {128 * MIB}-{128 * MIB + 511}/*"}
    answer = client.http("PUT", transfer.transfer_url, data=b"x" * 512, headers=headers)
    assert answer.status_code == 416
    client.cancel(transfer)
    client.until(lambda: disk.id in box.world.disks, lambda there: not there)


def test_no_host_no_transfer(box: Box, client: Client) -> None:
    _, (disk,) = make(box, DiskSpec(4 * MIB))
    for host in box.world.hosts.values():
        host.status = "down"
    try:
        assert refused(lambda: client.transfer(disk)) == (400, "[]")
    finally:
        for host in box.world.hosts.values():
            host.status = "up"
    (failed,) = [t for t in client.transfers.list() if t.image.id == disk.id]
    assert failed.phase == types.ImageTransferPhase.FINISHED_FAILURE
    assert disk.status == "ok"


# --- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unix", [False, True])
def test_a_dropped_connection_is_a_short_body(box: Box, client: Client, unix: bool) -> None:
    _, (disk,) = make(box)
    box.write(disk, 0, noise(1, 8 * MIB))
    box.inject.drop_data(2 * MIB)
    transfer = client.transfer(disk)
    hits = box.inject.hits["drop_data"]
    if unix:
        path = client.http("OPTIONS", transfer.transfer_url).json()["unix_socket"]
        ticket = transfer.transfer_url.rsplit("/", 1)[1]
        command = ["curl", "-sS", "--unix-socket", path, f"http://localhost/images/{ticket}"]
        done = subprocess.run(command, capture_output=True)
        assert done.returncode != 0
        assert 0 < len(done.stdout) < disk.virtual_size
    else:
        with pytest.raises((OSError, AssertionError)):
            client.read(transfer.transfer_url, 0, 8 * MIB)
    assert box.inject.hits["drop_data"] == hits + 1
    if unix:  # one of the two doors has a cut left
        box.inject.drop_data(0, times=0)
    else:
        assert client.read(transfer.transfer_url, 0, 8 * MIB) == noise(1, 8 * MIB)
        box.inject.drop_data(0, times=0)
    client.finalize(transfer)


def test_an_imageio_restart_ends_downloads_and_pauses_uploads(box: Box, client: Client) -> None:
    _, (one, two) = make(box, DiskSpec(4 * MIB), DiskSpec(4 * MIB))
    down, up = client.transfer(one), client.transfer(two, direction=UPLOAD)
    box.inject.restart_imageio()
    assert client.wait_phase(down, "finished_failure") == "finished_failure"
    assert client.wait_phase(up, "paused_system") == "paused_system"
    client.cancel(up)
    client.until(lambda: two.id in box.world.disks, lambda there: not there)


def test_a_full_domain_fails_uploads(box: Box, client: Client) -> None:
    _, (disk,) = make(box, DiskSpec(4 * MIB))
    box.inject.fill_domain("data")
    try:
        for form in (types.DiskFormat.RAW, types.DiskFormat.COW):
            disk = box.add_disk(None, DiskSpec(4 * MIB, domain="lun"))
            box.inject.fill_domain("lun")
            transfer = client.transfer(disk, direction=UPLOAD, format=form)
            headers = {"Content-Range": f"bytes 0-{MIB - 1}/*"}
            try:
                answer = client.http("PUT", transfer.transfer_url, data=noise(1, MIB), headers=headers)
                assert answer.status_code == 500
            except requests.ConnectionError:
                pass  # the daemon hung up on the rest of the body, and TLS hid its answer
            client.cancel(transfer)
            box.inject.fill_domain("lun", False)
    finally:
        box.inject.fill_domain("data", False)
        box.inject.fill_domain("lun", False)


def test_transfers_outlive_an_engine_restart(box: Box, client: Client) -> None:
    _, (disk,) = make(box, DiskSpec(4 * MIB))
    transfer = client.transfer(disk)
    box.inject.restart_engine()
    assert client.sha(transfer.transfer_url, disk.virtual_size) == box.sha(disk)
    client.wait_phase(transfer, "finished_success")
