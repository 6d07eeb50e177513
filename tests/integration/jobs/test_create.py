"""`borg-ovirt create`: one instant of a VM into an archive that stock borg reads back bit for bit."""

from __future__ import annotations

import json
import threading

from harness import Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

MIB = 1 << 20


def three_disks(box: Box, name: str, running: bool = True, cluster: str = "Default") -> Vm:
    vm = box.make_vm(
        name,
        [
            DiskSpec(64 * MIB, bootable=True),
            DiskSpec(48 * MIB + 512, domain="lun"),
            DiskSpec(32 * MIB, format="raw"),
        ],
        running=running,
        cluster=cluster,
    )
    for number, disk in enumerate(box.disks(vm)):
        box.fill(disk, 3 * MIB + 4096 * number, 6 * MIB, seed=number)
    return vm


def test_a_running_vm_is_archived_as_it_was_at_one_instant(box: Box, desk: Desk) -> None:
    vm = three_disks(box, "web01")
    disks = box.disks(vm)
    ended = threading.Event()
    written = []

    def guest() -> None:
        while not ended.is_set():
            count = len(written)
            box.write(disks[count % 2], (count * 65536) % (40 * MIB), f"write {count}".encode() * 500)
            written.append(1)

    thread = threading.Thread(target=guest)
    thread.start()
    try:
        made = desk.create(vm)
    finally:
        ended.set()
        thread.join()
    assert len(written) > 2
    assert made["kind"] == "full"
    desk.assert_archived(made["archive"], vm)
    assert desk.truth_sha(made["archive"], disks[0]) != box.sha(disks[0])
    desk.borg("check", "--verify-data", desk.repo)
    desk.assert_clean()


def test_the_second_backup_reads_what_changed_and_is_complete(box: Box, desk: Desk) -> None:
    vm = three_disks(box, "web02")
    first = desk.create(vm)
    disk = box.disks(vm)[0]
    box.fill(disk, 20 * MIB, MIB, seed=77)
    second = desk.create(vm, "--sample", "0")
    assert second["kind"] == "incremental"
    by_disk = {d["facts"]["id"]: d for d in second["disks"]}
    assert by_disk[disk.id]["stats"]["bytes_read"] == MIB
    desk.borg("delete", f"{desk.repo}::{first['archive']}")
    desk.borg("compact", "--threshold", "0", desk.repo)
    desk.assert_archived(second["archive"], vm)
    desk.assert_clean()
    listed = json.loads(desk.run("list", "--json", desk.repo).ok().out)
    assert [a["archive"] for a in listed["archives"]] == [second["archive"]]


def test_a_wait_for_the_engine_is_told_for_a_single_vm_too(box: Box, desk: Desk) -> None:
    box.make_vm("alone", [DiskSpec(MIB, bootable=True)], running=False)
    box.inject.latency(1.0, "*/backups/*", "GET")  # so that its end is not known when the archive is there
    try:
        told = desk.run("create", f"{desk.repo}::alone").ok().err.splitlines()
    finally:
        box.inject.clear()
    assert told[-1] == "waiting for the engine to finish its part"
    assert "archive alone-" in told[-2]
