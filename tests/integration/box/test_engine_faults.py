"""Faults on demand reach the client as those of a real set-up do."""

from __future__ import annotations

import time

import ovirtsdk4 as sdk
import pytest
from ovirtbox.box import MIB, Box, DiskSpec
from rest_client import Call


def test_the_nth_call_gets_a_status(box: Box, api: sdk.services.SystemService) -> None:
    hits = box.inject.hits["status"]
    box.inject.status("GET", "/vms", 409, nth=2, detail="[Cannot do it.]")
    vms = api.vms_service()
    assert vms.list() == []
    with pytest.raises(sdk.Error) as caught:
        vms.list()
    assert (caught.value.code, caught.value.fault.detail) == (409, "[Cannot do it.]")
    assert vms.list() == []
    assert box.inject.hits["status"] == hits + 1


def test_html_has_no_code(box: Box, api: sdk.services.SystemService) -> None:
    box.inject.status("*", "/clusters*", 503, "html")
    with pytest.raises(sdk.Error) as caught:
        api.clusters_service().list()
    assert caught.value.code is None
    assert "content type" in str(caught.value)


def test_a_401_in_html_twice(box: Box, api: sdk.services.SystemService) -> None:
    box.inject.status("GET", "/hosts", 401, "html", times=2)
    with pytest.raises(sdk.Error) as caught:
        api.hosts_service().list()
    assert not isinstance(caught.value, sdk.AuthError)
    assert api.hosts_service().list()


def test_an_empty_body_and_an_empty_list_of_messages(box: Box, http: Call) -> None:
    box.inject.status("GET", "/disks", 404, "empty")
    box.inject.status("POST", "*/imagetransfers", 400)
    assert (http("GET", "/disks").status, http("GET", "/disks").status) == (404, 200)
    answer = http("POST", "/imagetransfers", "<image_transfer/>")
    assert (answer.status, answer.detail) == (400, "[]")


def test_latency(box: Box, http: Call) -> None:
    box.inject.latency(0.3, "/tags", times=1)
    begun = time.monotonic()
    http("GET", "/tags")
    assert time.monotonic() - begun >= 0.3
    begun = time.monotonic()
    http("GET", "/tags")
    assert time.monotonic() - begun < 0.3
    box.inject.clear()


def test_an_engine_that_restarts(box: Box, http: Call, connection: sdk.Connection) -> None:
    assert connection.test()
    box.inject.restart_engine(seconds=0.3)
    answer = http("GET", "/vms")
    assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (503, "text/html")
    box.wait(lambda: http("GET", "/vms").status == 200, "the engine")
    assert connection.test()


def test_a_stalled_handshake_keeps_nobody_waiting(box: Box, http: Call) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", box.server.port)):
        begun = time.monotonic()
        assert http("GET", "/vms").status == 200
        assert time.monotonic() - begun < 2


def test_clean_tells_what_is_left(box: Box) -> None:
    vm = box.make_vm("messy", [DiskSpec(64 * MIB)], running=False)
    (disk,) = box.disks(vm)
    assert box.clean() == []
    disk.active.status = "locked"
    (found,) = box.clean(timeout=0.1)
    assert "messy_Disk1 is locked" in found
    disk.active.status = "ok"
    from ovirtbox import snapshots

    made = snapshots.create(box.engine, vm, "left by a client")
    box.wait(lambda: made.status == "ok", "the snapshot")
    assert box.clean(timeout=0.1) == ["snapshot 'left by a client' of VM messy is ok"]
    box.remove_snapshot(vm, made)
    assert box.clean() == []


def test_time_goes_by(box: Box) -> None:
    before = box.engine.clock.now()
    box.shift(days=2)
    assert (box.engine.clock.now() - before).days == 2
