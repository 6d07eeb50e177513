"""Archives that are damaged, or were made by a wrong clock, as the commands show them."""

from __future__ import annotations

import json
import subprocess

import pytest
from harness import BIN, Desk
from operating import SMALL, configure
from ovirtbox.box import MIB, Box, DiskSpec
from ovirtbox.model import Vm


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    made = box.make_vm("web01", [DiskSpec(SMALL)], running=False)
    box.fill(box.disks(made)[0], 0, MIB, seed=1)
    return made


def damage(desk: Desk, archive: str) -> None:
    """Lose the first chunk of the disk, then let `borg check --repair` put zeros in its place."""
    dump = desk.root / "dump"
    desk.borg("debug", "dump-archive", f"{desk.repo}::{archive}", str(dump))
    items = json.loads(dump.read_text())["_items"]
    (disk,) = (item for item in items if item["path"].startswith("disks/"))
    desk.borg("debug", "delete-obj", desk.repo, disk["chunks"][0][0].strip("\x7f"))
    env = {**desk.env, "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING": "YES"}
    subprocess.run(
        [str(BIN / "borg"), "check", "--repair", desk.repo], env=env, check=False, capture_output=True
    )


def test_damage_is_told_wherever_an_archive_is_shown(box: Box, vm: Vm, desk: Desk) -> None:
    configure(desk, retention={"last": 1})
    whole = desk.create(vm, "--full")["archive"]
    box.fill(box.disks(vm)[0], 0, MIB, seed=2)
    damaged = desk.create(vm, "--full")["archive"]
    damage(desk, damaged)
    for words in (["list", "local"], ["list", "local::web01"], ["list", "--check", "all", "local"]):
        lines = {line["archive"]: line for line in desk.run(*words, "--json").ok().json["archives"]}
        assert "lost chunks" in lines[damaged]["damage"]
        assert lines[whole]["damage"] is None
    assert "DAMAGED" in desk.run("list", "local").ok().out
    assert "DAMAGED" not in desk.run("list", "--check", "none", "local").ok().out
    shown = desk.run("info", f"local::{damaged}").ok(1)
    assert f"{damaged} cannot be restored whole: the repository lost chunks" in shown.err
    desk.run("info", f"local::{whole}").ok()
    lines = desk.run("vms", "--json").ok()
    assert f"{damaged} cannot be restored whole" in lines.err
    (line,) = [line for line in lines.json["vms"] if line["vm"] == "web01"]
    assert (line["archive"], line["damaged"], line["verdict"]) == (whole, [damaged], "no max_age")
    pruned = desk.run("prune").ok(1)
    assert f"{damaged} cannot be restored whole" in pruned.err
    assert set(desk.archives()) == {whole, damaged}
    desk.borg("delete", f"{desk.repo}::{whole}")
    (line,) = [line for line in desk.run("vms", "--json").ok(1).json["vms"] if line["vm"] == "web01"]
    assert (line["archive"], line["verdict"], line["archives"]) == (None, "damaged", 1)


def test_an_archive_of_a_night_with_a_clock_ahead_is_told_and_counts_for_nothing(
    box: Box, vm: Vm, desk: Desk
) -> None:
    configure(desk, retention={"last": 1})
    other = box.make_vm("web02", [DiskSpec(SMALL)], running=False)
    box.shift(days=30)
    try:
        ahead = desk.create(vm, "--full")["archive"]
    finally:
        box.shift(days=-30)
    warning = f"{ahead} bears a time later than now"
    aged = desk.run("vms", "--json", "--max-age", "1d").ok(1)
    assert warning in aged.err
    (line,) = [line for line in aged.json["vms"] if line["vm"] == "web01"]
    assert (line["verdict"], line["age"]) == ("old", None)
    desk.create(other, "--full")
    rows = desk.run("create", "--dry-run", "--json").ok().json
    assert [row["vm"] for row in rows][:2] == ["web01", "web02"]  # not the last, for its archive has no date
    fresh = desk.create(vm, "--full")["archive"]
    for words in (["list", "local"], ["info", f"local::{fresh}"], ["hold", "-n", f"local::{fresh}"]):
        assert warning in desk.run(*words).ok().err
    assert "time doubtful" in desk.run("list", "local").ok().out
    assert fresh in desk.run("info", "local::web01").ok().out
    desk.run("prune").ok()
    assert ahead not in desk.archives()
    assert fresh in desk.archives()
    box.remove_vm(other)


def test_engines_are_shown_where_there_are_several(box: Box, vm: Vm, desk: Desk) -> None:
    here = desk.create(vm, "--full")["archive"]
    assert "ENGINE" not in desk.run("list", desk.repo).ok().out
    text = json.loads(desk.borg("info", "--json", f"{desk.repo}::{here}"))["archives"][0]["comment"]
    moved = {**json.loads(text), "engine": "elsewhere.example", "engine_id": "another", "number": 2}
    (desk.root / "inside").mkdir()
    desk.borg("extract", f"{desk.repo}::{here}", cwd=desk.root / "inside")
    braces = json.dumps(moved).replace("{", "{{").replace("}", "}}")
    paths = ("manifest.json", "vm.ovf", "README.txt", "disks")
    desk.borg("create", "--comment", braces, f"{desk.repo}::there", *paths, cwd=desk.root / "inside")
    table = desk.run("list", desk.repo).ok().out
    assert "ENGINE" in table
    assert "elsewhere.example" in table
    refused = desk.run("info", f"{desk.repo}::web01")
    assert refused.code == 34
    assert "elsewhere.example (latest archive there)" in refused.err
    desk.run("info", f"{desk.repo}::there").ok()
    shown = desk.run("vms", "--json", desk.repo).ok().json["vms"]
    assert [line["archives"] for line in shown if line["vm"] == "web01"] == [1]
