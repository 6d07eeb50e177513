"""VMs: started, stopped, frozen, changed, removed; events, jobs and tags."""

from __future__ import annotations

import ovirtsdk4 as sdk
import ovirtsdk4.types as types
import pytest
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.locks import VM, shared
from rest_client import Call


def refusal(call: object, *arguments: object, **named: object) -> tuple[int, str]:
    with pytest.raises(sdk.Error) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.code, caught.value.fault.detail


def test_a_vm_starts_and_stops(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("life", [DiskSpec(64 * MIB)], running=False)
    (disk,) = box.disks(vm)
    service = api.vms_service().vm_service(vm.id)
    assert service.get().status == types.VmStatus.DOWN
    assert service.get().host is None
    service.start()
    box.wait(lambda: service.get().status == types.VmStatus.UP, "the start")
    assert service.get().host.id in box.world.hosts
    assert refusal(service.start) == (409, "[Cannot run VM because the VM is in Up status.]")
    box.write(disk, 0, b"written while up")
    service.shutdown()
    box.wait(lambda: service.get().status == types.VmStatus.DOWN, "the shutdown")
    service.stop()  # of what is down: no error
    assert vm.status == "down"
    assert box.read(disk, 0, 16) == b"written while up"


def test_refused_actions_come_wrapped(box: Box, http: Call) -> None:
    vm = box.make_vm("wrapped", running=False)
    answer = http("POST", f"/vms/{vm.id}/freezefilesystems", "<action/>")
    assert (answer.status, answer.root.tag) == (409, "action")
    assert answer.root.findtext("status") == "failed"
    assert answer.root.findtext("fault/reason") == "Operation Failed"
    done = http("POST", f"/vms/{vm.id}/start", "<action/>")
    assert (done.status, done.root.findtext("status")) == (200, "complete")
    box.wait(lambda: vm.status == "up", "the start")


def test_locks_and_disks_keep_a_vm_down(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("kept", [DiskSpec(64 * MIB)], running=False)
    (disk,) = box.disks(vm)
    service = api.vms_service().vm_service(vm.id)
    box.engine.locks.take("a transfer", "", shared(VM, vm.id))
    assert refusal(service.start) == (
        409,
        "[Cannot run VM. Related operation is currently in progress. Please try again later.]",
    )
    box.engine.locks.drop("a transfer")
    disk.active.status = "locked"
    assert refusal(service.start) == (
        409,
        f"[Cannot run VM: The following disks are locked: {disk.alias}. Please try again in a few minutes.]",
    )
    assert refusal(service.remove)[0] == 409
    disk.active.status = "illegal"
    code, detail = refusal(service.start)
    assert code == 500
    assert "in ILLEGAL status" in detail
    disk.active.status = "ok"


def test_file_systems_are_frozen_by_an_agent(box: Box, api: sdk.services.SystemService, http: Call) -> None:
    with_agent = box.make_vm("agent", [DiskSpec(64 * MIB)], agent=True)
    service = api.vms_service().vm_service(with_agent.id)
    service.freeze_filesystems()
    assert with_agent.frozen
    service.thaw_filesystems()
    assert not with_agent.frozen
    without = box.make_vm("no-agent", [DiskSpec(64 * MIB)])
    answer = http("POST", f"/vms/{without.id}/freezefilesystems", "<action/>")
    assert (answer.status, answer.root.tag) == (400, "action")
    assert answer.detail == "[Unable to freeze guest filesystems]"
    box.stop_vm(without)
    answer = http("POST", f"/vms/{without.id}/freezefilesystems", "<action/>")
    assert (answer.status, answer.detail) == (409, "[Cannot freeze VM because the VM is in Down status.]")


def test_simple_fields_change(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("before", running=False)
    box.make_vm("taken", running=False)
    service = api.vms_service().vm_service(vm.id)
    generation = vm.generation
    service.update(types.Vm(name="after", description="words", memory=2 << 30, delete_protected=True))
    found = service.get()
    assert (found.name, found.description, found.memory) == ("after", "words", 2 << 30)
    assert vm.generation > generation
    assert refusal(service.update, types.Vm(name="taken"))[0] == 409
    assert refusal(service.remove) == (
        409,
        "[Cannot remove VM. Delete protection is enabled."
        " In order to delete, disable Delete protection first.]",
    )


def test_a_vm_is_removed_with_its_disks(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("gone", [DiskSpec(64 * MIB)])
    (disk,) = box.disks(vm)
    service = api.vms_service().vm_service(vm.id)
    assert refusal(service.remove) == (409, "[Cannot remove VM. VM is running.]")
    box.stop_vm(vm)
    service.remove()
    box.wait(lambda: disk.id not in box.world.disks, "the disk to go")
    assert not disk.active.path.exists()
    with pytest.raises(sdk.NotFoundError):
        service.get()


def test_a_vm_is_removed_and_its_disks_stay(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("leaves", [DiskSpec(64 * MIB)], running=False)
    (disk,) = box.disks(vm)
    made = box.snapshot(vm, "one")
    service = api.vms_service().vm_service(vm.id)
    assert refusal(service.remove, detach_only=True) == (
        409,
        "[Cannot remove VM with detaching disks, snapshots exist.]",
    )
    box.remove_snapshot(vm, made)
    service.remove(detach_only=True)
    found = api.disks_service().disk_service(disk.id).get()
    assert found.status == types.DiskStatus.OK
    assert disk.active.snapshot_id is None


def test_events_of_clients(box: Box, api: sdk.services.SystemService, http: Call) -> None:
    vm = box.make_vm("noted", running=False)
    service = api.events_service()
    made = service.add(
        types.Event(
            vm=types.Vm(id=vm.id),
            origin="borg",
            severity=types.LogSeverity.WARNING,
            custom_id=7,
            description="a word",
        )
    )
    assert made.code == 9802
    newest = service.list(max=1)[0]
    assert (newest.id, newest.description, newest.origin) == (made.id, "a word", "borg")
    again = types.Event(origin="borg", severity=types.LogSeverity.NORMAL, custom_id=7, description="x")
    assert refusal(service.add, again)[0] == 400
    own = types.Event(origin="OVIRT", severity=types.LogSeverity.NORMAL, custom_id=8, description="x")
    assert refusal(service.add, own)[0] == 400
    missing = http("POST", "/events", "<event><origin>x</origin></event>")
    assert (missing.status, missing.root.findtext("reason")) == (400, "Input validation failed.")
    assert [e.id for e in service.list(search="custom_event_id=7")] == [made.id]
    assert [e.id for e in service.list(search=f"vm.name={vm.name} and origin=borg")] == [made.id]


def test_events_are_read_on_from_an_index(box: Box, api: sdk.services.SystemService) -> None:
    service = api.events_service()
    start = service.list(max=1)[0].index
    box.make_vm("more", [DiskSpec(64 * MIB)], running=False)
    vm = box.vm("more")
    box.start_vm(vm)
    later = service.list(from_=start)
    assert [event.index for event in later] == sorted((event.index for event in later), reverse=True)
    assert all(event.index > start for event in later)
    assert {32, 150, 2016} <= {event.code for event in later}


def test_a_correlation_id_leads_to_events_and_jobs(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("followed", [DiskSpec(64 * MIB)], running=False)
    snapshots = api.vms_service().vm_service(vm.id).snapshots_service()
    snapshots.add(
        types.Snapshot(description="traced", persist_memorystate=False),
        query={"correlation_id": "trace-1"},
    )
    jobs = api.jobs_service()

    def status() -> list[types.JobStatus]:
        return [job.status for job in jobs.list(search="correlation_id=trace-1")]

    box.wait(lambda: status() == [types.JobStatus.FINISHED], "the job")
    codes = [event.code for event in api.events_service().list(search="correlation_id=trace-1")]
    assert codes == [68, 45]
    (job,) = jobs.list(search="correlation_id=trace-1")
    (step,) = jobs.job_service(job.id).steps_service().list()
    assert step.status == types.StepStatus.FINISHED
    box.shift(minutes=11)
    assert jobs.list(search="correlation_id=trace-1") == []


def test_tags(box: Box, api: sdk.services.SystemService) -> None:
    vm = box.make_vm("tagged", running=False)
    tags = api.tags_service()
    made = tags.add(types.Tag(name="nightly"))
    assert made.parent.id == "00000000-0000-0000-0000-000000000000"
    below = tags.add(types.Tag(name="weekly", parent=types.Tag(id=made.id)))
    assert below.parent.id == made.id
    assert refusal(tags.add, types.Tag(name="nightly"))[0] == 409
    service = api.vms_service().vm_service(vm.id).tags_service()
    service.add(types.Tag(name="weekly"))
    assert [tag.name for tag in service.list()] == ["weekly"]
    assert [v.name for v in api.vms_service().list(search="tag=nightly")] == ["tagged"]
    assert refusal(service.add, types.Tag(name="unknown")) == (400, "[Internal Engine Error]")
    service.tag_service(below.id).remove()
    assert service.list() == []
    tags.tag_service(made.id).remove()
    assert [tag.name for tag in tags.list()] == ["root"]  # the child goes along
    assert refusal(tags.add, types.Tag(name="two words"))[0] == 400
