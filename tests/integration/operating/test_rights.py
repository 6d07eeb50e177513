"""Every command with exactly the documented role, and with each of its permits taken away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from harness import Desk
from operating import SMALL, configure
from ovirtbox import rights
from ovirtbox.box import Box, DiskSpec
from ovirtbox.faults import Fault
from ovirtbox.model import Vm

from borg_ovirt.errors import NotAuthorized
from borg_ovirt.ovirt.facts.checkpoints import remove_checkpoint
from borg_ovirt.ovirt.session.engine import Engine, EngineAccess

PERMITS = (
    *rights.FOR_BACKUPS_ON_SYSTEM,
    *rights.FOR_RESTORES_ON_SYSTEM,
    *rights.FOR_BACKUPS,
    *rights.FOR_RESTORES,
)
CHAIN, FROZEN = ("--mode", "chain"), ("--mode", "chain", "--freeze", "require")
Users = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def vms(box: Box) -> dict[str, Vm]:
    box.make_cluster("Live", (4, 6))
    made = {
        "hybrid": box.make_vm("hybrid", [DiskSpec(SMALL)], agent=True),
        "live": box.make_vm("live", [DiskSpec(SMALL)], cluster="Live", agent=True),
        "down": box.make_vm("down", [DiskSpec(SMALL)], cluster="Live", running=False),
    }
    for vm in made.values():
        box.fill(box.disks(vm)[0], 0, 1 << 20, seed=1)
    return made


@pytest.fixture(scope="module")
def users(box: Box) -> Users:
    """Permit -> the environment of a user who has all but this one; "" lacks none."""
    return {p: box.make_documented_user(f"without-{p}", without=p) for p in ("", *PERMITS)}


def test_the_documented_role_does_everything(box: Box, desk: Desk, vms: dict[str, Vm], users: Users) -> None:
    desk.env.update(users[""])
    configure(desk)
    for vm in (*vms.values(), vms["hybrid"]):
        desk.create(vm)
    desk.run("create", *FROZEN, f"{desk.repo}::live").ok(0, 1)
    for command in (
        ["vms"],
        ["cleanup"],
        ["estimate", f"{desk.repo}::hybrid"],
        ["prune", "--keep-last", "9"],
    ):
        desk.run(*command).ok(0, 1)
    victim = box.add_disk(None, DiskSpec(SMALL, alias="over"))
    over = ["--disk", "down_Disk1", "--over", victim.id, "--yes"]
    desk.run("extract", *over, f"{desk.repo}::down").ok(0, 1)
    assert box.sha(victim) == box.sha(box.disks(vms["down"])[0])
    desk.run("extract", f"{desk.repo}::down", "--name", "beside").ok(0, 1)
    beside = box.vm("beside")
    assert len(beside.attachments) == 1
    lines = desk.run("doctor", "--rights", "--json").json["findings"]
    proven = [line for line in lines if line["about"] == "right"]
    assert {line["status"] for line in proven} == {"ok"}
    for permit in PERMITS:
        if permit != "login":
            assert any(line["text"].startswith(f"{permit} on ") for line in proven), permit
    box.remove_vm(beside)
    desk.assert_clean()


def refused(desk: Desk, permit: str, *words: str) -> None:
    """At once, by name, with nothing left behind."""
    begun = time.monotonic()
    run = desk.run(*words)
    assert run.code in (12, 13), run.err
    assert time.monotonic() - begun < 60
    if permit != "login":
        assert permit in run.err
    desk.assert_clean()
    every = desk.box.env()
    administrator = {name: every[name] for name in ("BORG_OVIRT_USERNAME", "BORG_OVIRT_PASSWORD_FILE")}
    assert "Nothing of ours" in desk.run("cleanup", **administrator).ok().out


@pytest.mark.thin(6)
@pytest.mark.parametrize(
    ("permit", "words"),
    [
        ("login", "hybrid"),
        ("create_disk", "hybrid"),
        ("create_disk", "live"),
        ("create_disk", "down"),
        ("create_disk", "down --mode chain"),
        ("backup_disk", "hybrid"),
        ("backup_disk", "live"),
        ("edit_disk_properties", "hybrid"),
        ("edit_disk_properties", "down"),
        ("edit_disk_properties", "down --mode chain"),
        ("manipulate_vm_snapshots", "hybrid"),
        ("manipulate_vm_snapshots", "down --mode chain"),
        ("configure_vm_storage", "live --mode chain --freeze require"),
    ],
)
def test_a_backup_without_a_right_ends_before_anything_is_locked(
    desk: Desk, vms: dict[str, Vm], users: Users, permit: str, words: str
) -> None:
    desk.env.update(users[permit])
    name, *options = words.split()
    begun = {10790, 45, 1031}  # a backup, a snapshot, a transfer
    before = sum(event.code in begun for event in desk.box.world.events)
    refused(desk, permit, "create", *options, f"{desk.repo}::{name}")
    assert sum(event.code in begun for event in desk.box.world.events) == before


@pytest.mark.parametrize("permit", ["create_disk", "create_vm", "import_export_vm"])
def test_a_restore_without_a_right_leaves_nothing(
    desk: Desk, vms: dict[str, Vm], users: Users, permit: str
) -> None:
    desk.create(vms["down"])
    desk.env.update(users[permit])
    refused(desk, permit, "extract", f"{desk.repo}::down", "--name", "never")


@pytest.mark.parametrize("permit", ["create_disk", "edit_disk_properties"])
def test_a_disk_is_not_touched_without_the_right_to_overwrite_it(
    box: Box, desk: Desk, vms: dict[str, Vm], users: Users, permit: str
) -> None:
    victim = box.add_disk(None, DiskSpec(SMALL, alias="untouched"))
    box.fill(victim, 0, 1 << 20, seed=7)
    before = box.sha(victim)
    desk.create(vms["down"])
    begun = sum(event.code in (1031, 1032) for event in box.world.events)
    desk.env.update(users[permit])
    over = ["--disk", "down_Disk1", "--over", victim.id, "--yes"]
    refused(desk, permit, "extract", *over, f"{desk.repo}::down")
    assert sum(event.code in (1031, 1032) for event in box.world.events) == begun
    assert box.sha(victim) == before


def test_what_is_not_needed_is_not_missed(desk: Desk, vms: dict[str, Vm], users: Users) -> None:
    for permit in ("inject_external_events", "create_vm", "import_export_vm", "configure_vm_storage"):
        desk.run("create", f"{desk.repo}::hybrid", **users[permit]).ok(0, 1)
    desk.run("create", f"{desk.repo}::live", **users["manipulate_vm_snapshots"]).ok(0, 1)
    desk.assert_clean()


@pytest.mark.parametrize("permit", ["backup_disk", "create_disk", "manipulate_vm_snapshots"])
def test_what_only_looks_or_works_on_the_repository_needs_none_of_them(
    desk: Desk, vms: dict[str, Vm], users: Users, permit: str
) -> None:
    """`prune` removes archives; a checkpoint that nobody needs any more goes with the next backup."""
    for _ in range(2):
        desk.create(vms["down"])
    held = len(desk.box.world.checkpoints[vms["down"].id])
    desk.env.update(users[permit])
    desk.run("prune", "--keep-last", "1", desk.repo).ok()
    desk.run("list", desk.repo).ok()
    desk.run("cleanup").ok()
    assert len(desk.box.world.checkpoints[vms["down"].id]) == held
    desk.assert_clean()


def test_a_checkpoint_is_removed_only_by_who_may_back_up(
    box: Box, desk: Desk, vms: dict[str, Vm], users: Users
) -> None:
    desk.create(vms["down"])
    (checkpoint, *_) = box.world.checkpoints[vms["down"].id]
    env = users["backup_disk"]
    access = EngineAccess(
        box.url,
        env["BORG_OVIRT_USERNAME"],
        Path(env["BORG_OVIRT_PASSWORD_FILE"]).read_text().strip(),
        box.ca_file,
    )
    with Engine(access) as engine, pytest.raises(NotAuthorized, match="backup_disk on the data center"):
        remove_checkpoint(engine, vms["down"].id, checkpoint.id)
    assert checkpoint in box.world.checkpoints[vms["down"].id]


def test_backup_disk_is_for_administrative_roles() -> None:
    with pytest.raises(Fault, match="administrator's action group"):
        rights.make_role("user", {"login", "backup_disk"}, administrative=False)


def test_the_predefined_roles_do_as_well(box: Box, desk: Desk, vms: dict[str, Vm]) -> None:
    """DiskCreator, VmImporterExporter and ExternalEventsCreator on System, as 00700_insert_roles_groups.sql
    fills them; two of them are user roles, which is fine beside an administrative one."""
    on_center = {*rights.FOR_BACKUPS, *rights.FOR_RESTORES}
    center = next(iter(box.world.data_centers))
    env = box.make_user(
        "predefined",
        ({"create_disk", "login"}, None),
        ({"import_export_vm", "login"}, None),
        ({"inject_external_events"}, None),
        (on_center, center),
    )
    desk.env.update(env)
    desk.create(vms["hybrid"])
    desk.run("extract", f"{desk.repo}::hybrid", "--name", "again").ok(0, 1)
    box.remove_vm(box.vm("again"))
    desk.assert_clean()


@pytest.mark.parametrize("permit", [permit for permit in PERMITS if permit != "login"])
def test_doctor_names_the_right_that_is_missing(
    desk: Desk, vms: dict[str, Vm], users: Users, permit: str
) -> None:
    lines = desk.run("doctor", "--rights", "--json", **users[permit]).json["findings"]
    missing = [line for line in lines if line["about"] == "right" and line["status"] != "ok"]
    assert missing
    assert {line["text"].split()[0] for line in missing} == {permit}
    assert all("is missing: it is needed to " in line["text"] and line["todo"] for line in missing)
    desk.assert_clean()


def test_a_user_role_is_told_at_once(box: Box, desk: Desk, vms: dict[str, Vm]) -> None:
    """Its queries are refused with 400, and the list of VMs with a page of HTML."""
    permits = {"login", "create_disk", "edit_disk_properties", "manipulate_vm_snapshots"}
    desk.env.update(box.make_user("plain", (permits, None), administrative=False))
    configure(desk)
    begun = time.monotonic()
    for words in (["create"], ["create", f"{desk.repo}::live"], ["vms"]):
        run = desk.run(*words)
        assert (run.code, "administrative" in run.err) == (13, True), run.err
    assert time.monotonic() - begun < 60
    findings = desk.run("doctor", "--json").json["findings"]
    assert any("administrative" in line["text"] for line in findings if line["status"] == "failure")
    desk.assert_clean()
