"""The session with the engine: logins, restarts, refusals, threads."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from ovirt_bed import PATIENCE, MiB
from ovirtbox.box import Box, DiskSpec
from ovirtbox.pki import make_pki

from borg_ovirt.errors import (
    CertificateError,
    EngineRefused,
    EngineUnreachable,
    LoginFailed,
    VmNotFound,
    VmNotSuitable,
)
from borg_ovirt.ovirt.facts.vm import fetch_ovf, find_vm, list_vms, read_disk, vm_status
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess, types
from borg_ovirt.ovirt.session.events import EventMark, post_event
from borg_ovirt.ovirt.session.faults import NotFound, Unclear, is_lock
from borg_ovirt.ovirt.session.waiting import Patience

NO_PATIENCE = replace(PATIENCE, engine=0.0)


def test_version_and_identity(engine: Engine) -> None:
    assert engine.version[:2] == (4, 5)
    assert engine.full_version.startswith("4.5.")
    assert len(engine.instance_id) == 36


def test_a_wrong_password_is_told_without_it(access: EngineAccess) -> None:
    password = secrets.token_hex(8)
    wrong = replace(access, password=password)
    with pytest.raises(LoginFailed) as caught:
        Engine(wrong).__enter__()
    assert access.username in str(caught.value)
    assert password not in str(caught.value) + repr(wrong) + repr(caught.getrepr(showlocals=False))


def test_a_wrong_ca(access: EngineAccess, tmp_path: Path) -> None:
    other = make_pki(tmp_path / "other").ca_file
    with pytest.raises(CertificateError, match="localhost"):
        Engine(replace(access, ca_file=other)).__enter__()
    with pytest.raises(CertificateError, match="does not exist"):
        Engine(replace(access, ca_file=tmp_path / "none.pem")).__enter__()


def test_the_ca_as_text_leaves_no_file(access: EngineAccess) -> None:
    assert access.ca_file is not None
    pem = access.ca_file.read_text()
    with Engine(replace(access, ca_file=None, ca_pem=pem)) as engine:
        made = Path(engine.ca_file or "")
        assert made.read_text() == pem
    assert not made.exists()


@pytest.mark.parametrize("url", ["https://localhost:1", "https://no-such-host.invalid"])
def test_an_engine_that_is_not_there(access: EngineAccess, url: str) -> None:
    started = time.monotonic()
    with pytest.raises(EngineUnreachable):
        Engine(replace(access, url=url), patience=NO_PATIENCE).__enter__()
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("form", ["{0}", "{1}", "https://{1}/", "https://{1}/ovirt-engine"])
def test_the_url_may_be_short(access: EngineAccess, form: str) -> None:
    host = access.url.split("/")[2]
    assert replace(access, url=form.format(access.url, host)).api_url == access.url


def test_a_restart_of_the_engine_is_sat_out(box: Box, engine: Engine) -> None:
    vm = box.make_vm("restart", running=False)
    box.inject.restart_engine(0.7)
    assert vm_status(engine, vm.id) == "down"
    box.remove_vm(vm)


@pytest.mark.parametrize(("status", "body"), [(503, "html"), (401, "html"), (401, "empty"), (500, "html")])
def test_passing_trouble_is_asked_again(box: Box, engine: Engine, status: int, body: str) -> None:
    box.inject.status("GET", "/vms", status, body, times=3)
    assert list_vms(engine) == []
    assert box.inject.hits["status"] >= 3
    box.inject.status("GET", "/vms", status, body, times=1000)
    with (
        Engine(engine.access, patience=NO_PATIENCE) as impatient,
        pytest.raises((EngineUnreachable, LoginFailed)),
    ):
        list_vms(impatient)


def test_what_must_not_be_repeated_is_not(box: Box, engine: Engine) -> None:
    box.inject.status("POST", "/events", 500, "html", times=5)
    event = types().Event(origin="x", severity=types().LogSeverity.NORMAL, custom_id=1, description="x")
    before = box.inject.hits["status"]
    with pytest.raises(Unclear):
        engine.call("add an event", lambda s: s.events_service().add(event), once=True)
    assert box.inject.hits["status"] == before + 1
    box.inject.clear()
    box.inject.status("POST", "/events", 503, "html", times=2)  # never reached the engine: safe to repeat
    assert engine.call("add an event", lambda s: s.events_service().add(event), once=True).id


def test_a_request_that_takes_too_long_is_unclear(box: Box, access: EngineAccess) -> None:
    with Engine(replace(access, timeout=1.0), patience=NO_PATIENCE) as hasty:
        box.inject.latency(2.5, "/events", "POST", times=1)
        event = types().Event(origin="y", severity=types().LogSeverity.NORMAL, custom_id=2, description="x")
        with pytest.raises(Unclear, match="no answer in time"):
            hasty.call("add an event", lambda s: s.events_service().add(event), once=True)


def test_refusals_carry_the_engines_words(box: Box, engine: Engine) -> None:
    with pytest.raises(NotFound):
        vm_status(engine, "00000000-0000-4000-8000-000000000001")
    vm = box.make_vm("refused", [DiskSpec(MiB)])
    with pytest.raises(EngineRefused) as caught:
        engine.call("remove the VM", lambda s: s.vms_service().vm_service(vm.id).remove())
    assert caught.value.status == 409
    assert caught.value.detail.startswith("Cannot remove VM")
    assert "[" not in str(caught.value)
    box.stop_vm(vm)
    box.remove_vm(vm)


def test_a_lock_is_waited_for_where_asked(box: Box, engine: Engine) -> None:
    detail = "[Cannot transfer Virtual Disk: The following disks are locked: x. Please try again.]"
    box.inject.status("GET", "/vms", 409, detail=detail, times=3)
    with pytest.raises(EngineRefused) as caught:
        list_vms(engine)
    assert is_lock(caught.value)
    assert list(engine.call("list", lambda s: s.vms_service().list(), wait_for_locks=10)) == []


def test_threads_share_one_login(box: Box, engine: Engine) -> None:
    vm = box.make_vm("threads", running=False)
    with box.world.lock:
        box.engine.tokens.clear()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(vm_status(engine, vm.id))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["down"] * 6
    assert len(box.engine.tokens) == 1
    box.remove_vm(vm)


def test_logging_out_ends_the_session(box: Box, access: EngineAccess) -> None:
    before = set(box.engine.tokens)
    with Engine(access):
        assert len(set(box.engine.tokens) - before) == 1
    assert set(box.engine.tokens) == before


def test_find_vm_is_exact(box: Box, engine: Engine) -> None:
    first = box.make_vm("web", [DiskSpec(3 * MiB + 512, bootable=True, alias="sys")], tags=["nightly"])
    second = box.make_vm("web-2", running=False)
    assert find_vm(engine, "web").id == first.id
    assert find_vm(engine, first.id.upper()).name == "web"
    facts = find_vm(engine, "web")
    assert facts.disks[0].size == 3 * MiB + 512
    assert facts.disks[0].alias == "sys"
    assert (facts.status, facts.level, facts.tags) == ("up", (4, 7), ("nightly",))
    assert [s.type for s in facts.snapshots] == ["active"]
    for wrong in ("WEB", "we", "web*", 'we"b', "name=web", "00000000-0000-4000-8000-000000000001"):
        with pytest.raises(VmNotFound):
            find_vm(engine, wrong)
    assert [vm.name for vm in list_vms(engine, "tag=nightly")] == ["web"]
    assert [vm.name for vm in list_vms(engine)] == ["web", "web-2"]
    box.stop_vm(first)
    box.remove_vm(first)
    box.remove_vm(second)


def test_long_lists_come_page_by_page(box: Box, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("borg_ovirt.ovirt.facts.vm._PAGE", 3)
    vms = [box.make_vm(f"many-{n}", running=False) for n in range(7)]
    assert [vm.name for vm in list_vms(engine, "name=many*")] == [f"many-{n}" for n in range(7)]
    for vm in vms:
        box.remove_vm(vm)


def test_the_ovf_is_waited_for_and_its_absence_told(box: Box, engine: Engine) -> None:
    vm = box.make_vm("ovf", [DiskSpec(MiB, alias="busy")], running=False)
    layer = box.disks(vm)[0].active
    assert vm.name.encode() in fetch_ovf(engine, vm.id)
    layer.status = "locked"
    threading.Timer(0.6, lambda: setattr(layer, "status", "ok")).start()
    assert vm.name.encode() in fetch_ovf(engine, vm.id)
    layer.status = "locked"
    with (
        Engine(engine.access, patience=Patience(ovf=0.5)) as hasty,
        pytest.raises(VmNotSuitable, match="busy"),
    ):
        fetch_ovf(hasty, vm.id)
    layer.status = "ok"
    assert read_disk(engine, box.disks(vm)[0].id).status == "ok"
    box.remove_vm(vm)


def test_events_are_told_and_read(box: Box, engine: Engine) -> None:
    vm = box.make_vm("events", running=False)
    mark = EventMark(engine)
    assert mark.texts(range(100_000), vm.id) == []
    post_event(engine, "backup of events begins", vm_id=vm.id)
    post_event(engine, "backup of events ended", vm_id=vm.id, severity="warning")
    assert mark.texts(range(100_000), vm.id) == ["backup of events begins", "backup of events ended"]
    assert mark.texts(range(100_000), "00000000-0000-4000-8000-000000000001") == []
    box.remove_vm(vm)


def test_the_sdk_is_not_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; import borg_ovirt.ovirt.capture.image, borg_ovirt.ovirt.tracked.cleanup;"
        "print('ovirtsdk4' in sys.modules, 'expat' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]
