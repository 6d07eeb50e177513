"""`selftest` on the box: green at both levels, gone when it ends, and never at anybody else's things."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import Desk
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Disk

from borg_ovirt.errors import EngineRefused
from borg_ovirt.jobs.selftest.report import Report
from borg_ovirt.jobs.selftest.scratch import scratch_repository
from borg_ovirt.jobs.selftest.selftest import PREFIX, Selftest
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess
from borg_ovirt.ovirt.tracked.journal import Journal
from borg_ovirt.progress import Progress

MIB = 1 << 20


@pytest.fixture(autouse=True)
def temporary(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command makes its repository."""
    path = tmp_path / "tmp"
    path.mkdir()
    desk.env["TMPDIR"] = str(path)
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.fixture(scope="module", autouse=True)
def older(box: Box) -> None:
    box.make_cluster("Older", (4, 6))


def objects(box: Box) -> tuple[set[str], set[str]]:
    return set(box.world.vms), set(box.world.disks)


def test_it_tells_what_a_bug_report_needs_and_leaves_nothing(box: Box, desk: Desk, temporary: Path) -> None:
    """Its disks go with their VMs; asked for one that goes the engine answers so. [seen on 4.5.8]"""
    before = objects(box)
    refusal = '[java.lang.NullPointerException: Cannot invoke "Disk.getDiskStorageType()"]'
    box.inject.status("DELETE", "/disks/*", 400, times=9, detail=refusal)
    told = desk.run("selftest", "--json").ok().json
    assert box.inject.hits["status"]
    assert [step["ok"] for step in told["steps"]] == [True] * 10
    notes = {step["what"]: step["note"] for step in told["steps"]}
    assert "hybrid backup" in notes["full backup"]
    assert notes["incremental backup"].startswith("incremental, hybrid backup: ")
    wanted = {"borg-ovirt", "borg", "python", "engine", "imageio", "this host", "way of the data"}
    assert wanted <= set(told["versions"])
    assert told["versions"]["imageio"].startswith("imageio/")
    assert (told["warnings"], told["left"]) == ([], [])
    assert objects(box) == before
    assert list(temporary.iterdir()) == []
    desk.assert_clean()


def test_into_a_repository_of_the_user_only_its_own_archives_come_and_go(box: Box, desk: Desk) -> None:
    """And the role for backups and restores is enough: whoever makes a disk or a VM owns it."""
    mine = box.make_vm("mine", [DiskSpec(MIB)], running=False)
    desk.create(mine)
    kept = desk.archives()
    role = box.make_documented_user("documented")
    out = desk.run("selftest", "--cluster", "Older", "--storage-domain", "data", desk.repo, **role).ok().out
    assert out.count("cold backup") == 2
    assert "cluster Older (level 4.6" in out
    assert "All well, in " in out
    assert desk.archives() == kept
    desk.borg("check", "--verify-data", desk.repo)
    desk.assert_clean()


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("step", "method", "path", "nth"),
    [
        ("make a VM and its disk", "POST", "/vms", 1),
        ("write known bytes", "POST", "/imagetransfers", 1),
        ("full backup", "POST", "/vms/*/backups", 1),
        ("restore beside", "POST", "/vms", 2),
    ],
)
def test_a_step_that_fails_is_named_and_nothing_stays(
    box: Box, desk: Desk, temporary: Path, step: str, method: str, path: str, nth: int
) -> None:
    before = objects(box)
    box.inject.status(method, path, 400, nth=nth, times=9, detail="[Not today]")
    run = desk.run("selftest", "--json")
    assert run.code == EngineRefused.exit_code
    assert f"failed at the step '{step}'" in run.err
    assert "Not today" in run.err
    failed = [one["what"] for one in run.json["steps"] if not one["ok"]]
    assert failed == [step]
    assert run.json["steps"][-1]["what"] == "remove everything"
    assert objects(box) == before
    assert list(temporary.iterdir()) == []
    box.inject.clear()
    desk.assert_clean()


def test_cleanup_removes_what_a_kill_leaves(box: Box, desk: Desk, temporary: Path) -> None:
    before = objects(box)
    process = subprocess.Popen(desk.command("selftest"), env=desk.env, stderr=subprocess.DEVNULL)
    box.inject.latency(5, method="DELETE")  # all of it is made, and the engine has said so
    box.wait(lambda: box.inject.hits["latency"] > 0, "the removal to begin")
    process.send_signal(signal.SIGKILL)
    process.wait()
    box.inject.clear()
    assert len(list(temporary.iterdir())) == 1
    found = desk.run("cleanup").ok().out
    assert f"name {PREFIX}" in found
    assert "directory" in found
    assert objects(box) == before
    assert list(temporary.iterdir()) == []
    desk.assert_clean()


def selftest(box: Box, root: Path, run_id: str) -> Report:
    """As the command does, in this process."""
    report = Report(run_id, {})
    access = EngineAccess(box.url, box.user, box.password, ca_file=Path(box.env()["BORG_OVIRT_CA_FILE"]))
    with (
        Engine(access) as engine,
        Journal(root / "state", engine.instance_id, run_id) as journal,
        scratch_repository(journal) as repository,
    ):
        Selftest(engine, journal, repository, report, Progress()).run()
    return report


def test_a_disk_that_somebody_gives_to_its_vm_stays(
    box: Box, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = box.add_disk(None, DiskSpec(MIB, alias="foreign"))
    box.fill(foreign, 0, MIB, seed=3)
    before, held, compare = objects(box), box.sha(foreign), Selftest._compare_disk

    def give(test: Selftest, *given: object) -> None:
        attach(box, desk, test.name, foreign)
        compare(test, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Selftest, "_compare_disk", give)
    report = selftest(box, tmp_path, "aaaaaaaaaaaa")
    assert [text for text in report.warnings if foreign.id in text]
    assert objects(box) == before
    assert box.sha(foreign) == held
    box.delete_disk(foreign)
    desk.assert_clean()


def attach(box: Box, desk: Desk, vm: str, disk: Disk) -> None:
    from ovirtbox import attachments
    from ovirtbox.model import Attachment

    engine = box.engine
    with engine.world.lock:
        attachments.attach(engine, box.vm(vm), Attachment(disk.id, interface="virtio_scsi"))


def test_a_vm_of_its_name_is_not_touched(box: Box, desk: Desk, tmp_path: Path) -> None:
    theirs = box.make_vm(f"{PREFIX}bbbbbbbbbbbb", [DiskSpec(MIB)], running=False)
    before = objects(box)
    with pytest.raises(EngineRefused, match="The VM name is already in use"):
        selftest(box, tmp_path, "bbbbbbbbbbbb")
    assert objects(box) == before
    assert box.vm(theirs.name).attachments
    desk.assert_clean()
