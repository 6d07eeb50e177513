"""Two nights of a data center with twelve VMs: what one `borg-ovirt create` does with a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness import Desk
from operating import Center, assert_extracts, configure, furnish
from ovirtbox.box import MIB, Box

RULES = {
    "vms": {"exclude": {"tags": ["scratch"]}},
    "policy": {"sample": "all"},
    "overrides": [{"vms": {"names": ["old*"]}, "policy": {"backup_api": "live"}}],
    "retention": {"last": 1},
}


@pytest.fixture(scope="module")
def center(box: Box) -> Center:
    return furnish(box)


@pytest.fixture(scope="module")
def desk(box: Box, center: Center, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(box, tmp_path_factory.mktemp("desk"))
    configure(desk, **RULES)
    desk.create("protected01")
    return desk


@pytest.fixture(scope="module")
def first(box: Box, desk: Desk) -> dict[str, Any]:
    """The first night."""
    return dict(desk.run("create", "--json").ok(2).json)


@pytest.fixture(scope="module")
def second(box: Box, center: Center, desk: Desk, first: Any) -> dict[str, Any]:
    """A day later one VM has changed; the night backs up what is in production."""
    box.shift(days=1)
    box.fill(box.disks(center.vms["web01"])[0], 5 * MIB, MIB, seed=99)
    return dict(desk.run("create", "--json", "--sample", "0", "--tag", "production").ok(0).json)


@pytest.fixture(scope="module")
def pruned(desk: Desk, second: Any) -> None:
    """One archive of each VM is left."""
    desk.run("prune").ok()


def by_vm(run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {vm["vm"]: vm for vm in run["vms"]}


def test_every_selected_vm_has_its_outcome(box: Box, center: Center, desk: Desk, first: Any) -> None:
    vms = by_vm(first)
    assert sorted(vms) == sorted(set(center.vms) - {"scratch01"})
    failed = [name for name, vm in vms.items() if vm["status"] == "failed"]
    assert failed == ["broken01"]
    assert [name for name, vm in vms.items() if vm["status"] == "warning"] == ["lun01"]
    assert vms["lun01"]["warnings"] == ["disk lun01_Disk2 of VM lun01 is skipped: direct LUN"]
    assert "broken01" in vms["broken01"]["error"]
    assert vms["protected01"]["kind"] == "incremental"
    assert vms["old01"]["way"] == "cold backup"  # its override asked for no hybrid backup
    assert first["vms"][-1]["vm"] == "protected01"  # it had an archive already: its need was the least
    assert first["status"] == "failed"
    assert box.clean() == []


def test_every_archive_is_what_the_box_says(box: Box, center: Center, desk: Desk, first: Any) -> None:
    for vm in first["vms"]:
        if vm["archive"]:
            assert_extracts(desk, vm["archive"], center.vms[vm["vm"]])


def test_the_engine_tells_the_story_in_its_own_log(box: Box, center: Center, first: Any) -> None:
    ours = [event for event in box.world.events if event.origin == "borg-ovirt"]
    told = {(box.world.vms[e.vm_id].name, e.severity): e.description for e in ours if e.vm_id}
    assert "finished: archive" in told["web01", "normal"]
    assert "failed" in told["broken01", "error"]
    assert "finished" in told["lun01", "warning"]
    assert len({event.custom_id for event in ours}) == len(ours) >= 2 * len(first["vms"])


def test_the_second_night_reads_what_changed(box: Box, center: Center, desk: Desk, second: Any) -> None:
    vms = by_vm(second)
    assert sorted(vms) == ["db01", "files01", "mail01", "protected01", "web01", "web02"]
    assert {vm["kind"] for vm in vms.values()} == {"incremental"}
    assert vms["web01"]["bytes_read"] == MIB
    assert vms["mail01"]["bytes_read"] == 0
    assert_extracts(desk, vms["web01"]["archive"], center.vms["web01"])
    assert box.clean() == []


def test_vms_shows_who_has_no_backup(center: Center, desk: Desk, second: Any) -> None:
    shown = desk.run("vms", "--json").ok(1).json["vms"]
    lines = {line["vm"]: line for line in shown}
    assert shown[0]["vm"] == "broken01"
    assert lines["broken01"]["verdict"] == "no backup"
    assert lines["scratch01"]["verdict"] == "-"
    assert lines["web01"]["checkpoint"] == "ready"
    assert lines["web01"]["archives"] == 2
    assert lines["lun01"]["archives"] == 1
    table = desk.run("vms", "--unprotected").ok(1).out
    assert "broken01" in table
    assert "NO BACKUP" in table
    assert "web01" not in table


def test_an_order_by_need_can_be_previewed(center: Center, desk: Desk, first: Any) -> None:
    rows = desk.run("create", "--dry-run", "--json").ok().json
    names = [row["vm"] for row in rows]
    assert names[0] == "broken01"  # it never had an archive
    assert set(names[-6:]) == {"db01", "files01", "mail01", "protected01", "web01", "web02"}


def test_prune_judges_each_vm_by_itself(desk: Desk, first: Any, second: Any) -> None:
    held = by_vm(first)["web02"]["archive"]
    assert f"Held: {held}" in desk.run("hold", f"local::{held}").ok().out
    planned = desk.run("prune", "--dry-run", "--json").ok().json["repositories"]["local"]
    assert planned["removed"] == 6  # two of protected01, one of each other VM of the second night, less held
    desk.run("prune", "--json").ok()
    listed = desk.run("list", "--json", "local").ok().json["archives"]
    count: dict[str, int] = {}
    for line in listed:
        count[line["vm"]] = count.get(line["vm"], 0) + 1
    assert count.pop("web02") == 2
    assert set(count.values()) == {1}
    assert len(count) == 9  # web02 beside them, and broken01 has none
    desk.run("release", f"local::{held}").ok()
    desk.run("prune").ok()
    assert held not in desk.archives()
    desk.borg("check", "--verify-data", desk.repo)


def test_archives_of_a_vm_that_is_gone_follow_their_own_rule(
    box: Box, center: Center, desk: Desk, pruned: None
) -> None:
    box.remove_vm(center.vms.pop("old01"))
    rows = desk.run("prune", "--dry-run", "--json").ok().json["repositories"]["local"]["lines"]
    assert [r["rule"] for r in rows if r["vm"] == "old01"] == ["VM is gone"]
    rows = (
        desk.run("prune", "-n", "--json", "--keep-last", "1", "--gone", "0s")
        .ok()
        .json["repositories"]["local"]
    )
    assert [(r["vm"], r["keep"]) for r in rows["lines"] if not r["keep"]] == [("old01", False)]
    shown = {line["vm"]: line for line in desk.run("vms", "--json").ok(1).json["vms"]}
    assert shown["old01"]["status"] == "gone"


def test_a_vm_that_no_rule_selects_is_named(desk: Desk, first: Any) -> None:
    done = desk.run("create", "--vm", "scratch01")
    assert (done.code, "does not select the VM scratch01" in done.err) == (2, True)
    done = desk.run("create", "--vm", "nobody")
    assert (done.code, "has no VM nobody" in done.err) == (14, True)


def test_the_summary_for_people(desk: Desk, first: Any) -> None:
    done = desk.run("create", "--vm", "mail01", "--vm", "broken*").ok(2)
    assert "mail01-" in done.out
    assert "2 VMs: 1 ok, 1 failed." in done.out


def test_a_directory_of_state_holds_no_journal(desk: Desk, first: Any) -> None:
    assert not list(Path(desk.env["BORG_OVIRT_STATE_DIR"]).glob("*.jsonl"))
