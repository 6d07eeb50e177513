"""Bad input gives one clear line and its own exit status, and touches nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from harness import BIN, PASSPHRASE, Desk, Run
from ovirtbox.box import Box, DiskSpec
from ovirtbox.model import Vm

MIB = 1 << 20
PATHS = ("manifest.json", "vm.ovf", "README.txt", "disks")


@pytest.fixture(scope="module")
def vm(box: Box) -> Vm:
    made = box.make_vm("web01", [DiskSpec(16 * MIB, bootable=True)])
    box.fill(box.disks(made)[0], 0, MIB, seed=1)
    return made


def one_line(run: Run, code: int, *words: str) -> None:
    """The status, one line that names what is wrong, and no secret."""
    assert run.code == code, run.err
    lines = [
        line for line in run.err.splitlines() if line.startswith("borg-ovirt: ") and "warning" not in line
    ]
    assert len(lines) == 1, run.err
    for word in words:
        assert word in lines[0], lines[0]
    assert PASSPHRASE not in run.err


def test_wrong_password(box: Box, desk: Desk, vm: Vm, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    run = desk.run("create", "--password-file", str(wrong), f"{desk.repo}::web01")
    one_line(run, 12, box.user)
    assert "not the password" not in run.err


def test_wrong_ca(box: Box, desk: Desk, vm: Vm, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    from ovirtbox.pki import make_pki

    run = desk.run("create", "--ca-file", str(make_pki(other).ca_file), f"{desk.repo}::web01")
    one_line(run, 11, "CA")


def test_no_engine_there(desk: Desk, vm: Vm) -> None:
    run = desk.run("create", "--url", "https://localhost:9/ovirt-engine/api", f"{desk.repo}::web01")
    one_line(run, 10, "localhost")


def test_unknown_vm(desk: Desk, vm: Vm) -> None:
    one_line(desk.run("create", f"{desk.repo}::nobody"), 14, "nobody")


def test_a_search_wildcard_is_not_a_name(desk: Desk, vm: Vm) -> None:
    one_line(desk.run("create", f"{desk.repo}::web*"), 14, "web*")


def test_unknown_repository(desk: Desk, vm: Vm, tmp_path: Path) -> None:
    one_line(desk.run("create", f"{tmp_path}/nothing::web01"), 30, "nothing")
    one_line(desk.run("list", f"{tmp_path}/nothing"), 30, "nothing")


def test_wrong_passphrase(desk: Desk, vm: Vm) -> None:
    run = desk.run("create", f"{desk.repo}::web01", BORG_PASSPHRASE="guess")
    one_line(run, 32, "passphrase")
    assert "guess" not in run.err


def test_no_passphrase_never_asks(desk: Desk, vm: Vm) -> None:
    run = desk.run("list", desk.repo, BORG_PASSPHRASE="")
    one_line(run, 32)


def test_a_locked_repository(desk: Desk, vm: Vm) -> None:
    holder = subprocess.Popen(
        [str(BIN / "borg"), "with-lock", desk.repo, "cat"],
        env=desk.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        holder.stdin.write(b"held\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"held\n"
        one_line(desk.run("create", "--lock-wait", "0.2", f"{desk.repo}::web01"), 31, "lock")
    finally:
        holder.stdin.close()
        holder.wait()
    assert desk.box.clean() == []


def test_an_archive_that_is_not_ours(desk: Desk, vm: Vm, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    desk.borg("create", f"{desk.repo}::foreign", "file", cwd=tmp_path)
    one_line(desk.run("info", f"{desk.repo}::foreign"), 34, "foreign", "borg-ovirt")
    one_line(desk.run("extract", "--to", str(tmp_path / "out"), f"{desk.repo}::foreign"), 34, "foreign")
    assert not (tmp_path / "out").exists()


def test_places_that_cannot_be(desk: Desk, vm: Vm, tmp_path: Path) -> None:
    made = f"{desk.repo}::{desk.create(vm)['archive']}"
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("loop")
    for place, code, word in (
        ("a" * 300, 2, "name too long"),
        ("a/" * 3000, 2, "name too long"),
        ("file/below", 41, "Not a directory"),
        ("nowhere", 41, "nowhere"),
    ):
        one_line(desk.run("extract", "--to", f"{tmp_path}/{place}", made), code, word)
    for option in ("--password-file", "--ca-file"):
        run = desk.run("create", option, f"{tmp_path}/{'a' * 300}", f"{desk.repo}::web01")
        assert "name too long" in run.err
        assert "fault of borg-ovirt" not in run.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name in ("a", "file", "nowhere")) == [
        "file",
        "nowhere",
    ]


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [("layout", 2, "newer"), ("mode", "tape", "not valid"), ("vm", None, "not valid")],
    ids=["newer", "unknown word", "missing part"],
)
def test_a_manifest_that_was_tampered_with(
    desk: Desk, vm: Vm, tmp_path: Path, key: str, value: object, word: str
) -> None:
    """An archive put together by hand, with our comment but another manifest."""
    made = desk.create(vm)["archive"]
    inside = tmp_path / "inside"
    inside.mkdir()
    desk.borg("extract", f"{desk.repo}::{made}", cwd=inside)
    comment = json.loads(desk.borg("info", "--json", f"{desk.repo}::{made}"))["archives"][0]["comment"]
    manifest = json.loads((inside / "manifest.json").read_bytes())
    manifest[key] = value
    if value is None:
        del manifest[key]
    (inside / "manifest.json").write_text(json.dumps(manifest))
    braces = comment.replace("{", "{{").replace("}", "}}")
    desk.borg("create", "--comment", braces, f"{desk.repo}::tampered", *PATHS, cwd=inside)
    one_line(desk.run("info", f"{desk.repo}::tampered"), 35, word)
    one_line(desk.run("extract", "--name", "x", f"{desk.repo}::tampered"), 35, word)
    assert not [v for v in desk.box.world.vms.values() if v.name == "x"]


@pytest.mark.parametrize(
    ("change", "word"),
    [("origin", "Hosted Engine"), ("preview", "preview"), ("paused", "paused"), ("migrating", "migrating")],
)
def test_a_vm_in_no_state_for_a_backup(box: Box, desk: Desk, change: str, word: str) -> None:
    vm = box.make_vm(f"odd-{change}", [DiskSpec(8 * MIB)], running=change in ("paused", "migrating"))
    with box.world.lock:
        before = vm.status
        if change == "origin":
            vm.origin = "managed_hosted_engine"
        elif change == "preview":
            vm.preview = True
            vm.active_snapshot.status = "in_preview"
        else:
            vm.status = change
    try:
        one_line(desk.run("create", f"{desk.repo}::{vm.name}"), 15, word)
    finally:
        with box.world.lock:
            vm.status, vm.preview = before, False
            vm.active_snapshot.status = "ok"
    assert desk.archives() == []
    desk.assert_clean()


def test_disks_that_cannot_be_backed_up_are_named(box: Box, desk: Desk) -> None:
    vm = box.make_vm(
        "mixed",
        [
            DiskSpec(8 * MIB, bootable=True, alias="root"),
            DiskSpec(8 * MIB, alias="shared", shareable=True, format="raw"),
            DiskSpec(8 * MIB, alias="lun", storage_type="lun"),
        ],
        running=False,
    )
    made = desk.run("create", "--json", f"{desk.repo}::mixed").ok(1)
    assert {s["alias"]: s["reason"] for s in made.vm["skipped"]} == {
        "shared": "shareable",
        "lun": "direct LUN",
    }
    assert "shared" in made.err
    assert {s["alias"] for s in desk.manifest(made.vm["archive"])["skipped"]} == {"shared", "lun"}
    one_line(desk.run("create", "--strict", f"{desk.repo}::mixed"), 15, "shared", "lun")
    quiet = desk.run("create", "--exclude-disk", "shared", "--exclude-disk", "lun", f"{desk.repo}::mixed")
    assert quiet.code == 0, quiet.err
    one_line(desk.run("create", "--exclude-disk", "*", f"{desk.repo}::{vm.id}"), 15, "mixed")
    desk.assert_clean()


def test_state_that_no_ovf_carries_is_a_warning(box: Box, desk: Desk) -> None:
    vm = box.make_vm("uefi", [DiskSpec(8 * MIB)], running=False)
    with box.world.lock:
        vm.bios_type, vm.tpm, vm.next_run = "q35_secure_boot", True, True
    run = desk.run("create", "-v", "--json", f"{desk.repo}::uefi").ok(1)
    assert "a changed configuration waits for its next start: it is not in the archive" in run.err
    for word in ("UEFI variables", "TPM state"):
        assert word in run.err
        assert any(word in warning for warning in desk.manifest(run.vm["archive"])["warnings"])
    plan = desk.run("extract", "--dry-run", "--name", "uefi2", f"{desk.repo}::uefi").ok()
    assert "UEFI variables" in plan.out
    known = desk.run("create", "-v", "--json", "--set", "policy.expect=[firmware]", f"{desk.repo}::uefi").ok()
    assert known.vm["warnings"] == []
    assert "(expected)" in known.err
    assert any("TPM state" in told for told in desk.manifest(known.vm["archive"])["warnings"])
    assert "TPM state" in desk.run("info", f"{desk.repo}::uefi").ok().out
    report = desk.run("report", "--json", "--no-sizes", desk.repo).ok(0, 1).json
    (line,) = [line for line in report["vms"] if line["protection"]["vm"] == "uefi"]
    assert any("TPM state" in note for note in line["notes"])
    assert not any("TPM state" in warning for warning in line["warnings"])
