"""What a running engine (4.5.8) was seen to answer where the box once answered otherwise."""

from __future__ import annotations

import uuid

import ovirtsdk4 as sdk
import pytest
from box_client import Client, refused
from ovirtbox.beside import MacPool
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.faults import Fault
from ovirtbox.imports import free_mac
from ovirtbox.model import Disk, Vm
from ovirtsdk4 import types
from rest_client import Call


@pytest.fixture
def client(box: Box, connection: sdk.Connection) -> Client:
    return Client(box, connection)


def make(box: Box, *specs: DiskSpec, **more: object) -> tuple[Vm, list[Disk]]:
    vm = box.make_vm(f"seen{len(box.world.vms)}", specs or [DiskSpec(8 * MIB)], **more)  # type: ignore[arg-type]
    return vm, box.disks(vm)


def layer(image_id: str) -> dict[str, object]:
    return {"snapshot": types.DiskSnapshot(id=image_id), "format": None}


def test_two_transfers_of_a_disk_hide_the_snapshots(box: Box, client: Client, http: Call) -> None:
    vm, (disk,) = make(box, running=False)
    snapshot = box.snapshot(vm, "one")
    other = box.snapshot(vm, "two")
    first = client.transfer(**layer(snapshot.images[disk.id]))
    path = f"/vms/{vm.id}/snapshots"
    assert http("GET", path).status == 200
    assert len(http("GET", f"/disks/{disk.id}/disksnapshots?include_active=true").root) == 3
    second = client.transfer(**layer(other.images[disk.id]))
    for place in (path, f"{path}/{snapshot.id}", f"{path}/{snapshot.id}/disks"):
        answer = http("GET", place)
        assert answer.status == 400
        assert (answer.detail or "").startswith(f"duplicate key {disk.active.image_id} (attempted merging")
    followed = http("GET", f"/vms/{vm.id}?follow=snapshots")
    assert (followed.status, followed.html) == (500, True)
    domain = f"/storagedomains/{disk.domain}/disksnapshots?include_active=true"
    mine = [row for row in http("GET", domain).root if row.find("disk").get("id") == disk.id]  # type: ignore[union-attr]
    assert len(mine) == 6
    assert len(http("GET", f"/disks/{disk.id}/disksnapshots").root) == 4
    client.finalize(first)
    assert http("GET", path).status == 200
    client.finalize(second)


def test_a_snapshot_of_the_vm_alone(box: Box, http: Call) -> None:
    vm, (disk,) = make(box, running=False)
    body = (
        "<snapshot><description>alone</description><persist_memorystate>false</persist_memorystate>"
        "<disk_attachments>{}</disk_attachments></snapshot>"
    )
    empty = http("POST", f"/vms/{vm.id}/snapshots", body.format(""))
    assert (empty.status, empty.html) == (500, True)
    made = http("POST", f"/vms/{vm.id}/snapshots", body.format("<disk_attachment/>"))
    assert (made.status, made.root.findtext("snapshot_status")) == (201, "locked")
    assert made.root.find("initialization/configuration/data") is not None
    box.wait(lambda: all(s.status == "ok" for s in vm.snapshots), "the snapshot")
    box.as_found()
    assert len(disk.layers) == 1
    assert len(http("GET", f"/vms/{vm.id}/snapshots/{made.root.get('id')}/disks").root) == 0


def test_a_cold_merge_locks_the_disk(box: Box, http: Call) -> None:
    vm, (disk,) = make(box, running=False)
    snapshot = box.snapshot(vm, "one")
    tick, box.engine.clock.tick = box.engine.clock.tick, 1.0
    try:
        assert http("DELETE", f"/vms/{vm.id}/snapshots/{snapshot.id}").status == 200
    finally:
        box.engine.clock.tick = tick
    assert http("GET", f"/disks/{disk.id}").root.findtext("status") == "locked"
    assert http("GET", f"/vms/{vm.id}?all_content=true").root.find("initialization") is None
    box.wait(lambda: snapshot not in vm.snapshots, "the merge")
    assert http("GET", f"/disks/{disk.id}").root.findtext("status") == "ok"
    assert http("GET", f"/vms/{vm.id}?all_content=true").root.find("initialization") is not None


def test_transfers_of_what_is_not_there(box: Box, client: Client) -> None:
    general = (500, "[General command validation failure.]")
    vm, (disk, beside) = make(box, DiskSpec(8 * MIB), DiskSpec(8 * MIB), running=False)
    unknown = types.Backup(id=str(uuid.uuid4()))
    assert refused(lambda: client.transfer(disk, backup=unknown)) == general
    backup = client.start_backup(vm, [disk], legacy=False)
    assert refused(lambda: client.transfer(beside, backup=types.Backup(id=backup.id))) == general
    client.end_backup(vm, backup.id)
    anywhere = client.transfer(disk, host=types.Host(id=str(uuid.uuid4())))
    client.finalize(anywhere)


def test_status_actions_of_unknown_transfers(http: Call) -> None:
    path = f"/imagetransfers/{uuid.uuid4()}"
    for action in ("finalize", "cancel", "extend", "pause", "resume"):
        assert http("POST", f"{path}/{action}", "<action/>").status == 200
        assert http("POST", f"/imagetransfers/nonsense/{action}", "<action/>").status == 404
    assert http("POST", f"{path}/finalize", headers={"Content-Type": "text/plain"}).status == 415
    assert http("POST", f"{path}/finalize", "").html


def test_searches_that_the_database_refuses(http: Call) -> None:
    for place in ("/vms?search=id=nonsense", "/jobs?search=status=started", "/jobs?search=nonsense"):
        answer = http("GET", place)
        assert answer.status == 400
        assert (answer.detail or "").startswith("statementcallback; ")
    assert http("GET", "/vms?max=-1").detail == "illegal max count value for query : -1"
    assert len(http("GET", "/clusters?max=0").root) == 0
    assert len(http("GET", "/datacenters?search=Clusters.name=Default").root) == 1
    assert len(http("GET", "/storagedomains?search=type=data").root) == 0


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        ("/vms/{vm}?follow=nonsense", False),
        ("/vms/{vm}?follow=disk_attachments.nonsense", False),
        ("/vms/{vm}?follow=permissions,checkpoints,backups,statistics", False),
        ("/disks/{disk}?follow=storage_domains", False),
        ("/disks/{disk}/disksnapshots?include_active=true&follow=snapshot", False),
        ("/vms/{vm}?follow=disk_attachments.disk,snapshots.disks,nics,tags,cluster,host,template", True),
        ("/disks/{disk}?follow=disk_snapshots", True),
        ("/vms/{vm}?follow=", True),
    ],
)
def test_links_that_cannot_be_followed(box: Box, http: Call, path: str, fine: bool) -> None:
    vm, (disk,) = make(box, running=False)
    snapshot = box.snapshot(vm, "one")
    answer = http("GET", path.format(vm=vm.id, disk=disk.id))
    assert (answer.status, answer.html) == ((200, False) if fine else (500, True))
    box.remove_snapshot(vm, snapshot)


def test_events_after_an_index_are_the_newest(box: Box, http: Call) -> None:
    before = box.world.events[-1].index if box.world.events else 0
    make(box, running=False)
    make(box, running=False)
    everything = [int(e.get("id", 0)) for e in http("GET", f"/events?from={before}").root]
    assert len(everything) > 1
    newest = [int(e.get("id", 0)) for e in http("GET", f"/events?from={before}&max=1").root]
    assert newest == everything[:1]
    assert http("GET", "/events/nonsense").detail == 'For input string: "nonsense"'


def test_an_external_event_has_only_the_correlation_of_its_body(box: Box, http: Call) -> None:
    body = (
        "<event><origin>x</origin><severity>normal</severity><custom_id>{}</custom_id>"
        "<description>d</description>{}</event>"
    )
    header = {"Correlation-Id": "of-the-header"}
    plain = http("POST", "/events", body.format(1, ""), headers=header)
    assert plain.root.find("correlation_id") is None
    said = "<correlation_id>of-the-body</correlation_id>"
    assert http("POST", "/events", body.format(2, said)).root.findtext("correlation_id") == "of-the-body"


def test_disks_when_they_are_edited(box: Box, http: Call) -> None:
    _, (disk,) = make(box, running=False)
    path = f"/disks/{disk.id}"
    assert http("PUT", path, "<disk><alias>a b</alias></disk>").status == 400
    tick, box.engine.clock.tick = box.engine.clock.tick, 0.5
    try:
        assert http("PUT", path, "<disk><description>1</description></disk>").status == 200
        again = http("PUT", path, "<disk><description>2</description></disk>")
    finally:
        box.engine.clock.tick = tick
    assert (again.status, "${diskAliases}" in (again.detail or "")) == (409, True)
    box.wait(lambda: http("PUT", path, "<disk/>").status == 200, "the lock to go")
    long = f"<disk><alias>{'x' * 256}</alias><provisioned_size>1</provisioned_size><format>cow</format>"
    domain = f"<storage_domains><storage_domain id='{disk.domain}'/></storage_domains></disk>"
    assert http("POST", "/disks", long + domain).detail == "[]"


def test_what_the_model_does_not_know_is_a_bug_of_the_box(box: Box, http: Call, monkeypatch: object) -> None:
    from ovirtbox.rest import root

    assert isinstance(monkeypatch, pytest.MonkeyPatch)
    kept = list(box.engine.bugs)
    plain = root.leaf
    monkeypatch.setattr(root, "leaf", lambda tag, value: plain(tag.replace("vendor", "vendr"), value))
    http("GET", "")
    monkeypatch.undo()
    new = box.engine.bugs[len(kept) :]
    box.engine.bugs[:] = kept
    assert new == ["GET /ovirt-engine/api: the model does not know api.product_info.vendr: no such element"]


@pytest.mark.parametrize("body", ["<backup/>", "<backup><disks/></backup>"])
def test_a_backup_of_no_disks(box: Box, http: Call, body: str) -> None:
    vm, _ = make(box)
    answer = http("POST", f"/vms/{vm.id}/backups", body)
    assert (answer.status, answer.root.findtext("reason")) == (400, "Input validation failed.")
    assert answer.detail == "Parameter 'backup.disks' is mandatory but was not provided."


@pytest.mark.parametrize(("legacy", "host", "modes"), [(True, True, set()), (False, False, {"full"})])
def test_what_a_backup_shows(
    box: Box, client: Client, http: Call, legacy: bool, host: bool, modes: set[str]
) -> None:
    """A cold one has a host, a hybrid one none; the modes of a hybrid one stay when it is over."""
    vm, disks = make(box, running=False)
    made = client.start_backup(vm, disks, legacy=legacy)
    path = f"/vms/{vm.id}/backups/{made.id}"
    assert (http("GET", path).root.find("host") is not None) == host
    client.end_backup(vm, made.id)
    assert {m.text for m in http("GET", f"{path}/disks").root.iter("backup_mode")} == modes
    client.remove_checkpoint(vm, made.to_checkpoint_id)
    assert box.clean() == []


def test_a_layer_is_found_through_any_disk_and_domain(box: Box, http: Call) -> None:
    _, (one,) = make(box, running=False)
    _, (other,) = make(box, running=False)
    for path in (f"/disks/{other.id}/disksnapshots", f"/storagedomains/{uuid.uuid4()}/disksnapshots"):
        assert http("GET", f"{path}/{one.active.image_id}").status == 200


def test_a_pool_without_addresses() -> None:
    pool = MacPool("tiny", first=10, last=11)
    assert free_mac({"00:00:00:00:00:0a"}, pool) == "00:00:00:00:00:0b"
    with pytest.raises(Fault, match="Not enough MAC addresses left"):
        free_mac({"00:00:00:00:00:0a", "00:00:00:00:00:0b"}, pool)


def test_a_lost_checkpoint_costs_all_of_them(box: Box, client: Client) -> None:
    """Of a running VM, by a live backup from it or by its removal; so where its disk is not plugged in."""
    for spoil in ("crash", "unplug"):
        for ask in ("backup", "removal"):
            vm, disks = make(box, DiskSpec(8 * MIB), DiskSpec(8 * MIB))
            for _ in range(2):
                client.end_backup(vm, client.start_backup(vm, disks).id)
            first, _ = client.checkpoints(vm)
            if spoil == "crash":
                box.crash_vm(vm)
                box.start_vm(vm)
            else:
                box.unplug(vm, disks[1])
            service = client.backups(vm)
            wanted = types.Backup(disks=[types.Disk(id=disks[0].id)], from_checkpoint_id=first.id)
            if ask == "backup":
                answer = refused(lambda w=wanted, s=service: s.add(w, query={"legacy": "true"}))  # type: ignore[misc]
            else:
                answer = refused(lambda v=vm, c=first: client.remove_checkpoint(v, c.id))  # type: ignore[misc]
            assert answer == (400, "[]")
            assert client.checkpoints(vm) == []
            codes = {event.code for event in box.world.events if event.vm_id == vm.id}
            assert (10791 if ask == "backup" else 10798) in codes
