"""What a repository grew by, nights of unusual change, and the report: told wherever one looks."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
import yaml
from harness import Desk
from listeners import mail_server, web_hook
from operating import SMALL, configure
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm

from borg_ovirt.blocks import KiB
from borg_ovirt.config.schema import Config
from borg_ovirt.jobs.archives import heat
from borg_ovirt.jobs.backup.create import CreateOptions
from borg_ovirt.jobs.backup.opened import OneRepository
from borg_ovirt.jobs.runs.hooks import Hooks
from borg_ovirt.jobs.runs.outcome import VmOutcome
from borg_ovirt.jobs.runs.plan import RunPlan
from borg_ovirt.jobs.runs.run import run
from borg_ovirt.jobs.selection import Member, fleet
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess, new_run_id
from borg_ovirt.progress import Progress
from borg_ovirt.repository.open import open_repository


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    made = box.make_vm("web01", [DiskSpec(SMALL)], running=False, tags=["production"])
    box.fill(box.disks(made)[0], 0, 4 * MIB, seed=1)
    return made


def test_what_the_repository_grew_by(vm: Vm, desk: Desk) -> None:
    second = desk.root / "second"
    desk.borg("init", "--encryption", "none", str(second))
    repositories = {"local": {"location": desk.repo}, "second": {"location": str(second)}}
    configure(desk, repositories=repositories, vms={"include": {"names": ["web01"]}})
    ran = desk.run("create", "--json").ok()
    told = ran.vm
    assert {stored["bytes_added"] > MIB for stored in told["stored"]} == {True}
    assert told["bytes_added"] == max(stored["bytes_added"] for stored in told["stored"])
    (line,) = desk.run("list", "local", "--json").ok().json["archives"]
    by_place = {stored["repository"]: stored for stored in told["stored"]}
    assert line["figures"]["added"] == by_place[desk.repo]["bytes_added"]
    assert line["figures"]["new"] == by_place[desk.repo]["bytes_new"]
    assert (line["figures"]["size"], line["figures"]["data"]) == (SMALL, 4 * MIB)
    growth = int(desk.borg("info", "--json", desk.repo).split('"unique_csize": ')[1].split(",")[0])
    assert 0 < growth - line["figures"]["added"] < 3000
    # A night on which nothing changed costs next to nothing, and is told so.
    quiet = desk.run("create", "local", "--vm", "web01").ok()
    assert quiet.out.splitlines()[0].split()[5:7] == ["ADDED", "TOOK"]
    listed = desk.run("list", "local").ok().out.splitlines()
    assert listed[0].split()[5:7] == ["ADDED", "PROOF"]
    assert [" MiB " in listed[1], listed[2].endswith(" KiB")] == [True, True]
    shown = desk.run("info", "local::web01").ok().out
    assert "Added:        " in shown
    assert " KiB to the repository, for 0 B of new blocks" in shown
    sizes = desk.run("list", "local", "--sizes").ok().out.splitlines()
    assert sizes[0].split() == ["VM", "ARCHIVES", "SIZE", "UNIQUE", "SHARED"]
    assert sizes[1].split()[:4] == ["web01", "2", "8", "MiB"]
    assert "in all archives of the repository, stored in" in sizes[2]


def night(desk: Desk, **options: object) -> VmOutcome:
    """A run in this process."""
    box = desk.box

    def members(engine: Engine) -> list[Member]:
        return [m for m in fleet(engine, Config()) if m.name == "web01"]

    plan = RunPlan(
        run_id=new_run_id(),
        members=members,
        options=lambda _: CreateOptions(readers=2, cell=64 * KiB, **options),  # type: ignore[arg-type]
        repositories=OneRepository("local", desk.repo, lambda: open_repository(desk.repo, write=True)),
        state=desk.root / "state",
    )
    access = EngineAccess(box.url, box.user, box.password, ca_file=box.ca_file)
    return run(plan, access, Hooks([], {}), Progress()).vms[0]


def test_a_night_of_encryption_is_a_warning_with_figures(
    vm: Vm, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in desk.env.items():
        if name.startswith("BORG_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(heat, "NIGHTS", 2)
    (disk,) = desk.box.disks(vm)
    for number in range(3):
        desk.box.write(disk, number * 64 * KiB, b"text " * 10000)
        quiet = night(desk)
        assert (quiet.status, quiet.warnings) == ("ok", []), quiet
    desk.box.write(disk, 0, random.Random(77).randbytes(2 * MIB))
    hot = night(desk)
    assert hot.status == "warning"
    (told,) = hot.warnings
    assert told.startswith("VM web01: it changed as never before: 50% of its data changed, against ")
    assert "what it wrote compressed to 100%, against " in told
    desk.box.write(disk, 0, random.Random(78).randbytes(4 * MIB))
    expected = night(desk, expect=frozenset({"changes"}))
    assert (expected.status, expected.warnings) == ("ok", [])
    lines = desk.run("list", desk.repo, "web01", "--json").ok().json["archives"]
    assert [bool(line["heat"]) for line in lines][:3] == [False] * 3


@pytest.fixture
def reporting(vm: Vm, desk: Desk) -> Desk:
    """A desk with an archive of web01; never01 has none, scratch01 is excluded."""
    box = desk.box
    if "never01" not in {one.name for one in box.world.vms.values()}:
        box.make_vm("never01", [DiskSpec(SMALL)], running=False)
        box.make_vm("scratch01", [DiskSpec(SMALL)], running=False)
    configure(
        desk,
        repositories={"local": {"location": desk.repo}},
        vms={"exclude": {"names": ["scratch01"]}},
        policy={"max_age": "26h"},
        retention={"daily": 7, "weekly": 4},
    )
    desk.create(vm)
    return desk


def test_a_report_for_the_morning(reporting: Desk) -> None:
    desk = reporting
    desk.run("hold", f"{desk.repo}::web01", "--reason", "year end <b>2026</b>").ok()
    page, prom = desk.root / "report.html", desk.root / "report.prom"
    ran = desk.run("report", "--html", str(page), "--prometheus", str(prom), "--json").ok(1)
    report = ran.json
    by_vm = {vm["protection"]["vm"]: vm for vm in report["vms"]}
    assert {name: vm["protection"]["verdict"] for name, vm in by_vm.items()} == {
        "web01": "ok",
        "never01": "no backup",
        "scratch01": "-",
    }
    assert by_vm["never01"]["why"] == "it is selected and has no archive"
    assert by_vm["scratch01"]["why"] == "the configuration excludes it"
    web = by_vm["web01"]
    assert (web["unique"] > MIB, web["retention"]) == (True, "7 daily, 4 weekly")
    assert [hold["reason"] for hold in web["holds"]] == ["year end <b>2026</b>"]
    (local,) = report["repositories"]
    assert local["stored"] > MIB
    assert local["free"] > 0
    assert local["growth"]["forecast"].startswith("unknown yet: too few days tell")
    findings = " ".join(finding["text"] for finding in local["findings"])
    for told in ("encrypted", "no copy of its key", "not append-only"):
        assert told in findings
    told = page.read_text()
    assert "year end &lt;b&gt;2026&lt;/b&gt;" in told
    assert "It is selected and has no archive." in told
    assert told.endswith("</html>\n")
    assert 'borg_ovirt_vm_protected{vm="never01",' in prom.read_text()
    assert prom.stat().st_mode & 0o777 == 0o644
    shown = desk.run("report").ok(1).out
    assert shown.splitlines()[1].split()[:3] == ["never01", "NO", "BACKUP"]
    assert "local: 1 archives, " in shown
    assert desk.run("report", "--html", "-", "--no-sizes").ok(1).out.startswith("<!DOCTYPE html>")
    refused = desk.run("report", "--html", str(desk.root / "no" / "such" / "folder.html")).ok(2).err
    assert "The report cannot be written to" in refused


def test_the_report_goes_by_mail(reporting: Desk) -> None:
    desk = reporting
    settings = yaml.safe_load(Path(desk.env["BORG_OVIRT_CONFIG"]).read_text())
    refused = desk.run("report", "--mail").ok(2)
    assert "Nobody is to get the report" in refused.err
    with mail_server() as morning, mail_server() as trouble, web_hook() as other:
        urls = [
            f"mailto://127.0.0.1:{one.port}?from=b@example.org&to=a@example.org" for one in (morning, trouble)
        ]
        wants = {"jobs": ["report"]}
        notify = [
            {"url": urls[0], **wants, "when": ["always"]},
            {"url": urls[1], **wants},  # on failure and recovery
            {"url": other.url, "when": ["always"]},
        ]
        configure(desk, **settings, notify=notify)
        page = desk.root / "page.html"
        desk.run("report", "--mail", "--html", str(page)).ok(1)
        (message,), (_,) = morning.got, trouble.got
        assert message["To"] == "a@example.org"
        assert message["Subject"].endswith(": failed")
        body = message.get_body(("plain",))
        assert body is not None
        text = body.get_content()
        assert "VMs: 1 not protected as they should be; " in text
        assert "never01: no backup. It is selected and has no archive." in text
        (attached,) = message.iter_attachments()
        assert attached.get_content_type() == "text/html"
        assert attached.get_filename("").startswith("borg-ovirt-report-20")
        assert attached.get_content().replace("\r\n", "\n") == page.read_text()
        settings["vms"] = {"include": {"names": ["web01"]}}
        configure(desk, **settings, notify=notify)
        for _ in range(2):
            assert desk.run("report", "--mail").ok().out == ""
        assert len(morning.got) == 3
        assert [m["Subject"].split(": ")[1] for m in trouble.got] == ["failed", "warning"]  # a recovery
        assert other.got == []
    lost = desk.run("report", "--mail").ok(1)  # nobody listens any more
    assert "warning: notification 1 (mailto) was not sent" in lost.err
    assert not list(Path(tempfile.gettempdir()).glob("borg-ovirt-*/borg-ovirt-report-*"))


def test_a_report_without_the_engine_or_the_repository(reporting: Desk) -> None:
    desk = reporting
    asked = desk.run("report", "--json", "--no-ask-engine").ok().json
    assert asked["engine"] is None
    assert [(vm["protection"]["vm"], vm["protection"]["verdict"]) for vm in asked["vms"]] == [("web01", "ok")]
    silent = desk.run("report", "--json", "--url", "https://127.0.0.1:9/ovirt-engine/api").ok(1).json
    assert silent["engine_error"]
    assert [vm["protection"]["vm"] for vm in silent["vms"]] == ["web01"]
    gone = desk.run("report", "--json", desk.repo, str(desk.root / "nothing")).ok(1).json
    assert [bool(one["error"]) for one in gone["repositories"]] == [False, True]
    assert {vm["protection"]["repository"] for vm in gone["vms"]} == {desk.repo}
