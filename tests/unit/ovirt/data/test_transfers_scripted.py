"""A transfer from its intent to its end, whatever the engine says of it."""

# ruff: noqa: PT012  (what fails in these tests is the leaving of a block)

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from unit.ovirt.script import HANG_UP, Answer, Request, Script, as_json, fault

from borg_ovirt.errors import EngineRefused, Timeout, TransferFailed
from borg_ovirt.ovirt.data import transfer as module
from borg_ovirt.ovirt.data.transfer import INACTIVITY, Download, TransferRequest, Upload, download, upload
from borg_ovirt.ovirt.session.engine import Engine
from borg_ovirt.ovirt.tracked.journal import Journal

TRANSFERS, ONE, DISK = "/imagetransfers", "/imagetransfers/t-1", "/disks/disk-1"
TICKET = "/images/0f8fad5b-d9cb-469f-a165-70867728950e"
DONE = Answer(body="<action><status>complete</status></action>")
OF_A_BACKUP = TransferRequest("download", "disk-1", "disk root", 1000, vm_id="vm-1", backup_id="b-1")
RAW = TransferRequest("download", "disk-1", "disk root", 1000, vm_id="vm-1")
LAYER = TransferRequest("download", "disk-1", "layer i-1", 1000, vm_id="vm-1", image_id="i-1", format=None)
INTO = TransferRequest("upload", "disk-1", "disk root", 1000)


def phase(script: Script, name: str, more: str = "") -> str:
    return (
        f"<image_transfer id='t-1'><phase>{name}</phase><transfer_url>{script.url}{TICKET}</transfer_url>"
        f"{more}</image_transfer>"
    )


@pytest.fixture
def moving(script: Script) -> Script:
    """An engine whose transfer starts after a while, and a daemon that knows its ticket."""
    script.on("POST", TRANSFERS, Answer(201, phase(script, "initializing")))
    script.on("GET", ONE, phase(script, "initializing"), phase(script, "transferring"))
    script.on("GET", TRANSFERS, "<image_transfers/>")
    script.on("POST", f"{ONE}/finalize", DONE)
    script.on("POST", f"{ONE}/cancel", DONE)
    script.on("OPTIONS", TICKET, as_json({"features": ["extents"]}))
    script.on("GET", DISK, disk("locked"), disk("ok"))
    return script


def disk(status: str) -> str:
    return f"<disk id='disk-1'><alias>root</alias><status>{status}</status></disk>"


def started(engine: Engine, journal: Journal, request: TransferRequest) -> Download:
    transfer = Download(engine, journal, request)
    transfer.start()
    return transfer


def open_entries(journal: Journal) -> list[str]:
    return [entry.kind for entry in journal.unfinished]


def asked_for(script: Script) -> str:
    return script.asked("POST", TRANSFERS)[-1].body.decode()


@pytest.mark.parametrize(
    ("request_", "holds", "lacks"),
    [
        (
            OF_A_BACKUP,
            ["<backup id", "<disk id", "<format>raw", "<direction>download"],
            ["<snapshot", "<shallow"],
        ),
        (LAYER, ["<snapshot id='i-1'", "<direction>download"], ["<disk ", "<format", "<backup"]),
        (INTO, ["<direction>upload", "<disk id"], ["<snapshot", "<backup"]),
    ],
)
def test_what_is_asked_for(
    moving: Script,
    engine: Engine,
    journal: Journal,
    request_: TransferRequest,
    holds: list[str],
    lacks: list[str],
) -> None:
    noted: list[str] = []

    def add(request: Request) -> Answer:
        noted.append(journal.path.read_text())
        return Answer(201, phase(moving, "initializing"))

    moving.on("POST", TRANSFERS, add)
    transfer = started(engine, journal, request_)
    body = asked_for(moving).replace('"', "'")
    for words in holds:
        assert words in body
    for words in lacks:
        assert words not in body
    assert '"kind":"transfer"' in noted[0], "it is written down before it is made"
    mark = json.loads(noted[0].splitlines()[-1])["facts"]["mark"]
    assert f"<inactivity_timeout>{mark}<" in body
    assert mark > INACTIVITY >= 3600, "0 would be taken literally"
    moving.on("GET", ONE, phase(moving, "finished_success"))
    transfer.hang_up()


def test_success_is_what_the_engine_calls_so(moving: Script, engine: Engine, journal: Journal) -> None:
    with download(engine, journal, OF_A_BACKUP) as transfer:
        moving.on("GET", ONE, phase(moving, "finalizing_success"), phase(moving, "finished_success"))
        transfer.finish()
    assert open_entries(journal) == []
    assert moving.asked("POST", f"{ONE}/cancel") == []
    with pytest.raises(TransferFailed, match="was closed"):
        transfer.session.dial()


def test_failure_at_the_end_is_a_failure(moving: Script, engine: Engine, journal: Journal) -> None:
    transfer = started(engine, journal, OF_A_BACKUP)
    moving.on("GET", ONE, phase(moving, "finished_failure"))
    with pytest.raises(TransferFailed, match="ended with finished_failure; the data may be wrong"):
        transfer.finish()
    assert open_entries(journal) == []


@pytest.mark.parametrize(("status", "good"), [("ok", True), ("illegal", False), (None, False)])
def test_an_end_that_the_engine_forgot_is_told_by_the_disk(
    moving: Script, engine: Engine, journal: Journal, status: str | None, good: bool
) -> None:
    transfer = started(engine, journal, RAW)
    moving.on("GET", ONE, Answer(404, "<fault/>"))
    moving.on("GET", DISK, disk("locked"), disk(status) if status else Answer(404, "<fault/>"))
    if good:
        transfer.finish()
    else:
        with pytest.raises(TransferFailed, match="ended with gone"):
            transfer.finish()
    assert open_entries(journal) == []


def test_a_raw_disk_is_waited_for_until_it_is_unlocked(
    moving: Script, engine: Engine, journal: Journal
) -> None:
    transfer = started(engine, journal, RAW)
    moving.on("GET", ONE, phase(moving, "finished_success"))
    transfer.finish()
    assert len(moving.asked("GET", DISK)) == 2


def test_leaving_without_an_end_cancels_and_waits(moving: Script, engine: Engine, journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), download(engine, journal, OF_A_BACKUP):
        moving.on(
            "GET",
            ONE,
            phase(moving, "transferring"),
            phase(moving, "cancelled_system"),
            phase(moving, "finished_cleanup"),
            phase(moving, "finished_failure"),
        )
        raise ZeroDivisionError
    assert len(moving.asked("POST", f"{ONE}/cancel")) == 1
    assert len(moving.asked("GET", ONE)) >= 5
    assert open_entries(journal) == []


def test_what_ends_already_is_not_cancelled(moving: Script, engine: Engine, journal: Journal) -> None:
    """A finished upload that is cancelled would lose its disk."""
    with pytest.raises(ZeroDivisionError), upload(engine, journal, INTO) as transfer:
        moving.on("GET", ONE, phase(moving, "finalizing_success"), phase(moving, "finished_success"))
        transfer.finalize()
        raise ZeroDivisionError
    assert moving.asked("POST", f"{ONE}/cancel") == []
    assert open_entries(journal) == []


def test_a_transfer_that_does_not_start_leaves_nothing(
    moving: Script, engine: Engine, journal: Journal
) -> None:
    moving.on("GET", ONE, phase(moving, "initializing"), phase(moving, "finished_failure"))
    with pytest.raises(TransferFailed, match=r"did not start \(phase finished_failure\)"):
        started(engine, journal, OF_A_BACKUP)
    assert open_entries(journal) == []
    moving.on("POST", TRANSFERS, fault("Cannot transfer Virtual Disk: no quota."))
    with pytest.raises(EngineRefused, match="no quota"):
        started(engine, journal, OF_A_BACKUP)
    assert open_entries(journal) == []


def test_a_transfer_whose_making_got_no_answer_is_found_by_its_mark(
    moving: Script, engine: Engine, journal: Journal
) -> None:
    def listed(request: Request) -> str:
        mark = journal.unfinished[0].facts["mark"]
        return "<image_transfers>{}</image_transfers>".format(
            "".join(
                f"<image_transfer id='{id_}'><direction>{direction}</direction><phase>transferring</phase>"
                f"<inactivity_timeout>{timeout}</inactivity_timeout><image id='{image}'/></image_transfer>"
                for id_, direction, timeout, image in [
                    ("x-1", "download", mark + 1, "disk-1"),
                    ("x-2", "download", mark, "disk-2"),
                    ("x-3", "upload", mark, "disk-1"),
                    ("t-1", "download", mark, "disk-1"),
                ]
            )
        )

    moving.on("POST", TRANSFERS, HANG_UP)
    moving.on("GET", TRANSFERS, listed)
    transfer = started(engine, journal, OF_A_BACKUP)
    assert transfer.id == "t-1"
    assert len(moving.asked("POST", TRANSFERS)) <= 2, "libcurl repeats by itself; we do not"
    transfer.hang_up()


def test_a_lost_ticket_of_a_backup_gets_another_transfer(
    moving: Script, engine: Engine, journal: Journal
) -> None:
    transfer = started(engine, journal, OF_A_BACKUP)
    first = journal.unfinished[0].facts["mark"]
    moving.on("GET", ONE, phase(moving, "finished_failure"))

    def again(request: Request) -> Answer:
        moving.on("GET", ONE, phase(moving, "transferring"))
        return Answer(201, phase(moving, "initializing"))

    moving.on("POST", TRANSFERS, again)
    transfer.session.renew(0, "403")
    assert len(moving.asked("POST", TRANSFERS)) == 2
    assert open_entries(journal) == ["transfer"]
    assert journal.unfinished[0].facts["mark"] != first
    transfer.hang_up()


@pytest.mark.parametrize("request_", [RAW, INTO])
def test_a_lost_ticket_of_what_may_have_changed_is_the_end(
    moving: Script, engine: Engine, journal: Journal, request_: TransferRequest
) -> None:
    """A second transfer of a plain disk need not give the same bytes; an upload's disk is gone."""
    transfer = started(engine, journal, request_)
    moving.on("GET", ONE, phase(moving, "finished_failure"))
    with pytest.raises(TransferFailed, match="The engine ended the transfer"):
        transfer.session.renew(0, "403")
    assert len(moving.asked("POST", TRANSFERS)) == 1
    transfer.hang_up()


def test_a_paused_upload_is_ended_and_gone_on_with(moving: Script, engine: Engine, journal: Journal) -> None:
    """To resume it makes no ticket, and to cancel it removes the disk: what was written is kept."""
    transfer = Upload(engine, journal, INTO)
    transfer.start()
    paused = [phase(moving, "paused_system"), phase(moving, "finalizing_success")]
    moving.on("GET", ONE, *paused, phase(moving, "finished_success"))

    def again(request: Request) -> Answer:
        moving.on("GET", ONE, phase(moving, "transferring"))
        return Answer(201, phase(moving, "initializing"))

    moving.on("POST", TRANSFERS, again)
    transfer.session.renew(0, "403")
    assert len(moving.asked("POST", TRANSFERS)) == 2
    assert len(moving.asked("POST", f"{ONE}/finalize")) == 1
    assert moving.asked("POST", f"{ONE}/cancel") == []
    assert open_entries(journal) == ["transfer"]
    transfer.hang_up()


def test_a_paused_upload_of_a_layer_cannot_be_gone_on_with(
    moving: Script, engine: Engine, journal: Journal
) -> None:
    """Half a qcow2 file is none, and the host looks at it."""
    layer = TransferRequest("upload", "disk-1", "layer i-1", 1000, image_id="i-1", format=None)
    transfer = Upload(engine, journal, layer)
    transfer.start()
    moving.on("GET", ONE, phase(moving, "paused_system"))
    with pytest.raises(TransferFailed, match="lost the ticket"):
        transfer.session.renew(0, "403")
    assert moving.asked("POST", f"{ONE}/finalize") == []
    transfer.hang_up()


def test_an_end_that_does_not_come_says_who_ends_it_later(
    moving: Script, engine: Engine, journal: Journal
) -> None:
    transfer = started(engine, journal, OF_A_BACKUP)
    moving.on("GET", ONE, phase(moving, "finalizing_success"))
    with pytest.raises(Timeout, match="borg-ovirt cleanup"):
        transfer.finish()
    assert open_entries(journal) == ["transfer"]


def test_a_layer_is_waited_for_by_its_image(moving: Script, engine: Engine, journal: Journal) -> None:
    layers = "<disk_snapshots>" + "".join(
        f"<disk_snapshot id='{id_}'><status>{{}}</status></disk_snapshot>" for id_ in ("i-1",)
    )
    other = "<disk_snapshot id='i-2'><status>locked</status></disk_snapshot></disk_snapshots>"
    moving.on("GET", f"{DISK}/disksnapshots", layers.format("locked") + other, layers.format("ok") + other)
    transfer = started(engine, journal, LAYER)
    moving.on("GET", ONE, phase(moving, "finished_success"))
    transfer.finish()
    assert len(moving.asked("GET", f"{DISK}/disksnapshots")) == 2


def test_a_waiting_ticket_is_kept_alive(
    moving: Script, engine: Engine, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE", 0.01)
    again = threading.Event()
    transfer = started(engine, journal, OF_A_BACKUP)

    def options(request: Request) -> Any:
        again.set()
        return as_json({"features": ["extents"]})

    moving.on("OPTIONS", TICKET, options)
    assert again.wait(10)
    transfer.hang_up()


def test_one_that_was_asked_for_twice_and_came_late_is_ended_too(
    moving: Script, engine: Engine, journal: Journal
) -> None:
    """Its answer was lost, it was not to be seen, another was made; then the first came all the same."""
    moving.on("POST", TRANSFERS, HANG_UP, Answer(201, phase(moving, "initializing")))
    transfer = started(engine, journal, LAYER)
    mark = journal.unfinished[0].facts["mark"]
    late = (
        "<image_transfer id='t-2'><phase>{}</phase><image id='disk-1'/><direction>download</direction>"
        f"<inactivity_timeout>{mark}</inactivity_timeout></image_transfer>"
    )
    moving.on("GET", TRANSFERS, f"<image_transfers>{late.format('transferring')}</image_transfers>")
    moving.on("GET", f"{TRANSFERS}/t-2", late.format("transferring"), late.format("finished_failure"))
    moving.on("POST", f"{TRANSFERS}/t-2/cancel", DONE)
    moving.on("GET", ONE, phase(moving, "finished_success"))
    moving.on("GET", f"{DISK}/disksnapshots", "<disk_snapshots/>")
    transfer.finish()
    assert len(moving.asked("POST", TRANSFERS)) == 2
    assert len(moving.asked("POST", f"{TRANSFERS}/t-2/cancel")) == 1
    assert open_entries(journal) == []
