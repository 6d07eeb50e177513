"""Transfers both ways, and what a restore makes, on the box."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ovirt_bed import PATIENCE, MiB, digest, noise
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk

from borg_ovirt.errors import BorgOvirtError, EngineRefused, Timeout, TransferFailed
from borg_ovirt.ovirt.data.transfer import TransferRequest, Upload, download, upload
from borg_ovirt.ovirt.data.transfers import end_transfer, find_transfer
from borg_ovirt.ovirt.facts.ovf import parse, rewrite
from borg_ovirt.ovirt.facts.vm import fetch_ovf, find_vm, read_disk
from borg_ovirt.ovirt.make.disks import MadeDisk, NewDisk, disk_exists
from borg_ovirt.ovirt.make.machines import MadeVm, missing_disks
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.cleanup import heal
from borg_ovirt.ovirt.tracked.journal import Journal

SIZE = 6 * MiB + 512


@pytest.fixture
def disk(box: Box) -> Iterator[Disk]:
    """A floating disk with something in it."""
    made = box.add_disk(None, DiskSpec(SIZE, alias="floating"))
    box.fill(made, MiB, 2 * MiB, seed=1)
    yield made
    if made.id in box.world.disks:
        box.delete_disk(made)


def down(disk: Disk, **more: object) -> TransferRequest:
    return replace(TransferRequest("download", disk.id, "disk floating", SIZE), **more)  # type: ignore[arg-type]


def up(disk: Disk, **more: object) -> TransferRequest:
    return replace(down(disk, **more), direction="upload")


@pytest.mark.parametrize("begins", [True, False], ids=["begins", "hangs"])
def test_an_upload_over_a_disk_that_is_only_beginning_is_ended_once_it_has_begun(
    box: Box, engine: Engine, journal: Journal, disk: Disk, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    """The engine shows it as soon as it is asked for; what is asked of it then is forgotten."""
    before, opening, go_on = box.sha(disk), threading.Event(), threading.Event()
    real = box.engine.data.open_transfer

    def slow(*given: Any, **named: Any) -> Any:
        opening.set()
        assert go_on.wait(60)
        return real(*given, **named)

    def start() -> None:
        with contextlib.suppress(BorgOvirtError):
            sending.start()

    monkeypatch.setattr(box.engine.data, "open_transfer", slow)
    sending = Upload(engine, journal, up(disk, keep_disk=True))
    starting = threading.Thread(target=start)
    starting.start()
    assert opening.wait(60)
    (transfer,) = [t for t in box.world.transfers.values() if t.disk_id == disk.id]
    assert transfer.phase == "initializing"
    if begins:
        threading.Timer(0.5, go_on.set).start()
        end_transfer(engine, transfer.id, "disk floating", keep_disk=True)
        assert transfer.phase == "finished_success"
    else:
        with engine.hurried(replace(PATIENCE, unwind=1.0)), pytest.raises(Timeout):
            end_transfer(engine, transfer.id, "disk floating", keep_disk=True)
        go_on.set()
    starting.join()
    sending.abort()
    assert (disk.status, box.sha(disk)) == ("ok", before)
    assert journal.unfinished == []


def test_down_and_up_again(box: Box, engine: Engine, journal: Journal, disk: Disk) -> None:
    with download(engine, journal, down(disk)) as transfer:
        assert disk.status == "locked"
        assert digest(transfer.source) == box.sha(disk)
        transfer.finish()
    assert disk.status == "ok"
    data = noise(7, SIZE)
    with upload(engine, journal, up(disk)) as sending:
        writer = sending.target.open()
        writer.write(0, [memoryview(data)])
        writer.zero(MiB, MiB)
        writer.flush()
        writer.close()
        wanted = data[:MiB] + bytes(MiB) + data[2 * MiB :]
        outer = hashlib.sha256()
        for start in range(0, SIZE, 4 * MiB):
            outer.update(hashlib.sha256(wanted[start : start + 4 * MiB]).digest())
        assert sending.target.checksum("sha256", 4 * MiB) == outer.hexdigest()
        assert sending.target.export_size() == SIZE
        sending.finish()
    assert disk.status == "ok"
    with download(engine, journal, down(disk)) as transfer:
        assert digest(transfer.source) == hashlib.sha256(wanted).hexdigest()
        transfer.finish()


def test_the_bytes_of_a_layers_file(box: Box, engine: Engine, journal: Journal) -> None:
    vm = box.make_vm("layered", [DiskSpec(4 * MiB)])
    disk = box.disks(vm)[0]
    box.fill(disk, 0, MiB, seed=2)
    snapshot = box.snapshot(vm, "frozen")
    layer = disk.layers[0]
    size = layer.path.stat().st_size
    request = TransferRequest(
        "download", disk.id, "layer", size, vm_id=vm.id, image_id=layer.image_id, format=None
    )
    with download(engine, journal, request) as transfer:
        assert digest(transfer.source) == hashlib.sha256(layer.path.read_bytes()).hexdigest()
        transfer.finish()
    box.remove_snapshot(vm, snapshot)


def test_leaving_a_download_only_cancels_it(box: Box, engine: Engine, journal: Journal, disk: Disk) -> None:
    with download(engine, journal, down(disk)):
        pass
    assert disk.status == "ok"


def test_leaving_an_upload_removes_the_disk(box: Box, engine: Engine, journal: Journal, disk: Disk) -> None:
    with upload(engine, journal, up(disk)) as sending:
        sending.target.open().write(0, [memoryview(noise(1, MiB))])
    assert disk.id not in box.world.disks


def test_what_the_engine_refuses_is_raised_as_it_says_it(
    box: Box, engine: Engine, journal: Journal, disk: Disk
) -> None:
    impatient = Engine(engine.access, patience=replace(PATIENCE, lock=0.2))
    with impatient, download(engine, journal, down(disk)):
        second = download(impatient, journal, down(disk))
        with pytest.raises(EngineRefused, match="locked"):
            second.__enter__()
        assert len(journal.unfinished) == 1


def test_a_locked_disk_is_waited_for(box: Box, engine: Engine, journal: Journal, disk: Disk) -> None:
    detail = "[Cannot transfer Virtual Disk: The following disks are locked: x. Please try again.]"
    box.inject.status("POST", "/imagetransfers", 409, detail=detail, times=3)
    with download(engine, journal, down(disk)) as transfer:
        transfer.finish()


def test_an_upload_survives_a_daemon_that_forgets_its_ticket(
    box: Box, engine: Engine, journal: Journal, disk: Disk
) -> None:
    data = noise(8, 4 * MiB)
    with upload(engine, journal, up(disk)) as sending:
        writer = sending.target.open()
        writer.write(0, [memoryview(data)[: 2 * MiB]])
        writer.flush()
        box.inject.restart_imageio()
        writer.write(2 * MiB, [memoryview(data)[2 * MiB :]])
        writer.flush()
        writer.close()
        sending.finish()
    assert box.read(disk, 0, 4 * MiB) == data


def test_an_end_that_the_engine_has_forgotten(box: Box, engine: Engine, journal: Journal, disk: Disk) -> None:
    """Engines before 4.4.7 forget a transfer with its end: the disk tells how it went."""
    with download(engine, journal, down(disk)) as transfer:
        digest(transfer.source)
        transfer.finalize()
        box.wait(lambda: disk.status == "ok", "the end")
        box.inject.status("GET", f"/imagetransfers/{transfer.id}", 404, "empty", times=10)
        transfer.wait_success()
    box.inject.clear()


def test_an_upload_that_is_not_what_it_says_fails(
    box: Box, engine: Engine, journal: Journal, disk: Disk
) -> None:
    """File bytes that are no qcow2: the engine removes the disk."""
    with upload(engine, journal, up(disk, format=None)) as sending:
        writer = sending.target.open()
        writer.write(0, [memoryview(noise(9, MiB))])
        writer.close()
        with pytest.raises(TransferFailed, match="removed"):
            sending.finish()
    box.wait(lambda: disk.id not in box.world.disks, "the disk to go")


def test_our_mark_finds_only_our_transfer(box: Box, engine: Engine, journal: Journal, disk: Disk) -> None:
    with download(engine, journal, down(disk)) as transfer:
        mark = transfer._mark
        assert find_transfer(engine, disk.id, "download", mark) == transfer.id
        assert find_transfer(engine, disk.id, "download", mark + 1) is None
        assert find_transfer(engine, disk.id, "upload", mark) is None
        assert 3600 < mark < 3600 + 10_000


def test_a_waiting_ticket_is_kept_alive(
    box: Box, engine: Engine, journal: Journal, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("borg_ovirt.ovirt.data.transfer.KEEP_ALIVE", 0.2)
    with download(engine, journal, down(disk)) as transfer:
        before = transfer.session._last_used
        deadline = time.monotonic() + 10
        while transfer.session._last_used == before and time.monotonic() < deadline:
            time.sleep(0.02)
        assert transfer.session._last_used > before
        transfer.finish()


# -- what a restore makes --------------------------------------------------------------------------------


def new_disk(box: Box, **more: object) -> NewDisk:
    made = NewDisk(
        id=str(uuid.uuid4()),
        image_id=str(uuid.uuid4()),
        alias="restored",
        size=SIZE,
        format="cow",
        sparse=True,
        storage_domain_id=box.domain("data").id,
        backup="incremental",
    )
    return replace(made, **more)  # type: ignore[arg-type]


def test_a_disk_is_made_as_asked(box: Box, engine: Engine, journal: Journal) -> None:
    wanted = new_disk(box)
    made = MadeDisk(engine, journal, wanted)
    made.make()
    facts = read_disk(engine, wanted.id)
    assert (facts.size, facts.image_id, facts.backup, facts.status) == (
        SIZE,
        wanted.image_id,
        "incremental",
        "ok",
    )
    other = MadeDisk(engine, journal, replace(wanted, fresh=False))
    with pytest.raises(EngineRefused, match="already"):
        other.make()
    assert other.remove(), "it is not its own: nothing is removed"
    assert disk_exists(engine, wanted.id)
    assert made.remove()
    assert made.remove()
    assert not disk_exists(engine, wanted.id)
    assert journal.unfinished == []


def test_a_disk_that_cannot_be_kept_leaves_nothing(box: Box, engine: Engine, journal: Journal) -> None:
    wanted = new_disk(box, format="raw", sparse=False, backup="none")
    box.inject.fill_domain("data")
    made = MadeDisk(engine, journal, wanted)
    with pytest.raises(EngineRefused):
        made.make()
    box.inject.fill_domain("data", full=False)
    assert made.remove()
    assert journal.unfinished == []
    assert wanted.id not in box.world.disks


def test_a_disk_whose_making_was_answered_late_is_found(box: Box, engine: Engine, tmp_path: Path) -> None:
    hasty = Engine(replace(engine.access, timeout=1.0), patience=PATIENCE)
    with hasty, Journal(tmp_path, engine.instance_id) as journal:
        wanted = new_disk(box)
        box.inject.latency(1.6, "/disks", "POST", times=1)
        MadeDisk(hasty, journal, wanted).make()
        assert read_disk(engine, wanted.id).status == "ok"
    assert [text.split()[0] for text in heal(engine, tmp_path)] == ["disk"]
    assert not disk_exists(engine, wanted.id)


def test_a_vm_beside_the_original_and_its_removal(box: Box, engine: Engine, tmp_path: Path) -> None:
    vm = box.make_vm("original", [DiskSpec(MiB, bootable=True)])
    ovf = fetch_ovf(engine, vm.id)
    (old,) = parse(ovf).disk_ids
    wanted = new_disk(box, size=MiB)
    ids = {vm.id: str(uuid.uuid4()), old: wanted.id, box.disks(vm)[0].active.image_id: wanted.image_id}
    copy = rewrite(ovf, ids, name="copy", fresh=True)
    with Journal(tmp_path, engine.instance_id) as journal:
        MadeDisk(engine, journal, wanted).make()
        MadeVm(engine, journal, copy, vm_id=ids[vm.id], name="copy", cluster_id=vm.cluster).make()
        assert missing_disks(engine, ids[vm.id], [wanted.id]) == []
        facts = find_vm(engine, "copy")
        assert (facts.id, [d.id for d in facts.disks]) == (ids[vm.id], [wanted.id])
        assert {nic.mac for nic in box.vm("copy").nics}.isdisjoint(nic.mac for nic in vm.nics)
        with pytest.raises(EngineRefused, match="is there already"):
            MadeVm(
                engine, journal, copy, vm_id=ids[vm.id], name="other", cluster_id=vm.cluster, fresh=False
            ).make()
        with pytest.raises(EngineRefused, match="is there already"):
            MadeVm(
                engine, journal, ovf, vm_id=vm.id, name="original", cluster_id=vm.cluster, fresh=False
            ).make()
        assert len(journal.unfinished) == 2
    # The run "died" here: VM and disk go, the original stays.
    done = heal(engine, tmp_path)
    assert done[0].startswith("vm")  # with its disk: all of it was made by that run
    assert vm.id in box.world.vms
    assert ids[vm.id] not in box.world.vms
    assert wanted.id not in box.world.disks
    assert old in box.world.disks


def test_an_import_that_is_answered_late_is_found(box: Box, engine: Engine, tmp_path: Path) -> None:
    vm = box.make_vm("slow import", [])
    copy = rewrite(fetch_ovf(engine, vm.id), {vm.id: str(uuid.uuid4())}, name="late", fresh=True)
    made = parse(copy).vm_id
    hasty = Engine(replace(engine.access, timeout=1.0), patience=PATIENCE)
    with hasty, Journal(tmp_path, engine.instance_id) as journal:
        box.inject.latency(1.6, "/vms", "POST", times=1)
        late = MadeVm(hasty, journal, copy, vm_id=made, name="late", cluster_id=vm.cluster)
        late.make()
        assert find_vm(engine, "late").status == "down"
        assert late.remove()


def test_an_intent_that_never_was_costs_nobody_a_vm_or_a_disk(
    box: Box, engine: Engine, tmp_path: Path
) -> None:
    """A run that died between its intent and its request: who has that id now is somebody else."""
    vm = box.make_vm("innocent", [DiskSpec(MiB)], running=False)
    with Journal(tmp_path, engine.instance_id) as journal:
        journal.intend("vm", id=vm.id, name=vm.name)
        journal.intend("disk", id=box.disks(vm)[0].id, alias="innocent")
    box.shift(hours=1)
    assert heal(engine, tmp_path) == []
    assert vm.id in box.world.vms
    assert box.disks(vm)[0].id in box.world.disks
